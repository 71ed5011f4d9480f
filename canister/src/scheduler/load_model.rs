//! A model's way to ready, a slice a round: hash the file, pack it, fill the heap, build the
//! tokenizer. After an upgrade the same steps run again from what stable memory holds.

use crate::api::{Error, ModelInfo, Phase};
use crate::app::{App, Loaded};
use crate::durable::ModelRecord;
use crate::memory::{self, StoredFile};
use crate::{aliases, models, system};
use engine::inference::budget::CostModel;
use engine::inference::forward::Workspace;
use engine::template::Template;
use engine::{Model, Tokenizer};
use ic_stable_structures::Memory;
use serde_bytes::ByteBuf;
use weights::gguf::sha256::Sha256State;
use weights::{ByteSource, GgufFile};

/// A model on its way into the heap.
pub struct Loading {
    file: GgufFile,
    model: Model,
    /// Bytes of the packed region that the heap holds.
    filled: u64,
}

impl Loading {
    /// Bytes of the packed region that the heap holds.
    pub fn filled(&self) -> u64 {
        self.filled
    }
}

/// Bytes hashed between two looks at the meter.
const HASH_SLICE: usize = 256 << 10;
/// Instructions to hash a byte, and to read it from stable memory (measured: about 80).
const HASH_COST: u64 = 90;
/// Bytes copied from stable memory to the heap between two looks.
const FILL_SLICE: u64 = 8 << 20;
/// Instructions to copy a byte to the heap: 1 for the read, 1,000 for each page of 4 KiB changed.
const FILL_COST: f64 = 1.3;
/// Instructions a packed byte costs after it is packed: heap page, stable page, stable write.
const WRITE_THROUGH_COST: f64 = 1.6;
/// Packed bytes between two writes to stable memory.
const WRITE_SLICE: u64 = 1 << 20;
/// Instructions one batch of packing may need.
const PACK_BATCH: u64 = 8_000_000;

fn stored_file(model: &ModelRecord, shelf: u8) -> StoredFile {
    StoredFile {
        region: memory::file(shelf),
        len: model.size,
    }
}

/// Works on the model of a shelf until `budget` instructions are used or it is ready.
pub fn run(app: &mut App, shelf: u8, budget: u64) {
    let Some(mut model) = app.library.get(shelf).cloned() else {
        return;
    };
    let start = system::instructions();
    let phase = models::phase(app, shelf);
    let result = advance(app, shelf, &mut model, budget);
    let spent = system::instructions() - start;
    let info = &mut model.info;
    match phase {
        Phase::Verifying => info.verify_instructions += spent,
        Phase::Preparing => info.prepare_instructions += spent,
        _ => info.restore_instructions += spent,
    }
    app.library.put(shelf, model);
    match result {
        Err(e) => fail(app, shelf, e),
        Ok(()) if app.heap.loaded.contains_key(&shelf) => aliases::settle(app),
        Ok(()) => {}
    }
}

/// A model cannot be made ready. If others are in the heap and there was no room beside them, it stays
/// as it is and is tried again when one of them has gone.
pub fn fail(app: &mut App, shelf: u8, error: Error) {
    system::log(&format!("model on shelf {shelf}: {error:?}"));
    app.heap.loading.remove(&shelf);
    let others = !app.heap.loaded.is_empty() || !app.heap.loading.is_empty();
    let no_room = matches!(error, Error::OutOfMemory(_) | Error::RoundFailed(_));
    if others && no_room {
        app.heap.blocked.insert(shelf);
    }
    let mut failed = None;
    app.library.edit(shelf, |m| {
        if !(others && no_room) {
            m.phase = Phase::Failed;
            failed = Some(m.sha256);
        }
        m.error = Some(error);
    });
    for alias in &mut app.control.aliases {
        alias.next = alias.next.filter(|next| Some(*next) != failed);
    }
}

fn advance(app: &mut App, shelf: u8, m: &mut ModelRecord, budget: u64) -> Result<(), Error> {
    let source = stored_file(m, shelf);
    if m.phase == Phase::Verifying {
        // What follows begins in a round of its own, so that each is accounted for by itself.
        return verify(&source, m, budget);
    }
    let mut loading = match app.heap.loading.remove(&shelf) {
        Some(loading) => loading,
        None => begin(&source, shelf, m)?,
    };
    if fill(shelf, m, &mut loading, budget)
        && prepare(&source, shelf, m, &mut loading, budget)?
        && system::instructions() < budget / 2
    {
        return finish(app, shelf, &source, m, loading);
    }
    app.heap.loading.insert(shelf, loading);
    Ok(())
}

/// Reads the file's header and reserves memory.
fn begin(source: &StoredFile, shelf: u8, m: &mut ModelRecord) -> Result<Loading, Error> {
    let file = GgufFile::read(source)?;
    let model = Model::plan(&file)?;
    m.info = ModelInfo {
        architecture: model.config.family.name.into(),
        parameters: model.layout.parameters,
        layers: model.config.layers as u32,
        context_length: model.config.context_length as u32,
        vocabulary: model.config.vocabulary as u32,
        packed_bytes: model.layout.bytes,
        page_bytes: model.config.kv_shape().block_bytes() as u64,
        ..std::mem::take(&mut m.info)
    };
    m.error = None;
    if m.phase == Phase::Ready {
        m.info.restore_instructions = 0;
    }
    if !memory::ensure(&memory::packed(shelf), model.layout.bytes) {
        let bytes = model.layout.bytes;
        return Err(Error::OutOfMemory(format!(
            "stable memory cannot hold {bytes} bytes more"
        )));
    }
    Ok(Loading {
        file,
        model,
        filled: 0,
    })
}

fn verify(source: &StoredFile, m: &mut ModelRecord, budget: u64) -> Result<(), Error> {
    let mut state = Sha256State {
        words: m.hash.0,
        done: m.hash.1,
    };
    let mut buf = vec![0; HASH_SLICE];
    let mut worked = false;
    while source.len() - state.done > HASH_SLICE as u64 {
        if worked && system::instructions() + HASH_SLICE as u64 * HASH_COST > budget {
            m.hash = (state.words, state.done);
            return Ok(());
        }
        source
            .read_at(state.done, &mut buf)
            .map_err(weights::Error::from)?;
        state.update(&buf);
        worked = true;
    }
    buf.truncate((source.len() - state.done) as usize);
    source
        .read_at(state.done, &mut buf)
        .map_err(weights::Error::from)?;
    let actual = state.finish(&buf);
    if actual != m.sha256 {
        return Err(Error::HashMismatch {
            expected: ByteBuf::from(m.sha256),
            actual: ByteBuf::from(actual),
        });
    }
    m.hash = (state.words, source.len());
    m.phase = Phase::Preparing;
    Ok(())
}

/// Copies what is packed already into the heap. `true`: all of it is there.
fn fill(shelf: u8, m: &ModelRecord, l: &mut Loading, budget: u64) -> bool {
    let want = match m.phase {
        Phase::Ready => l.model.layout.bytes,
        _ => m.prepared,
    };
    let packed = memory::packed(shelf);
    let mut after = 0.0;
    while l.filled < want {
        let n = FILL_SLICE.min(want - l.filled);
        after += n as f64 * (FILL_COST - 1.0);
        let end = system::instructions() as f64 + n as f64 + after;
        if end > budget as f64 && after > FILL_SLICE as f64 {
            return false;
        }
        let (a, b) = (l.filled as usize, (l.filled + n) as usize);
        packed.read(l.filled, &mut l.model.region.bytes_mut()[a..b]);
        l.filled += n;
    }
    true
}

/// Packs on, writing through to stable memory. `true`: all is packed.
fn prepare(
    source: &StoredFile,
    shelf: u8,
    m: &mut ModelRecord,
    l: &mut Loading,
    budget: u64,
) -> Result<bool, Error> {
    let total = l.model.layout.bytes;
    if m.phase == Phase::Ready || m.prepared == total {
        return Ok(true);
    }
    let from = m.prepared;
    let Model { layout, region, .. } = &mut l.model;
    // Vectors and padding between two batches count as done with the batch after them.
    let done = engine::model::load::pack(source, layout, region, from, |done| {
        let after = (done - from) as f64 * WRITE_THROUGH_COST;
        system::instructions() as f64 + after + (PACK_BATCH as f64) < budget as f64
    })?;
    let packed = memory::packed(shelf);
    let mut at = from;
    while at < done {
        let end = done.min(at + WRITE_SLICE);
        packed.write(at, &region.bytes()[at as usize..end as usize]);
        at = end;
    }
    m.prepared = done;
    l.filled = done;
    Ok(done == total)
}

fn finish(
    app: &mut App,
    shelf: u8,
    source: &StoredFile,
    m: &mut ModelRecord,
    l: Loading,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::from_gguf(source, &l.file)?;
    if tokenizer.len() != l.model.config.vocabulary {
        return Err(Error::UnsupportedModel(format!(
            "tokenizer.ggml.tokens has {} words, token_embd.weight {} rows",
            tokenizer.len(),
            l.model.config.vocabulary
        )));
    }
    let template = Template::from_gguf(&l.file)?;
    let workspace = Workspace::new(&l.model.config);
    let loaded = Loaded {
        model: l.model,
        tokenizer,
        template,
        workspace,
        experience: CostModel::default(),
    };
    app.heap.loaded.insert(shelf, loaded);
    app.pages.open_shelf(shelf, m.info.page_bytes);
    m.phase = Phase::Ready;
    Ok(())
}

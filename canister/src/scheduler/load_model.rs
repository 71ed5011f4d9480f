//! A slice of a model's way to ready: hash the file, pack the weights, fill the heap, build the
//! tokenizer. After an upgrade the same steps run again from what stable memory holds.

use crate::runtime;
use crate::stable::ids::ModelSlot;
use crate::stable::records::{ModelInfo, ModelRecord, ModelStage};
use crate::stable::regions::{self, StoredFile};
use crate::state::State;
use crate::state::convert::engine_error;
use crate::state::residency::{Loaded, Loading};
use engine::inference::budget::CostModel;
use engine::inference::forward::Workspace;
use engine::template::Template;
use engine::{Model, Tokenizer};
use ic_stable_structures::Memory;
use interface::{Error, Phase};
use serde_bytes::ByteBuf;
use weights::gguf::sha256::Sha256State;
use weights::{ByteSource, GgufFile};

/// Bytes hashed between two looks at the instruction counter.
const HASH_SLICE: usize = 256 << 10;
/// Instructions to hash a byte, and to read it from stable memory (measured: about 80).
const HASH_COST: u64 = 90;
/// Bytes copied from stable memory to the heap between two looks at the counter.
const FILL_SLICE: u64 = 8 << 20;
/// Instructions to copy a byte to the heap: 1 for the read, 1,000 for each page of 4 KiB changed.
const FILL_COST: f64 = 1.3;
/// Instructions a packed byte costs after it is packed: heap page, stable page, stable write.
const WRITE_THROUGH_COST: f64 = 1.6;
/// Packed bytes between two writes to stable memory.
const WRITE_SLICE: u64 = 1 << 20;
/// Instructions one batch of packing may need.
const PACK_BATCH: u64 = 8_000_000;

fn weights_error(e: weights::Error) -> Error {
    engine_error(e.into())
}

fn stored_file(model: &ModelRecord, slot: ModelSlot) -> StoredFile {
    StoredFile {
        region: regions::file(slot),
        len: model.size,
    }
}

/// Works on the model in a slot until `budget` instructions are used or it is ready.
pub(super) fn run(state: &mut State, slot: ModelSlot, budget: u64) {
    let Some(mut model) = state.models.get(slot).cloned() else {
        return;
    };
    let start = runtime::instructions();
    let phase = state.model_view().phase(slot);
    let result = advance(state, slot, &mut model, budget);
    let spent = runtime::instructions() - start;
    let info = &mut model.info;
    match phase {
        Phase::Verifying => info.verify_instructions += spent,
        Phase::Preparing => info.prepare_instructions += spent,
        _ => info.restore_instructions += spent,
    }
    state.models.put(slot, model);
    match result {
        Err(e) => fail(state, slot, e),
        Ok(()) if state.residency.is_loaded(slot) => state.apply_ready_switches(),
        Ok(()) => {}
    }
}

/// Notes that a model cannot be made ready. If others are in the heap and there was no room beside
/// them, it stays as it is and is tried again when one of them has left.
pub(super) fn fail(state: &mut State, slot: ModelSlot, error: Error) {
    runtime::debug_print(&format!("model in slot {slot}: {error}"));
    state.residency.loading.remove(&slot);
    let others = !state.residency.loaded.is_empty() || !state.residency.loading.is_empty();
    let no_room = matches!(error, Error::OutOfMemory(_) | Error::RoundFailed(_));
    if others && no_room {
        state.residency.blocked.insert(slot);
    }
    let mut failed = None;
    state.models.edit(slot, |m| {
        if !(others && no_room) {
            m.stage = ModelStage::Failed;
            failed = Some(m.sha256);
        }
        m.error = Some(error.into());
    });
    for alias in &mut state.control.aliases {
        alias.next = alias.next.filter(|next| Some(*next) != failed);
    }
}

fn advance(
    state: &mut State,
    slot: ModelSlot,
    m: &mut ModelRecord,
    budget: u64,
) -> Result<(), Error> {
    let source = stored_file(m, slot);
    if let ModelStage::Verifying { words, hashed } = m.stage {
        // What follows begins in a slice of its own, so that each is accounted for by itself.
        let hash = Sha256State {
            words,
            done: hashed,
        };
        return verify(&source, m, hash, budget);
    }
    let mut loading = match state.residency.loading.remove(&slot) {
        Some(loading) => loading,
        None => begin(&source, slot, m)?,
    };
    if fill(slot, m, &mut loading, budget)
        && prepare(&source, slot, m, &mut loading, budget)?
        && runtime::instructions() < budget / 2
    {
        return finish(state, slot, &source, m, loading);
    }
    state.residency.loading.insert(slot, loading);
    Ok(())
}

/// Reads the file's header and reserves memory.
fn begin(source: &StoredFile, slot: ModelSlot, m: &mut ModelRecord) -> Result<Loading, Error> {
    let file = GgufFile::read(source).map_err(weights_error)?;
    let model = Model::plan(&file).map_err(engine_error)?;
    m.info = ModelInfo {
        architecture: model.config.family.name.into(),
        parameters: model.layout.parameters,
        layers: model.config.layers as u32,
        context_length: model.config.context_length as u32,
        vocabulary: model.config.vocabulary as u32,
        packed_bytes: model.layout.bytes,
        block_bytes: model.config.kv_shape().block_bytes() as u64,
        ..std::mem::take(&mut m.info)
    };
    m.error = None;
    if m.stage == ModelStage::Ready {
        m.info.restore_instructions = 0;
    }
    if !regions::ensure(&regions::packed(slot), model.layout.bytes) {
        let bytes = model.layout.bytes;
        return Err(Error::OutOfMemory(format!(
            "stable memory cannot grow by {bytes} bytes"
        )));
    }
    Ok(Loading {
        file,
        model,
        filled: 0,
    })
}

fn verify(
    source: &StoredFile,
    m: &mut ModelRecord,
    mut hash: Sha256State,
    budget: u64,
) -> Result<(), Error> {
    let mut buf = vec![0; HASH_SLICE];
    let mut worked = false;
    while source.len() - hash.done > HASH_SLICE as u64 {
        if worked && runtime::instructions() + HASH_SLICE as u64 * HASH_COST > budget {
            m.stage = ModelStage::Verifying {
                words: hash.words,
                hashed: hash.done,
            };
            return Ok(());
        }
        source
            .read_at(hash.done, &mut buf)
            .map_err(|e| weights_error(e.into()))?;
        hash.update(&buf);
        worked = true;
    }
    buf.truncate((source.len() - hash.done) as usize);
    source
        .read_at(hash.done, &mut buf)
        .map_err(|e| weights_error(e.into()))?;
    let actual = hash.finish(&buf);
    if actual != m.sha256.0 {
        return Err(Error::HashMismatch {
            expected: ByteBuf::from(m.sha256.0),
            actual: ByteBuf::from(actual),
        });
    }
    m.stage = ModelStage::Preparing;
    Ok(())
}

/// Copies what is packed already into the heap. Returns `true` if all of it is there.
fn fill(slot: ModelSlot, m: &ModelRecord, l: &mut Loading, budget: u64) -> bool {
    let want = match m.stage {
        ModelStage::Ready => l.model.layout.bytes,
        _ => m.prepared,
    };
    let packed = regions::packed(slot);
    let mut after = 0.0;
    while l.filled < want {
        let n = FILL_SLICE.min(want - l.filled);
        after += n as f64 * (FILL_COST - 1.0);
        let end = runtime::instructions() as f64 + n as f64 + after;
        if end > budget as f64 && after > FILL_SLICE as f64 {
            return false;
        }
        let (a, b) = (l.filled as usize, (l.filled + n) as usize);
        packed.read(l.filled, &mut l.model.region.bytes_mut()[a..b]);
        l.filled += n;
    }
    true
}

/// Continues packing, writing through to stable memory. Returns `true` if all is packed.
fn prepare(
    source: &StoredFile,
    slot: ModelSlot,
    m: &mut ModelRecord,
    l: &mut Loading,
    budget: u64,
) -> Result<bool, Error> {
    let total = l.model.layout.bytes;
    if m.stage == ModelStage::Ready || m.prepared == total {
        return Ok(true);
    }
    let from = m.prepared;
    let Model { layout, region, .. } = &mut l.model;
    // Vectors and padding between two batches count as done with the batch after them.
    let done = engine::model::load::pack(source, layout, region, from, |done| {
        let after = (done - from) as f64 * WRITE_THROUGH_COST;
        runtime::instructions() as f64 + after + (PACK_BATCH as f64) < budget as f64
    })
    .map_err(engine_error)?;
    let packed = regions::packed(slot);
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
    state: &mut State,
    slot: ModelSlot,
    source: &StoredFile,
    m: &mut ModelRecord,
    l: Loading,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::from_gguf(source, &l.file).map_err(engine_error)?;
    if tokenizer.len() != l.model.config.vocabulary {
        return Err(Error::UnsupportedModel(format!(
            "tokenizer.ggml.tokens has {} words, token_embd.weight {} rows",
            tokenizer.len(),
            l.model.config.vocabulary
        )));
    }
    let template = Template::from_gguf(&l.file).map_err(engine_error)?;
    let workspace = Workspace::new(&l.model.config);
    let loaded = Loaded {
        model: l.model,
        tokenizer,
        template,
        workspace,
        costs: CostModel::default(),
    };
    state.residency.loaded.insert(slot, loaded);
    state.pools.open(slot, m.info.block_bytes);
    m.stage = ModelStage::Ready;
    Ok(())
}

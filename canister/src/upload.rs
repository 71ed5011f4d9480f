//! Receiving a model file in chunks, in any order, as often as one likes.

use crate::api::{Chunk, Error, Manifest, Phase, Range};
use crate::app::App;
use crate::durable::ModelRecord;
use crate::{generations, memory, migration, rounds, system};
use ic_stable_structures::Memory;

/// Bytes of a chunk's entry in the chunk region: XXH64, received.
const ENTRY: u64 = 9;

fn wrong_phase(app: &App, hint: &str) -> Error {
    Error::WrongPhase {
        phase: app.phase().name(),
        hint: hint.into(),
    }
}

fn only_controllers() -> Result<(), Error> {
    if system::caller_is_controller() {
        return Ok(());
    }
    Err(Error::Unauthorized(
        "only a controller of this canister may change its model".into(),
    ))
}

/// Begins an upload, or goes on with the one of the same file.
pub fn begin(app: &mut App, m: Manifest) -> Result<(), Error> {
    only_controllers()?;
    let sha256: [u8; 32] = m.sha256.as_slice().try_into().map_err(|_| {
        Error::InvalidArgument(format!(
            "sha256 has {} bytes: it must have 32",
            m.sha256.len()
        ))
    })?;
    let manifest = weights::Manifest {
        name: m.name,
        size: m.size,
        chunk_size: m.chunk_size,
        sha256,
        checksums: m.checksums,
    };
    manifest
        .validate()
        .map_err(|e| Error::InvalidArgument(e.to_string()))?;
    let now = &app.control.model;
    let same = now.sha256 == sha256 && now.size == m.size && now.chunk_size == m.chunk_size;
    match now.phase {
        // After a failure everything is sent anew, whichever file it is.
        Phase::Empty | Phase::Failed => {}
        _ if same => return Ok(()),
        _ => {
            return Err(wrong_phase(
                app,
                "another model is here: call upload_abort first",
            ));
        }
    }

    let chunks = manifest.checksums.len() as u64;
    if !memory::ensure(&memory::file(), m.size)
        || !memory::ensure(&memory::chunks(), chunks * ENTRY)
    {
        return Err(Error::OutOfMemory(format!(
            "stable memory cannot hold {} bytes more",
            m.size
        )));
    }
    let mut entries = Vec::with_capacity((chunks * ENTRY) as usize);
    for checksum in &manifest.checksums {
        entries.extend_from_slice(&checksum.to_le_bytes());
        entries.push(0);
    }
    memory::chunks().write(0, &entries);
    app.control.model = ModelRecord {
        phase: Phase::Uploading,
        name: manifest.name,
        size: manifest.size,
        chunk_size: manifest.chunk_size,
        sha256,
        chunks: chunks as u32,
        ..ModelRecord::default()
    };
    app.save();
    Ok(())
}

/// Stores a chunk if it is what the manifest announced.
pub fn chunk(app: &mut App, chunk: &Chunk<'_>) -> Result<(), Error> {
    only_controllers()?;
    let m = &app.control.model;
    if m.phase != Phase::Uploading {
        return Err(wrong_phase(app, "call upload_begin before sending chunks"));
    }
    let index = chunk.index;
    let wrong = |reason: String| Err(Error::WrongChunk { index, reason });
    if index >= m.chunks {
        return wrong(format!("the manifest has {} chunks", m.chunks));
    }
    let start = u64::from(index) * u64::from(m.chunk_size);
    let expected = (m.size - start).min(u64::from(m.chunk_size));
    if chunk.data.len() as u64 != expected {
        return wrong(format!(
            "{} bytes came, {expected} are due",
            chunk.data.len()
        ));
    }
    let mut entry = [0; ENTRY as usize];
    memory::chunks().read(u64::from(index) * ENTRY, &mut entry);
    if weights::manifest::checksum(chunk.data).to_le_bytes() != entry[..8] {
        return wrong("its XXH64 is not the manifest's".into());
    }
    if entry[8] == 0 {
        memory::file().write(start, chunk.data);
        memory::chunks().write(u64::from(index) * ENTRY + 8, &[1]);
        app.control.model.chunks_received += 1;
        app.save();
    }
    Ok(())
}

/// The chunks that have not come, as ranges.
pub fn missing(app: &App) -> Vec<Range> {
    let m = &app.control.model;
    if m.phase != Phase::Uploading {
        return Vec::new();
    }
    let mut entries = vec![0; m.chunks as usize * ENTRY as usize];
    memory::chunks().read(0, &mut entries);
    let mut ranges: Vec<Range> = Vec::new();
    for (i, entry) in (0u32..).zip(entries.chunks_exact(ENTRY as usize)) {
        if entry[8] != 0 {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.end == i => last.end += 1,
            _ => ranges.push(Range {
                start: i,
                end: i + 1,
            }),
        }
    }
    ranges
}

/// Everything is there: verify, prepare, be ready.
pub fn commit(app: &mut App) -> Result<(), Error> {
    only_controllers()?;
    match app.control.model.phase {
        Phase::Verifying | Phase::Preparing | Phase::Ready => return Ok(()),
        Phase::Uploading => {}
        _ => return Err(wrong_phase(app, "call upload_begin first")),
    }
    let missing = missing(app);
    if !missing.is_empty() {
        return Err(Error::MissingChunks {
            count: missing.iter().map(|r| r.end - r.start).sum(),
            first: missing
                .iter()
                .flat_map(|r| r.start..r.end)
                .take(256)
                .collect(),
        });
    }
    app.control.model.phase = Phase::Verifying;
    rounds::schedule(app);
    Ok(())
}

/// Drops the model or the upload; generations that need it end.
pub fn abort(app: &mut App) -> Result<(), Error> {
    only_controllers()?;
    migration::check(app)?;
    let gone = Error::WrongPhase {
        phase: Phase::Empty.name(),
        hint: "the model was dropped while this generation ran".into(),
    };
    for id in app.queue.ids() {
        generations::end(app, id, gone.clone());
    }
    app.pages.reset();
    app.chats.forget_resting();
    app.heap.loading = None;
    app.heap.loaded = None;
    app.control.model = ModelRecord::default();
    app.control.mark = None;
    app.save();
    Ok(())
}

//! Receiving a model file in chunks, in any order, as often as one likes.

use crate::api::{Chunk, Error, Manifest, Phase, Range};
use crate::app::App;
use crate::durable::ModelRecord;
use crate::models::{self, only_controllers};
use crate::{aliases, memory, migration, rounds};
use ic_stable_structures::Memory;

/// Bytes of a chunk's entry in the chunk region: XXH64, received.
const ENTRY: u64 = 9;

/// An error of a call that does not fit what is being uploaded.
pub fn wrong_phase(app: &App, hint: &str) -> Error {
    let shelf = app.library.uploading();
    let shelf = shelf.or_else(|| aliases::default_shelf(app));
    Error::WrongPhase {
        phase: shelf.map_or(Phase::Empty, |s| models::phase(app, s)).name(),
        hint: hint.into(),
    }
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
    if let Some(shelf) = app.library.find(&sha256) {
        // A file is stored once.
        let now = app.library.get(shelf).cloned().unwrap_or_default();
        match now.phase {
            // After a failure everything is sent anew.
            Phase::Failed => models::drop_model(app, shelf),
            Phase::Uploading if now.chunk_size != m.chunk_size => {
                return Err(Error::WrongPhase {
                    phase: now.phase.name(),
                    hint: format!(
                        "this file's upload was begun with a chunk_size of {}: go on with that, or \
                         call upload_abort",
                        now.chunk_size
                    ),
                });
            }
            _ => {
                app.heap.blocked.remove(&shelf);
                return Ok(());
            }
        }
    }
    if app.library.uploading().is_some() {
        return Err(wrong_phase(
            app,
            "another file is being uploaded: finish it or call upload_abort first",
        ));
    }
    drop_failed(app);

    let chunks = manifest.checksums.len() as u64;
    let shelf = app.library.add(ModelRecord {
        phase: Phase::Uploading,
        name: manifest.name,
        size: manifest.size,
        chunk_size: manifest.chunk_size,
        sha256,
        chunks: chunks as u32,
        ..ModelRecord::default()
    });
    let Some(shelf) = shelf else {
        return Err(Error::OutOfMemory(format!(
            "there are {} models, as many as may be: model_delete one",
            memory::SHELVES
        )));
    };
    if !memory::ensure(&memory::file(shelf), m.size)
        || !memory::ensure(&memory::chunks(shelf), chunks * ENTRY)
    {
        app.library.remove(shelf);
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
    memory::chunks(shelf).write(0, &entries);
    aliases::adopt(app, sha256);
    app.save();
    Ok(())
}

/// What failed makes room: it would have to be sent anew anyway.
fn drop_failed(app: &mut App) -> bool {
    let failed = |shelf: &u8| app.library.get(*shelf).map(|m| m.phase) == Some(Phase::Failed);
    let failed: Vec<u8> = app.library.shelves().into_iter().filter(failed).collect();
    for shelf in &failed {
        models::drop_model(app, *shelf);
    }
    !failed.is_empty()
}

/// Stores a chunk if it is what the manifest announced.
pub fn chunk(app: &mut App, chunk: &Chunk<'_>) -> Result<(), Error> {
    only_controllers()?;
    let Some((shelf, m)) = uploading(app) else {
        return Err(wrong_phase(app, "call upload_begin before sending chunks"));
    };
    let index = chunk.index;
    let wrong = |reason: String| Err(Error::WrongChunk { index, reason });
    let Some(range) = weights::manifest::chunk_range(m.size, m.chunk_size, index) else {
        return wrong(format!("the manifest has {} chunks", m.chunks));
    };
    let expected = range.end - range.start;
    if chunk.data.len() as u64 != expected {
        return wrong(format!(
            "{} bytes came, {expected} are due",
            chunk.data.len()
        ));
    }
    let mut entry = [0; ENTRY as usize];
    memory::chunks(shelf).read(u64::from(index) * ENTRY, &mut entry);
    if weights::manifest::checksum(chunk.data).to_le_bytes() != entry[..8] {
        return wrong("its XXH64 is not the manifest's".into());
    }
    if entry[8] == 0 {
        memory::file(shelf).write(range.start, chunk.data);
        memory::chunks(shelf).write(u64::from(index) * ENTRY + 8, &[1]);
        app.library.edit(shelf, |m| m.chunks_received += 1);
    }
    Ok(())
}

fn uploading(app: &App) -> Option<(u8, &ModelRecord)> {
    let shelf = app.library.uploading()?;
    Some((shelf, app.library.get(shelf)?))
}

/// The chunks that have not come, as ranges.
pub fn missing(app: &App) -> Vec<Range> {
    let Some((shelf, m)) = uploading(app) else {
        return Vec::new();
    };
    let mut entries = vec![0; m.chunks as usize * ENTRY as usize];
    memory::chunks(shelf).read(0, &mut entries);
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
    let Some(shelf) = app.library.uploading() else {
        // Said twice is said once.
        let said = app.library.iter().any(|(_, m)| m.phase != Phase::Failed);
        if !said {
            return Err(wrong_phase(app, "call upload_begin first"));
        }
        rounds::schedule(app);
        return Ok(());
    };
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
    app.library.edit(shelf, |m| m.phase = Phase::Verifying);
    rounds::schedule(app);
    Ok(())
}

/// Drops the upload that is not finished, or what failed. Models that are ready stay.
pub fn abort(app: &mut App) -> Result<(), Error> {
    only_controllers()?;
    migration::check(app)?;
    let on_the_way = |(_, m): &(u8, &ModelRecord)| {
        matches!(
            m.phase,
            Phase::Uploading | Phase::Verifying | Phase::Preparing
        )
    };
    let upload = app.library.iter().find(on_the_way).map(|(shelf, _)| shelf);
    match upload {
        Some(shelf) => models::drop_model(app, shelf),
        // Nothing to drop, or said twice: that is said once.
        None => {
            drop_failed(app);
        }
    }
    rounds::schedule(app);
    Ok(())
}

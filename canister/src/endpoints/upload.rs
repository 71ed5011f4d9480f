//! `upload_begin`, `upload_chunk`, `upload_missing`, `upload_commit` and `upload_abort`: receiving a
//! model's file in chunks, in any order, as often as the sender likes.

use super::require_controller;
use crate::generations::finish;
use crate::stable::ids::{ModelSlot, Sha256};
use crate::stable::records::{ModelInfo, ModelRecord, ModelStage};
use crate::stable::regions;
use crate::state::{State, aliases, check_migrated};
use ic_stable_structures::Memory;
use interface::{Chunk, Error, Manifest, Range};
use weights::gguf::sha256::Sha256State;

/// Bytes of a chunk's entry in the chunk region: XXH64, received.
const ENTRY: u64 = 9;

/// Begins an upload, or goes on with the one of the same file.
///
/// # Errors
/// [`Error::Unauthorized`], [`Error::InvalidArgument`], [`Error::WrongPhase`] while another file is
/// uploaded, [`Error::OutOfMemory`].
pub(crate) fn begin(state: &mut State, manifest: Manifest) -> Result<(), Error> {
    require_controller()?;
    let invalid = |e: String| Error::InvalidArgument(e);
    manifest.validate().map_err(|e| invalid(e.to_string()))?;
    let sha256 = match manifest.sha256.as_slice().try_into() {
        Ok(bytes) => Sha256(bytes),
        Err(_) => return Err(invalid("sha256: expected 32 bytes".into())),
    };
    if let Some(slot) = state.models.find(&sha256)
        && is_stored(state, slot, &manifest)?
    {
        return Ok(());
    }
    if state.models.uploading().is_some() {
        let hint = "another file is being uploaded: finish it or call upload_abort first";
        return Err(state.model_view().wrong_phase(hint));
    }
    remove_failed(state);

    let chunks = manifest.checksums.len() as u64;
    let slot = state.models.add(ModelRecord {
        stage: ModelStage::Uploading,
        name: manifest.name,
        size: manifest.size,
        chunk_size: manifest.chunk_size,
        sha256,
        chunks: chunks as u32,
        chunks_received: 0,
        prepared: 0,
        info: ModelInfo::default(),
        error: None,
    });
    let Some(slot) = slot else {
        return Err(Error::OutOfMemory(format!(
            "there are {} models, the maximum: delete one with model_delete",
            regions::MODEL_SLOTS
        )));
    };
    if !regions::ensure(&regions::file(slot), manifest.size)
        || !regions::ensure(&regions::chunks(slot), chunks * ENTRY)
    {
        state.models.remove(slot);
        return Err(Error::OutOfMemory(format!(
            "stable memory cannot grow by {} bytes",
            manifest.size
        )));
    }
    let mut entries = Vec::with_capacity((chunks * ENTRY) as usize);
    for checksum in &manifest.checksums {
        entries.extend_from_slice(&checksum.to_le_bytes());
        entries.push(0);
    }
    regions::chunks(slot).write(0, &entries);
    aliases::set_default_if_none(&mut state.control.aliases, &state.models, sha256);
    Ok(())
}

/// Returns `true` if the file in `slot` need not be announced again: a file is stored once. After a
/// failure everything is sent anew.
fn is_stored(state: &mut State, slot: ModelSlot, manifest: &Manifest) -> Result<bool, Error> {
    let Some(model) = state.models.get(slot) else {
        return Ok(false);
    };
    match model.stage {
        ModelStage::Failed => {
            finish::remove_model(state, slot);
            Ok(false)
        }
        ModelStage::Uploading if model.chunk_size != manifest.chunk_size => {
            Err(Error::WrongPhase {
                phase: interface::Phase::Uploading.name(),
                hint: format!(
                    "this file's upload began with a chunk_size of {}: continue with that, or call \
                     upload_abort",
                    model.chunk_size
                ),
            })
        }
        _ => {
            state.residency.blocked.remove(&slot);
            Ok(true)
        }
    }
}

/// Removes models that failed: they would have to be sent again anyway.
fn remove_failed(state: &mut State) {
    let failed = |slot: &ModelSlot| {
        let model = state.models.get(*slot);
        model.is_some_and(|m| m.stage == ModelStage::Failed)
    };
    let slots: Vec<ModelSlot> = state.models.slots().into_iter().filter(failed).collect();
    for slot in slots {
        finish::remove_model(state, slot);
    }
}

/// Stores a chunk if it is what the manifest announced.
///
/// # Errors
/// [`Error::Unauthorized`], [`Error::WrongPhase`], [`Error::WrongChunk`].
pub(crate) fn chunk(state: &mut State, chunk: &Chunk<'_>) -> Result<(), Error> {
    require_controller()?;
    let Some((slot, m)) = uploading(state) else {
        let hint = "call upload_begin before sending chunks";
        return Err(state.model_view().wrong_phase(hint));
    };
    let index = chunk.index;
    let wrong = |reason: String| Err(Error::WrongChunk { index, reason });
    let Some(range) = interface::chunk_range(m.size, m.chunk_size, index) else {
        return wrong(format!("the file has {} chunks", m.chunks));
    };
    let expected = range.end - range.start;
    if chunk.data.len() as u64 != expected {
        return wrong(format!(
            "expected {expected} bytes, got {}",
            chunk.data.len()
        ));
    }
    let mut entry = [0; ENTRY as usize];
    regions::chunks(slot).read(u64::from(index) * ENTRY, &mut entry);
    if interface::checksum(chunk.data).to_le_bytes() != entry[..8] {
        return wrong("its XXH64 differs from the manifest's: send it again".into());
    }
    if entry[8] == 0 {
        regions::file(slot).write(range.start, chunk.data);
        regions::chunks(slot).write(u64::from(index) * ENTRY + 8, &[1]);
        state.models.edit(slot, |m| m.chunks_received += 1);
    }
    Ok(())
}

fn uploading(state: &State) -> Option<(ModelSlot, &ModelRecord)> {
    let slot = state.models.uploading()?;
    Some((slot, state.models.get(slot)?))
}

/// Returns the chunks that are missing, as ranges.
pub(crate) fn missing(state: &State) -> Vec<Range> {
    let Some((slot, m)) = uploading(state) else {
        return Vec::new();
    };
    let mut entries = vec![0; m.chunks as usize * ENTRY as usize];
    regions::chunks(slot).read(0, &mut entries);
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

/// Has the file verified and made ready, if all chunks are there. Idempotent: committing twice is not
/// an error.
///
/// # Errors
/// [`Error::Unauthorized`], [`Error::MissingChunks`], [`Error::WrongPhase`].
pub(crate) fn commit(state: &mut State) -> Result<(), Error> {
    require_controller()?;
    let Some(slot) = state.models.uploading() else {
        let committed = |m: &ModelRecord| m.stage != ModelStage::Failed;
        if state.models.iter().any(|(_, m)| committed(m)) {
            return Ok(());
        }
        return Err(state.model_view().wrong_phase("call upload_begin first"));
    };
    let missing = missing(state);
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
    let hash = Sha256State::default();
    state.models.edit(slot, |m| {
        m.stage = ModelStage::Verifying {
            words: hash.words,
            hashed: hash.done,
        };
    });
    Ok(())
}

/// Removes the upload that is not finished, else models that failed. Models that are ready stay.
/// Idempotent.
///
/// # Errors
/// [`Error::Unauthorized`], [`Error::Busy`] while an older layout is converted.
pub(crate) fn abort(state: &mut State) -> Result<(), Error> {
    require_controller()?;
    check_migrated(&state.control)?;
    let unfinished = |m: &ModelRecord| !matches!(m.stage, ModelStage::Ready | ModelStage::Failed);
    let upload = state.models.iter().find(|(_, m)| unfinished(m));
    match upload.map(|(slot, _)| slot) {
        Some(slot) => finish::remove_model(state, slot),
        None => remove_failed(state),
    }
    Ok(())
}

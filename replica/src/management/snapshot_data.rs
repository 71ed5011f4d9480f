//! Snapshots of canisters in pieces: reading what one holds, and uploading one.

use super::answers::{
    MAX_CHUNK, MAX_CHUNKS, check_controller, chunk_store, decode, empty, encode, payload,
};
use super::snapshots::{check_own, check_place, keep, no_room, not_found, pay};
use super::types::*;
use crate::Replica;
use crate::memory::heap::{Heap, MAX_HEAP64};
use crate::memory::stable::{STABLE_PAGE, Stable};
use crate::replicated_state::history::SnapshotSource;
use crate::replicated_state::snapshot::{Snapshot, SnapshotModule};
use crate::replicated_state::status::LowMemoryHook;
use crate::runtime::failure::{ErrorCode, UserError};
use crate::runtime::instance::GlobalValue;
use candid::{Nat, Principal};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes that are read at once.
const MAX_SLICE: u64 = 2_000_000;
/// Instructions of reading or writing a piece, besides one for each byte.
const BASELINE: u64 = 5_000_000;
/// Bytes of a module, and of certified data.
const MAX_MODULE: u64 = 100 << 20;
const MAX_CERTIFIED_DATA: usize = 32;
const HEAP_PAGE: u64 = 65_536;

fn global(value: &GlobalValue) -> SnapshotGlobal {
    match *value {
        GlobalValue::I32(value) => SnapshotGlobal::i32(value),
        GlobalValue::I64(value) => SnapshotGlobal::i64(value),
        GlobalValue::F32(bits) => SnapshotGlobal::f32(f32::from_bits(bits)),
        GlobalValue::F64(bits) => SnapshotGlobal::f64(f64::from_bits(bits)),
        GlobalValue::V128(value) => SnapshotGlobal::v128(Nat::from(value)),
    }
}

fn global_value(value: &SnapshotGlobal) -> Result<GlobalValue, UserError> {
    Ok(match value {
        SnapshotGlobal::i32(value) => GlobalValue::I32(*value),
        SnapshotGlobal::i64(value) => GlobalValue::I64(*value),
        SnapshotGlobal::f32(value) => GlobalValue::F32(value.to_bits()),
        SnapshotGlobal::f64(value) => GlobalValue::F64(value.to_bits()),
        SnapshotGlobal::v128(value) => GlobalValue::V128(
            u128::try_from(value.0.clone()).map_err(|_| payload("a v128 has 128 bits"))?,
        ),
    })
}

fn hook_status(hook: LowMemoryHook) -> HookStatus {
    match hook {
        LowMemoryHook::NotSatisfied => HookStatus::condition_not_satisfied,
        LowMemoryHook::Ready => HookStatus::ready,
        LowMemoryHook::Executed => HookStatus::executed,
    }
}

fn hook(status: HookStatus) -> LowMemoryHook {
    match status {
        HookStatus::condition_not_satisfied => LowMemoryHook::NotSatisfied,
        HookStatus::ready => LowMemoryHook::Ready,
        HookStatus::executed => LowMemoryHook::Executed,
    }
}

fn metadata(snapshot: &Snapshot) -> SnapshotMetadata {
    SnapshotMetadata {
        source: snapshot.source,
        taken_at_timestamp: snapshot.taken_ns,
        wasm_module_size: snapshot.module.bytes().len() as u64,
        globals: snapshot.globals.iter().flatten().map(global).collect(),
        wasm_memory_size: snapshot.heap.stored_size() as u64,
        stable_memory_size: snapshot.stable.bytes(),
        wasm_chunk_store: snapshot
            .chunks
            .keys()
            .map(|hash| ChunkHash {
                hash: hash.to_vec(),
            })
            .collect(),
        canister_version: snapshot.version,
        certified_data: snapshot.certified_data.clone(),
        global_timer: snapshot.timer.map(|timer| match timer {
            Some(time) => GlobalTimer::active(time),
            None => GlobalTimer::inactive,
        }),
        on_low_wasm_memory_hook_status: snapshot.low_memory.map(hook_status),
    }
}

fn outside(offset: u64, size: u64) -> UserError {
    payload(format!(
        "Invalid subslice into wasm module / main memory / stable memory: offset: {offset}, size: \
         {size}"
    ))
}

/// A part of some bytes.
fn part(bytes: &[u8], offset: u64, size: u64) -> Result<Vec<u8>, UserError> {
    let start = usize::try_from(offset).ok();
    let end = offset
        .checked_add(size)
        .and_then(|end| usize::try_from(end).ok());
    let range = start
        .zip(end)
        .and_then(|(start, end)| bytes.get(start..end));
    range
        .map(<[u8]>::to_vec)
        .ok_or_else(|| outside(offset, size))
}

fn read(snapshot: &Snapshot, wanted: &SnapshotPart) -> Result<Vec<u8>, UserError> {
    match wanted {
        SnapshotPart::wasm_module { size, .. }
        | SnapshotPart::wasm_memory { size, .. }
        | SnapshotPart::stable_memory { size, .. }
            if *size > MAX_SLICE =>
        {
            Err(payload(format!(
                "Requested slice too large: {size} > {MAX_SLICE}"
            )))
        }
        SnapshotPart::wasm_module { offset, size } => part(snapshot.module.bytes(), *offset, *size),
        SnapshotPart::wasm_memory { offset, size } => part(snapshot.heap.bytes(), *offset, *size),
        SnapshotPart::stable_memory { offset, size } => {
            if !snapshot.stable.contains(*offset, *size) {
                return Err(outside(*offset, *size));
            }
            let mut bytes = vec![0; *size as usize];
            snapshot.stable.read(*offset, &mut bytes);
            Ok(bytes)
        }
        SnapshotPart::wasm_chunk { hash } => <[u8; 32]>::try_from(hash.as_slice())
            .ok()
            .and_then(|hash| snapshot.chunks.get(&hash))
            .map(|chunk| chunk.to_vec())
            .ok_or_else(|| chunk_store(format!("Chunk hash {} was not found", hex::encode(hash)))),
    }
}

fn write(snapshot: &mut Snapshot, place: &SnapshotPlace, chunk: Vec<u8>) -> Result<(), UserError> {
    let size = chunk.len() as u64;
    match place {
        SnapshotPlace::wasm_module { offset } => {
            let SnapshotModule::Uploaded(module) = &mut snapshot.module else {
                return Err(immutable());
            };
            let target = usize::try_from(*offset).ok().and_then(|start| {
                let end = start.checked_add(chunk.len())?;
                Arc::make_mut(module).get_mut(start..end)
            });
            target
                .ok_or_else(|| outside(*offset, size))?
                .copy_from_slice(&chunk);
        }
        SnapshotPlace::wasm_memory { offset } => {
            let end = offset.checked_add(size);
            if end.is_none_or(|end| end > snapshot.heap.stored_size() as u64) {
                return Err(outside(*offset, size));
            }
            snapshot.heap.initialise(*offset as usize, &chunk);
        }
        SnapshotPlace::stable_memory { offset } => {
            if !snapshot.stable.contains(*offset, size) {
                return Err(outside(*offset, size));
            }
            snapshot.stable.write(*offset, &chunk);
            snapshot.stable.commit();
            snapshot.stable.flush();
        }
        SnapshotPlace::wasm_chunk => {
            if chunk.len() > MAX_CHUNK {
                return Err(chunk_store(format!(
                    "Wasm chunk size {size} exceeds the maximum chunk size of {MAX_CHUNK}"
                )));
            }
            let hash: [u8; 32] = Sha256::digest(&chunk).into();
            if snapshot.chunks.len() >= MAX_CHUNKS && !snapshot.chunks.contains_key(&hash) {
                return Err(chunk_store(format!(
                    "Wasm chunk store has already reached maximum capacity of {MAX_CHUNKS} chunks"
                )));
            }
            snapshot.chunks.insert(hash, Arc::new(chunk));
        }
    }
    Ok(())
}

fn immutable() -> UserError {
    UserError::new(
        ErrorCode::CanisterSnapshotImmutable,
        "Only canister snapshots created by metadata upload can be mutated.",
    )
}

impl Replica {
    /// A snapshot that the caller may read.
    fn readable(
        &self,
        caller: &Principal,
        canister: &Principal,
        id: &[u8],
    ) -> Result<&Snapshot, UserError> {
        let canister = self.find(canister)?;
        if !canister.settings.snapshot_visibility.include(caller) {
            check_controller(canister, caller)?;
        }
        let snapshot = canister.snapshots.get(id);
        snapshot.ok_or_else(|| not_found(id, &canister.id))
    }

    pub(super) fn read_snapshot_metadata(
        &mut self,
        caller: Principal,
        arg: &[u8],
    ) -> Result<Vec<u8>, UserError> {
        let args: SnapshotRef = decode(arg)?;
        let snapshot = self.readable(&caller, &args.canister_id, &args.snapshot_id)?;
        let answer = encode(&metadata(snapshot))?;
        let fees = self.fees();
        pay(self.find_mut(&args.canister_id)?, BASELINE, fees)?;
        Ok(answer)
    }

    pub(super) fn read_snapshot_data(
        &mut self,
        caller: Principal,
        arg: &[u8],
    ) -> Result<Vec<u8>, UserError> {
        let args: ReadSnapshotData = decode(arg)?;
        let snapshot = self.readable(&caller, &args.canister_id, &args.snapshot_id)?;
        let chunk = read(snapshot, &args.kind)?;
        let (fees, cost) = (self.fees(), BASELINE + chunk.len() as u64);
        pay(self.find_mut(&args.canister_id)?, cost, fees)?;
        encode(&SnapshotData { chunk })
    }

    pub(super) fn upload_snapshot_metadata(
        &mut self,
        caller: Principal,
        arg: &[u8],
    ) -> Result<Vec<u8>, UserError> {
        let args: UploadSnapshotMetadata = decode(arg)?;
        let (now, fees, store) = (self.time_ns, self.fees(), self.store.clone());
        let at = self.saturation();
        let canister = self.controlled(&args.canister_id, &caller)?;
        let replaced = args.replace_snapshot.as_ref();
        check_place(canister, replaced)?;
        let (heap, stable) = (args.wasm_memory_size, args.stable_memory_size);
        let fits = args.wasm_module_size <= MAX_MODULE
            && heap <= MAX_HEAP64 as u64
            && heap.is_multiple_of(HEAP_PAGE)
            && stable.is_multiple_of(STABLE_PAGE)
            && args.certified_data.len() <= MAX_CERTIFIED_DATA;
        let mut memory = Stable::new(&store).map_err(no_room)?;
        if !fits || memory.grow(stable / STABLE_PAGE).is_none() {
            return Err(payload("The snapshot's sizes are not those of a canister."));
        }
        memory.commit();
        memory.flush();
        let globals: Result<Vec<_>, _> = args.globals.iter().map(global_value).collect();
        let snapshot = Snapshot {
            taken_ns: now,
            version: canister.version,
            source: SnapshotSource::metadata_upload,
            module: SnapshotModule::Uploaded(Arc::new(vec![0; args.wasm_module_size as usize])),
            heap: Heap::new(&store, heap as usize, heap as usize).map_err(no_room)?,
            globals: globals?.into_iter().map(Some).collect(),
            stable: memory,
            certified_data: args.certified_data,
            chunks: BTreeMap::new(),
            timer: args.global_timer.map(|timer| match timer {
                GlobalTimer::active(time) => Some(time),
                GlobalTimer::inactive => None,
            }),
            low_memory: args.on_low_wasm_memory_hook_status.map(hook),
        };
        pay(canister, BASELINE, fees)?;
        let (snapshot_id, _) = keep(canister, snapshot, replaced, fees, at)?;
        encode(&UploadedSnapshot { snapshot_id })
    }

    pub(super) fn upload_snapshot_data(
        &mut self,
        caller: Principal,
        arg: &[u8],
    ) -> Result<Vec<u8>, UserError> {
        let args: UploadSnapshotData = decode(arg)?;
        let fees = self.fees();
        let canister = self.controlled(&args.canister_id, &caller)?;
        check_own(canister, &args.snapshot_id)?;
        pay(canister, BASELINE + args.chunk.len() as u64, fees)?;
        let id = canister.id;
        let snapshot = canister
            .snapshots
            .get_mut(&args.snapshot_id)
            .ok_or_else(|| not_found(&args.snapshot_id, &id))?;
        if snapshot.source != SnapshotSource::metadata_upload {
            return Err(immutable());
        }
        write(snapshot, &args.kind, args.chunk)?;
        empty()
    }
}

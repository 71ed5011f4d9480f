//! Snapshots of canisters: code, memories, certified data and chunk store at some time.

use super::answers::{check_controller, decode, empty, encode, payload};
use super::lifecycle::uninstall;
use super::types::*;
use crate::Replica;
use crate::cycles::{Amount, Fees, Saturation};
use crate::messages::execution::{Effects, update_low_memory_hook};
use crate::replicated_state::canister::NotReserved;
use crate::replicated_state::history::{ChangeDetails, SnapshotSource};
use crate::replicated_state::snapshot::{Snapshot, SnapshotModule};
use crate::replicated_state::{Canister, Code};
use crate::runtime::engine::Engine;
use crate::runtime::failure::{ErrorCode, UserError};
use crate::runtime::instance::heap_capacity;
use crate::runtime::module::CompiledModule;
use crate::storage::FileStore;
use candid::Principal;
use std::sync::Arc;

/// Snapshots of a canister.
pub(super) const MAX_SNAPSHOTS: usize = 10;
/// Instructions of taking or loading a snapshot, besides one for each byte.
const BASELINE: u64 = 2_000_000_000;
/// Bytes of a snapshot's own number in its id; the canister's id follows.
const NUMBER: usize = 8;

pub(super) fn rejected(text: String) -> UserError {
    UserError::new(ErrorCode::CanisterRejectedMessage, text)
}

pub(super) fn not_found(id: &[u8], canister: &Principal) -> UserError {
    UserError::new(
        ErrorCode::CanisterSnapshotNotFound,
        format!(
            "Could not find the snapshot ID {} for canister {canister}.",
            hex::encode(id)
        ),
    )
}

/// The canister that a snapshot was taken of, by the snapshot's id.
fn owner(id: &[u8]) -> Option<Principal> {
    Principal::try_from_slice(id.get(NUMBER..)?).ok()
}

fn info(id: &[u8], snapshot: &Snapshot) -> SnapshotInfo {
    SnapshotInfo {
        id: id.to_vec(),
        taken_at_timestamp: snapshot.taken_ns,
        total_size: snapshot.bytes(),
    }
}

fn check_rate(canister: &Canister) -> Result<(), UserError> {
    let (debit, limit) = (canister.heap_delta_debit, crate::limits::HEAP_DELTA_RATE);
    if debit < limit {
        return Ok(());
    }
    Err(UserError::new(
        ErrorCode::CanisterHeapDeltaRateLimited,
        format!(
            "Canister {} is heap delta rate limited: current delta debit is {debit}, but limit is \
             {limit}.",
            canister.id
        ),
    ))
}

pub(super) fn no_room(error: std::io::Error) -> UserError {
    UserError::new(ErrorCode::SubnetOversubscribed, error.to_string())
}

impl Replica {
    pub(super) fn take_snapshot(
        &mut self,
        caller: Principal,
        arg: &[u8],
        effects: &mut Effects,
    ) -> Result<Vec<u8>, UserError> {
        let args: SnapshotArgs = decode(arg)?;
        let (now, fees, store) = (self.time_ns, self.fees(), self.store.clone());
        let at = self.saturation();
        let canister = self.controlled(&args.canister_id, &caller)?;
        let id = canister.id;
        let replaced = args.replace_snapshot.as_ref();
        check_place(canister, replaced)?;
        check_rate(canister)?;
        let Some(code) = &canister.code else {
            return Err(rejected(format!(
                "Failed to create snapshot for empty canister {id}:"
            )));
        };
        let snapshot = Snapshot {
            taken_ns: now,
            version: canister.version,
            source: SnapshotSource::taken_from_canister,
            module: SnapshotModule::Compiled(code.module.clone()),
            heap: code.heap.duplicate(&store).map_err(no_room)?,
            globals: code.globals.clone(),
            timer: Some(canister.timer),
            low_memory: Some(canister.low_memory),
            stable: canister.stable.duplicate(&store).map_err(no_room)?,
            certified_data: canister.certified_data.clone(),
            chunks: canister.chunks.clone(),
        };
        let bytes = snapshot.bytes();
        pay(canister, BASELINE + bytes, fees)?;
        let (snapshot_id, snapshot) = keep(canister, snapshot, replaced, fees, at)?;
        let answer = encode(&info(&snapshot_id, snapshot))?;
        canister.heap_delta_debit += bytes;
        if args.uninstall_code == Some(true) {
            uninstall(canister, &store, effects);
            let version = args.sender_canister_version;
            canister.note_change(now, caller, version, ChangeDetails::code_uninstall);
        }
        Ok(answer)
    }

    pub(super) fn load_snapshot(
        &mut self,
        caller: Principal,
        arg: &[u8],
    ) -> Result<Vec<u8>, UserError> {
        let args: LoadSnapshot = decode(arg)?;
        let (now, fees, store) = (self.time_ns, self.fees(), self.store.clone());
        let target = self.find(&args.canister_id)?;
        check_controller(target, &caller)?;
        check_rate(target)?;
        let wanted = &args.snapshot_id;
        let source = owner(wanted).and_then(|owner| self.canisters.get(&owner));
        let found = source.and_then(|source| Some((source, source.snapshots.get(wanted)?)));
        let (source, snapshot) = found.ok_or_else(|| not_found(wanted, &target.id))?;
        if source.id != target.id && !source.is_controller(&caller) {
            return Err(rejected(format!(
                "The sender {caller} is not a controller of the canister that the snapshot {} \
                 belongs to.",
                hex::encode(wanted)
            )));
        }
        let instructions = BASELINE + snapshot.bytes();
        let code = code_of(snapshot, &store)?;
        let stable = snapshot.stable.duplicate(&store).map_err(no_room)?;
        let (certified_data, chunks) = (snapshot.certified_data.clone(), snapshot.chunks.clone());
        let uploaded = snapshot.source == SnapshotSource::metadata_upload;
        let (timer, hook) = (snapshot.timer, snapshot.low_memory);
        let details = ChangeDetails::load_snapshot {
            canister_version: snapshot.version,
            snapshot_id: wanted.clone(),
            taken_at_timestamp: snapshot.taken_ns,
            source: snapshot.source,
            from_canister_id: (source.id != target.id).then_some(source.id),
        };
        let canister = self.controlled(&args.canister_id, &caller)?;
        pay(canister, instructions, fees)?;
        canister.code = Some(code);
        canister.stable = stable;
        canister.certified_data = certified_data;
        canister.chunks = chunks;
        if uploaded {
            canister.timer = timer.unwrap_or(canister.timer);
            canister.low_memory = hook.unwrap_or(canister.low_memory);
        }
        canister.version += 1;
        canister.heap_delta_debit += instructions - BASELINE;
        update_low_memory_hook(canister);
        canister.note_change(now, caller, args.sender_canister_version, details);
        empty()
    }

    pub(super) fn list_snapshots(
        &self,
        caller: Principal,
        arg: &[u8],
    ) -> Result<Vec<u8>, UserError> {
        let args: CanisterIdRecord = decode(arg)?;
        let canister = self.find(&args.canister_id)?;
        if !canister.settings.snapshot_visibility.include(&caller) {
            check_controller(canister, &caller)?;
        }
        let list: Vec<SnapshotInfo> = canister
            .snapshots
            .iter()
            .map(|(id, snapshot)| info(id, snapshot))
            .collect();
        encode(&list)
    }

    pub(super) fn delete_snapshot(
        &mut self,
        caller: Principal,
        arg: &[u8],
    ) -> Result<Vec<u8>, UserError> {
        let args: SnapshotRef = decode(arg)?;
        let canister = self.controlled(&args.canister_id, &caller)?;
        check_own(canister, &args.snapshot_id)?;
        canister.snapshots.remove(&args.snapshot_id);
        empty()
    }
}

/// The id of a canister's next snapshot.
/// Whether a canister may have a snapshot more, or one in place of another of its own.
pub(super) fn check_place(
    canister: &Canister,
    replaced: Option<&serde_bytes::ByteBuf>,
) -> Result<(), UserError> {
    match replaced {
        Some(old) => check_own(canister, old),
        None if canister.snapshots.len() >= MAX_SNAPSHOTS => Err(rejected(format!(
            "Canister {} has reached the maximum number of snapshots allowed: {MAX_SNAPSHOTS}.",
            canister.id
        ))),
        None => Ok(()),
    }
}

/// Reserves cycles for a snapshot and puts it where it belongs; gives its id, and it.
pub(super) fn keep<'c>(
    canister: &'c mut Canister,
    snapshot: Snapshot,
    replaced: Option<&serde_bytes::ByteBuf>,
    fees: Fees,
    at: Saturation,
) -> Result<(Vec<u8>, &'c Snapshot), UserError> {
    reserve(canister, snapshot.bytes(), replaced, fees, at)?;
    if let Some(old) = replaced {
        canister.snapshots.remove(old.as_slice());
    }
    let id = next_id(canister);
    let kept = canister.snapshots.entry(id.clone()).or_insert(snapshot);
    Ok((id, kept))
}

fn next_id(canister: &mut Canister) -> Vec<u8> {
    let mut id = canister.next_snapshot.to_be_bytes().to_vec();
    id.extend_from_slice(canister.id.as_slice());
    canister.next_snapshot += 1;
    id
}

/// A snapshot's code and heap, for a canister.
fn code_of(snapshot: &Snapshot, store: &Arc<FileStore>) -> Result<Code, UserError> {
    let module = match &snapshot.module {
        SnapshotModule::Compiled(module) => module.clone(),
        SnapshotModule::Uploaded(bytes) => {
            let invalid = |text: String| UserError::new(ErrorCode::CanisterInvalidWasm, text);
            let engine = Engine::get().map_err(invalid)?;
            let module = CompiledModule::compile(engine, bytes, store);
            module.map_err(|error| invalid(error.to_string()))?
        }
    };
    let capacity = heap_capacity(&module);
    if snapshot.heap.stored_size() > capacity {
        return Err(payload(
            "The snapshot's Wasm memory is larger than its module allows.",
        ));
    }
    let heap = snapshot.heap.duplicate_within(store, capacity);
    let mut code = Code {
        module,
        heap: heap.map_err(no_room)?,
        globals: snapshot.globals.clone(),
        instance: None,
        pool: Arc::default(),
    };
    // Globals that were uploaded may not be the module's.
    if code.globals.len() != code.module.mutable_globals.len() || code.instance().is_err() {
        return Err(payload(
            "The snapshot's globals or memories do not match its module.",
        ));
    }
    code.instance = None;
    Ok(code)
}

/// Puts cycles aside for a snapshot of that many bytes that may replace another.
fn reserve(
    canister: &mut Canister,
    bytes: u64,
    replaced: Option<&serde_bytes::ByteBuf>,
    fees: Fees,
    at: Saturation,
) -> Result<(), UserError> {
    if canister.settings.memory_allocation > 0 {
        return Ok(());
    }
    let old = replaced.and_then(|id| canister.snapshots.get(id.as_slice()));
    let more = bytes.saturating_sub(old.map_or(0, Snapshot::bytes));
    let grow = |code, reason: String| {
        let text = format!("Canister cannot grow memory by {more} bytes due to {reason}");
        UserError::new(code, text)
    };
    canister
        .reserve(fees.reservation(at, more))
        .map_err(|why| match why {
            NotReserved::Cycles(missing) => grow(
                ErrorCode::InsufficientCyclesInMemoryGrow,
                format!(
                    "insufficient cycles. At least {} additional cycles are required.",
                    Amount(missing)
                ),
            ),
            NotReserved::Limit { limit, over } => grow(
                ErrorCode::ReservedCyclesLimitExceededInMemoryGrow,
                format!(
                    "its reserved cycles limit. The current limit ({}) would be exceeded by {}.",
                    Amount(limit),
                    Amount(over)
                ),
            ),
        })
}

/// Checks that a snapshot is one of a canister's.
pub(super) fn check_own(canister: &Canister, id: &[u8]) -> Result<(), UserError> {
    if canister.snapshots.contains_key(id) {
        return Ok(());
    }
    Err(not_found(id, &canister.id))
}

pub(super) fn pay(
    canister: &mut Canister,
    instructions: u64,
    fees: crate::cycles::Fees,
) -> Result<(), UserError> {
    let cost = fees.execution(instructions, false);
    canister.withdraw(cost, fees).map_err(|missing| {
        let missing = Amount(missing);
        UserError::new(
            ErrorCode::CanisterOutOfCycles,
            format!(
                "Canister snapshotting failed with: `Canister {} is out of cycles: please top up \
                 the canister with at least {missing} additional cycles`",
                canister.id
            ),
        )
    })?;
    canister.consumed.instructions += cost as i128;
    Ok(())
}

//! The management canister, `aaaaa-aa`.

mod lifecycle;
pub use lifecycle::uninstall;
mod settings;
mod snapshot_data;
mod snapshots;
pub mod types;

use crate::Replica;
use crate::cycles::Amount;
use crate::exec::Effects;
use crate::execution::failure::{ErrorCode, UserError};
use crate::log::Log;
use crate::state::{Canister, Origin};
use candid::{CandidType, Principal, decode_one, encode_one};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use types::*;

/// Largest chunk, in bytes.
const MAX_CHUNK: usize = 1 << 20;
/// Chunks of a canister.
const MAX_CHUNKS: usize = 100;
/// Instructions that storing a chunk counts.
const CHUNK_INSTRUCTIONS: u64 = 200_000_000;
/// Cycles of a canister that is created provisionally, by default.
const DEFAULT_PROVISIONAL: u128 = 100_000_000_000_000;

/// A call of the management canister.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Call {
    pub origin: Origin,
    pub method: String,
    #[serde(with = "serde_bytes")]
    pub arg: Vec<u8>,
    pub cycles: u128,
}

/// How a call ended.
pub enum Ended {
    /// Answered, with the cycles that go back.
    Now(Result<Vec<u8>, UserError>, u128),
    /// The answer comes later.
    Later,
}

impl From<Result<Vec<u8>, UserError>> for Ended {
    fn from(result: Result<Vec<u8>, UserError>) -> Ended {
        Ended::Now(result, 0)
    }
}

fn encode<T: CandidType>(value: &T) -> Result<Vec<u8>, UserError> {
    encode_one(value).map_err(|error| payload(error.to_string()))
}

fn empty() -> Result<Vec<u8>, UserError> {
    candid::encode_args(()).map_err(|error| payload(error.to_string()))
}

fn payload(text: impl Into<String>) -> UserError {
    UserError::new(ErrorCode::InvalidManagementPayload, text)
}

/// What is wrong with a chunk, without a full stop.
fn chunk_store(text: impl std::fmt::Display) -> UserError {
    UserError::new(
        ErrorCode::CanisterContractViolation,
        format!("Error from Wasm chunk store: {text}."),
    )
}

fn decode<T: CandidType + for<'a> candid::Deserialize<'a>>(arg: &[u8]) -> Result<T, UserError> {
    decode_one(arg).map_err(|error| payload(format!("Error decoding candid: {}", causes(&error))))
}

/// An error's text with those of its causes.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn amount(nat: &candid::Nat, what: &str) -> Result<u128, UserError> {
    u128::try_from(nat.0.clone()).map_err(|_| payload(format!("{what} does not fit in 128 bits")))
}

/// The canister that a user's management call is about; none when it is about none.
pub fn target(method: &str, arg: &[u8]) -> Result<Option<Principal>, UserError> {
    match method {
        "provisional_create_canister_with_cycles" => Ok(None),
        "install_chunked_code" => Ok(Some(decode::<InstallChunkedCode>(arg)?.target_canister)),
        _ => Ok(Some(decode::<CanisterIdRecord>(arg)?.canister_id)),
    }
}

/// Methods that users may call.
const FROM_USERS: [&str; 22] = [
    "canister_status",
    "clear_chunk_store",
    "delete_canister",
    "delete_canister_snapshot",
    "install_chunked_code",
    "install_code",
    "list_canister_snapshots",
    "load_canister_snapshot",
    "provisional_create_canister_with_cycles",
    "provisional_top_up_canister",
    "read_canister_snapshot_data",
    "read_canister_snapshot_metadata",
    "start_canister",
    "stop_canister",
    "stored_chunks",
    "take_canister_snapshot",
    "uninstall_code",
    "update_settings",
    "upload_canister_snapshot_data",
    "upload_canister_snapshot_metadata",
    "upload_chunk",
    "fetch_canister_logs",
];

/// Methods that any user may call.
const FROM_ANYBODY: [&str; 2] = [
    "provisional_create_canister_with_cycles",
    "provisional_top_up_canister",
];

/// Methods that whoever may see the snapshots may call.
const OF_SNAPSHOTS: [&str; 3] = [
    "list_canister_snapshots",
    "read_canister_snapshot_data",
    "read_canister_snapshot_metadata",
];

impl Replica {
    /// Whether a user's call of the management canister is let in.
    pub(crate) fn check_management_ingress(
        &self,
        sender: Principal,
        method: &str,
        arg: &[u8],
    ) -> Result<(), UserError> {
        if method == "raw_rand" || method == "create_canister" || method == "deposit_cycles" {
            return Err(UserError::new(
                ErrorCode::CanisterRejectedMessage,
                format!("Only canisters can call ic00 method {method}"),
            ));
        }
        if !FROM_USERS.contains(&method) {
            return Err(UserError::new(
                ErrorCode::CanisterMethodNotFound,
                format!("Management canister has no method '{method}'"),
            ));
        }
        let Some(id) = target(method, arg)? else {
            return Ok(());
        };
        let canister = self.find(&id)?;
        let reads = OF_SNAPSHOTS.contains(&method);
        if FROM_ANYBODY.contains(&method)
            || (reads && canister.settings.snapshot_visibility.include(&sender))
        {
            return Ok(());
        }
        check_controller_ingress(canister, &sender, method)
    }

    pub(crate) fn find(&self, id: &Principal) -> Result<&Canister, UserError> {
        self.canisters.get(id).ok_or_else(|| not_found(id))
    }

    fn find_mut(&mut self, id: &Principal) -> Result<&mut Canister, UserError> {
        self.canisters.get_mut(id).ok_or_else(|| not_found(id))
    }

    /// A canister that the caller controls.
    fn controlled(
        &mut self,
        id: &Principal,
        caller: &Principal,
    ) -> Result<&mut Canister, UserError> {
        let canister = self.find_mut(id)?;
        check_controller(canister, caller)?;
        Ok(canister)
    }

    /// Executes one call of the management canister.
    pub(crate) fn manage(&mut self, call: &Call, effects: &mut Effects) -> Ended {
        let caller = call.origin.caller();
        let method = call.method.as_str();
        let arg = call.arg.as_slice();
        if let (Origin::Canister { .. }, Err(text)) = (&call.origin, routable(method, arg)) {
            let error = UserError::new(ErrorCode::CanisterNotFound, text);
            return Ended::Now(Err(error), call.cycles);
        }
        match method {
            "create_canister" => self.create(call),
            "raw_rand" => match arg_is_empty(arg) {
                Ok(()) => {
                    self.random_requests.push(call.origin.clone());
                    Ended::Later
                }
                Err(error) => Err(error).into(),
            },
            "deposit_cycles" => match self.deposit(arg, call.cycles) {
                Ok(()) => empty().into(),
                Err(error) => Ended::Now(Err(error), call.cycles),
            },
            "stop_canister" => self.stop(call, effects),
            "install_code" | "install_chunked_code" => self.install(call),
            _ => Ended::Now(self.simple(method, caller, arg, effects), call.cycles),
        }
    }

    fn simple(
        &mut self,
        method: &str,
        caller: Principal,
        arg: &[u8],
        effects: &mut Effects,
    ) -> Result<Vec<u8>, UserError> {
        match method {
            "provisional_create_canister_with_cycles" => self.provisional_create(caller, arg),
            "provisional_top_up_canister" => {
                let args: ProvisionalTopUp = decode(arg)?;
                let cycles = amount(&args.amount, "amount")?;
                self.find_mut(&args.canister_id)?.cycles += cycles;
                empty()
            }
            "update_settings" => {
                let args: UpdateSettings = decode(arg)?;
                self.update_settings(caller, &args)
            }
            "canister_status" => {
                let args: CanisterIdRecord = decode(arg)?;
                self.canister_status(caller, &args.canister_id)
            }
            "canister_info" => {
                let args: CanisterInfoArgs = decode(arg)?;
                let canister = self.find(&args.canister_id)?;
                encode(&CanisterInfoResult {
                    total_num_changes: canister.history.total(),
                    recent_changes: canister
                        .history
                        .latest(args.num_requested_changes.unwrap_or(0) as usize),
                    module_hash: module_hash(canister),
                    controllers: canister.settings.controllers.clone(),
                })
            }
            "start_canister" => self.start(caller, arg, effects),
            "uninstall_code" => self.uninstall(caller, arg, effects),
            "delete_canister" => self.delete(caller, arg),
            "take_canister_snapshot" => self.take_snapshot(caller, arg, effects),
            "load_canister_snapshot" => self.load_snapshot(caller, arg),
            "list_canister_snapshots" => self.list_snapshots(caller, arg),
            "delete_canister_snapshot" => self.delete_snapshot(caller, arg),
            "read_canister_snapshot_metadata" => self.read_snapshot_metadata(caller, arg),
            "read_canister_snapshot_data" => self.read_snapshot_data(caller, arg),
            "upload_canister_snapshot_metadata" => self.upload_snapshot_metadata(caller, arg),
            "upload_canister_snapshot_data" => self.upload_snapshot_data(caller, arg),
            "upload_chunk" => self.upload_chunk(caller, arg),
            "clear_chunk_store" => {
                let args: CanisterIdRecord = decode(arg)?;
                let canister = self.controlled(&args.canister_id, &caller)?;
                canister.chunks.clear();
                empty()
            }
            "stored_chunks" => {
                let args: CanisterIdRecord = decode(arg)?;
                let canister = self.controlled(&args.canister_id, &caller)?;
                let chunks: Vec<ChunkHash> = canister
                    .chunks
                    .keys()
                    .map(|hash| ChunkHash {
                        hash: hash.to_vec(),
                    })
                    .collect();
                encode(&chunks)
            }
            "fetch_canister_logs" => canister_logs(caller, arg, |id| {
                let canister = self.find(id)?;
                Ok((canister.may_read_log(&caller), &canister.log))
            }),
            "ecdsa_public_key" | "sign_with_ecdsa" | "schnorr_public_key" | "sign_with_schnorr"
            | "vetkd_public_key" | "vetkd_derive_key" => Err(payload(format!(
                "{method}: this subnet holds no threshold keys"
            ))),
            "http_request" => Err(UserError::new(
                ErrorCode::CanisterRejectedMessage,
                "This API is not enabled on this subnet",
            )),
            "bitcoin_get_balance"
            | "bitcoin_get_utxos"
            | "bitcoin_send_transaction"
            | "bitcoin_get_current_fee_percentiles"
            | "node_metrics_history"
            | "subnet_info" => Err(UserError::new(
                ErrorCode::CanisterRejectedMessage,
                format!("{method} is not available on this subnet"),
            )),
            _ => Err(UserError::new(
                ErrorCode::CanisterMethodNotFound,
                format!("Management canister has no method '{method}'"),
            )),
        }
    }

    fn deposit(&mut self, arg: &[u8], cycles: u128) -> Result<(), UserError> {
        let args: CanisterIdRecord = decode(arg)?;
        self.find_mut(&args.canister_id)?.cycles += cycles;
        Ok(())
    }

    fn upload_chunk(&mut self, caller: Principal, arg: &[u8]) -> Result<Vec<u8>, UserError> {
        let args: UploadChunk = decode(arg)?;
        let fees = self.fees();
        let canister = self.find_mut(&args.canister_id)?;
        if !canister.is_controller(&caller) && caller != canister.id {
            check_controller(canister, &caller)?;
        }
        if args.chunk.len() > MAX_CHUNK {
            return Err(chunk_store(format!(
                "Wasm chunk size {} exceeds the maximum chunk size of {MAX_CHUNK}",
                args.chunk.len()
            )));
        }
        let hash: [u8; 32] = Sha256::digest(&args.chunk).into();
        if !canister.chunks.contains_key(&hash) {
            if canister.chunks.len() >= MAX_CHUNKS {
                return Err(chunk_store(format!(
                    "Wasm chunk store has already reached maximum capacity of {MAX_CHUNKS} chunks"
                )));
            }
            let cost = fees.execution(CHUNK_INSTRUCTIONS, false);
            canister.withdraw(cost, fees).map_err(|missing| {
                let missing = Amount(missing);
                UserError::new(
                    ErrorCode::CanisterOutOfCycles,
                    format!(
                        "Canister {} is out of cycles: please top up the canister with at least \
                         {missing} additional cycles",
                        canister.id
                    ),
                )
            })?;
            canister.consumed.instructions += cost as i128;
            canister.chunks.insert(hash, Arc::new(args.chunk));
        }
        encode(&ChunkHash {
            hash: hash.to_vec(),
        })
    }
}

/// The answer of `fetch_canister_logs`: `find` gives a canister's log and whether the caller may
/// read it.
pub fn canister_logs<'a>(
    caller: Principal,
    arg: &[u8],
    find: impl FnOnce(&Principal) -> Result<(bool, &'a Log), UserError>,
) -> Result<Vec<u8>, UserError> {
    let args: CanisterIdRecord = decode(arg)?;
    let (allowed, log) = find(&args.canister_id)?;
    if !allowed {
        return Err(UserError::new(
            ErrorCode::CanisterRejectedMessage,
            format!("Caller {caller} is not allowed to access canister logs"),
        ));
    }
    encode(&Logs {
        canister_log_records: log
            .records()
            .map(|record| LogEntry {
                idx: record.index,
                timestamp_nanos: record.time_ns,
                content: record.content.clone(),
            })
            .collect(),
    })
}

/// The answer of `canister_status` as a query: `find` gives a canister's status.
pub fn canister_status<'a>(
    caller: Principal,
    arg: &[u8],
    find: impl FnOnce(&Principal) -> Result<&'a CanisterStatus, UserError>,
) -> Result<Vec<u8>, UserError> {
    let args: CanisterIdRecord = decode(arg)?;
    let status = find(&args.canister_id)?;
    if caller != args.canister_id {
        check_controllers(&args.canister_id, &status.settings.controllers, &caller)?;
    }
    encode(status)
}

/// Whether a canister's call names the canister that it is about; else the IC does not know which
/// subnet to send it to.
fn routable(method: &str, arg: &[u8]) -> Result<(), String> {
    const WITHOUT_TARGET: [&str; 3] = [
        "create_canister",
        "raw_rand",
        "provisional_create_canister_with_cycles",
    ];
    let routed =
        FROM_USERS.contains(&method) || ["deposit_cycles", "canister_info"].contains(&method);
    if !routed || WITHOUT_TARGET.contains(&method) {
        return Ok(());
    }
    target(method, arg).map(|_| ()).map_err(|error| {
        format!(
            "Unable to route management canister request {method}: UserError(UserError {{ code: \
             InvalidManagementPayload, description: {:?} }})",
            error.text
        )
    })
}

fn arg_is_empty(arg: &[u8]) -> Result<(), UserError> {
    candid::decode_args::<()>(arg)
        .map_err(|error| payload(format!("Error decoding candid: {error}")))
}

fn module_hash(canister: &Canister) -> Option<serde_bytes::ByteBuf> {
    let code = canister.code.as_ref()?;
    Some(serde_bytes::ByteBuf::from(code.module.hash.to_vec()))
}

fn not_found(id: &Principal) -> UserError {
    UserError::new(
        ErrorCode::CanisterNotFound,
        format!("Canister {id} not found"),
    )
}

/// Refuses callers that are not controllers, in the words for users.
pub(super) fn check_controller_ingress(
    canister: &Canister,
    caller: &Principal,
    method: &str,
) -> Result<(), UserError> {
    if canister.is_controller(caller) {
        return Ok(());
    }
    Err(UserError::new(
        ErrorCode::CanisterInvalidController,
        format!(
            "Only controllers of canister {} can call ic00 method {method}",
            canister.id
        ),
    ))
}

fn check_controller(canister: &Canister, caller: &Principal) -> Result<(), UserError> {
    check_controllers(&canister.id, &canister.settings.controllers, caller)
}

fn check_controllers(
    canister: &Principal,
    controllers: &[Principal],
    caller: &Principal,
) -> Result<(), UserError> {
    if controllers.contains(caller) {
        return Ok(());
    }
    let controllers: Vec<String> = controllers.iter().map(ToString::to_string).collect();
    Err(UserError::new(
        ErrorCode::CanisterInvalidController,
        format!(
            "Only the controllers of the canister {canister} can control it.\nCanister's controllers: \
             {}\nSender's ID: {caller}\nExecute this call from a controller of the target canister \
             or add the current caller as a controller. See documentation: \
             https://internetcomputer.org/docs/current/references/execution-errors#invalid-controller",
            controllers.join(" ")
        ),
    ))
}

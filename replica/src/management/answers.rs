//! What the methods of the management canister share: decoding, encoding, and who may call.

use super::types::{CanisterIdRecord, CanisterStatus, LogEntry, Logs};
use crate::log::Log;
use crate::replicated_state::canister::Canister;
use crate::runtime::failure::{ErrorCode, UserError};
use candid::{CandidType, Principal, decode_one, encode_one};

/// Largest chunk, in bytes.
pub(crate) const MAX_CHUNK: usize = 1 << 20;
/// Chunks of a canister.
pub(crate) const MAX_CHUNKS: usize = 100;
/// Cycles of a canister that is created provisionally, by default.
pub(crate) const DEFAULT_PROVISIONAL: u128 = 100_000_000_000_000;

pub(crate) fn encode<T: CandidType>(value: &T) -> Result<Vec<u8>, UserError> {
    encode_one(value).map_err(|error| payload(error.to_string()))
}

pub(crate) fn empty() -> Result<Vec<u8>, UserError> {
    candid::encode_args(()).map_err(|error| payload(error.to_string()))
}

pub(crate) fn payload(text: impl Into<String>) -> UserError {
    UserError::new(ErrorCode::InvalidManagementPayload, text)
}

/// What is wrong with a chunk, without a full stop.
pub(crate) fn chunk_store(text: impl std::fmt::Display) -> UserError {
    UserError::new(
        ErrorCode::CanisterContractViolation,
        format!("Error from Wasm chunk store: {text}."),
    )
}

pub(crate) fn decode<T: CandidType + for<'a> candid::Deserialize<'a>>(
    arg: &[u8],
) -> Result<T, UserError> {
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

pub(crate) fn amount(nat: &candid::Nat, what: &str) -> Result<u128, UserError> {
    u128::try_from(nat.0.clone()).map_err(|_| payload(format!("{what} does not fit in 128 bits")))
}

pub(crate) fn arg_is_empty(arg: &[u8]) -> Result<(), UserError> {
    candid::decode_args::<()>(arg)
        .map_err(|error| payload(format!("Error decoding candid: {error}")))
}

pub(crate) fn module_hash(canister: &Canister) -> Option<serde_bytes::ByteBuf> {
    let code = canister.code.as_ref()?;
    Some(serde_bytes::ByteBuf::from(code.module.hash.to_vec()))
}

pub(crate) fn not_found(id: &Principal) -> UserError {
    UserError::new(
        ErrorCode::CanisterNotFound,
        format!("Canister {id} not found"),
    )
}

/// Refuses callers that are not controllers, in the words for users.
pub(crate) fn check_controller_ingress(
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

pub(crate) fn check_controller(canister: &Canister, caller: &Principal) -> Result<(), UserError> {
    check_controllers(&canister.id, &canister.settings.controllers, caller)
}

pub(crate) fn check_controllers(
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

/// The answer of `fetch_canister_logs`: `find` gives a canister's log and whether the caller may
/// read it.
pub(crate) fn canister_logs<'a>(
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
pub(crate) fn canister_status<'a>(
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

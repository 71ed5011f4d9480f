//! A call of the management canister, and the canister that it is about.

use super::answers::decode;
use super::types::{CanisterIdRecord, InstallChunkedCode};
use crate::replicated_state::calls::Origin;
use crate::runtime::failure::UserError;
use candid::Principal;

/// Methods that users may call.
pub(crate) const FROM_USERS: [&str; 22] = [
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

/// A call of the management canister.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Call {
    pub origin: Origin,
    pub method: String,
    #[serde(with = "serde_bytes")]
    pub arg: Vec<u8>,
    pub cycles: u128,
}

/// How a call ended.
pub(crate) enum Ended {
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

/// The canister that a user's management call is about; none when it is about none.
pub(crate) fn target(method: &str, arg: &[u8]) -> Result<Option<Principal>, UserError> {
    match method {
        "provisional_create_canister_with_cycles" => Ok(None),
        "install_chunked_code" => Ok(Some(decode::<InstallChunkedCode>(arg)?.target_canister)),
        _ => Ok(Some(decode::<CanisterIdRecord>(arg)?.canister_id)),
    }
}

/// Whether a canister's call names the canister that it is about; else the IC does not know which
/// subnet to send it to.
pub(crate) fn routable(method: &str, arg: &[u8]) -> Result<(), String> {
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

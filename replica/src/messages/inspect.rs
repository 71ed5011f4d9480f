//! `canister_inspect_message`: asking a canister whether it takes a user's message.

use super::view::CanisterView;
use crate::cycles::INSPECT_LIMIT;
use crate::runtime::failure::{ErrorCode, Failure, UserError};
use crate::runtime::instance::Entry;
use crate::runtime::mode::Mode;
use crate::runtime::module::Export;
use candid::Principal;

/// Asks the canister; without the hook every message is accepted.
///
/// # Errors
/// The reject that the user gets.
pub(crate) fn inspect(
    canister: &CanisterView,
    sender: Principal,
    method: &str,
    arg: &[u8],
    time_ns: u64,
) -> Result<(), UserError> {
    let id = canister.id;
    let Some(code) = &canister.code else {
        return Err(UserError::new(
            ErrorCode::CanisterWasmModuleNotFound,
            "Requested canister has no wasm module",
        ));
    };
    if !code.module.exports(Export::InspectMessage) {
        return Ok(());
    }
    let mut api = canister.api(Mode::InspectMessage, INSPECT_LIMIT, time_ns);
    api.caller = sender.as_slice().to_vec();
    api.method = method.to_string();
    api.arg = arg.to_vec();
    let backtraces = canister.may_read_log(&sender);
    let Ok(mut instance) = code.instance() else {
        return Err(Failure::OutOfMemory.user_error(&id, false));
    };
    let outcome = instance.run(&Entry::Export(Export::InspectMessage.name().into()), api);
    code.give_back(instance);
    outcome
        .result
        .map_err(|failure| failure.user_error(&id, backtraces))?;
    if outcome.api.accepted {
        Ok(())
    } else {
        Err(UserError::new(
            ErrorCode::CanisterRejectedMessage,
            format!("Error from Canister {id}: Canister rejected the message"),
        ))
    }
}

//! `canister_inspect_message`: asking a canister whether it takes a user's message.

use super::{RoundContext, new_api};
use crate::cycles::INSPECT_LIMIT;
use crate::execution::Entry;
use crate::execution::failure::{ErrorCode, Failure, UserError};
use crate::execution::mode::Mode;
use crate::state::Canister;
use crate::wasm::Export;
use candid::Principal;

/// Asks the canister; without the hook every message is accepted.
///
/// # Errors
/// The reject that the user gets.
pub fn inspect(
    canister: &mut Canister,
    sender: Principal,
    method: &str,
    arg: &[u8],
    round: &RoundContext,
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
    let mut api = new_api(canister, round, Mode::InspectMessage, INSPECT_LIMIT);
    api.caller = sender.as_slice().to_vec();
    api.method = method.to_string();
    api.arg = arg.to_vec();
    let backtraces = canister.may_read_log(&sender);
    let Some(code) = &mut canister.code else {
        return Ok(());
    };
    let single_use = code.module.single_use;
    let Ok(instance) = code.query_instance() else {
        return Err(Failure::OutOfMemory.user_error(&id, false));
    };
    let outcome = instance.run(&Entry::Export(Export::InspectMessage.name().into()), api);
    instance.roll_back();
    if single_use {
        instance.set_spent();
    }
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

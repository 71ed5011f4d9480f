//! `canister_inspect_message`: what would be refused anyway is refused here, before the canister pays
//! for it. Nothing is decoded.
//!
//! A refusal is a trap whose text carries the error ([`interface::refusal`]).

use super::require_controller;
use crate::generations::admission;
use crate::runtime;
use crate::state::{State, billing, quota};
use interface::{Error, refusal};

/// Longest argument of every method but `upload_chunk` (bytes).
const MAX_ARGUMENT_BYTES: usize = 1_300_000;

/// Accepts the message, or traps with the reason.
pub(crate) fn inspect(state: &State) {
    match check(state, &runtime::method_name()) {
        Ok(()) => runtime::accept_message(),
        Err(e) => runtime::trap(&refusal::encode(&e)),
    }
}

fn check(state: &State, method: &str) -> Result<(), Error> {
    let who = runtime::caller();
    if method != "upload_chunk" && runtime::argument_bytes() > MAX_ARGUMENT_BYTES {
        return Err(Error::InvalidArgument(format!(
            "the argument has {} bytes, the maximum is {MAX_ARGUMENT_BYTES}",
            runtime::argument_bytes()
        )));
    }
    let config = &state.control.config;
    match method {
        runtime::SLICE_METHOD => Err(Error::Unauthorized(
            "only the canister itself may call this method".into(),
        )),
        "upload_begin" | "upload_chunk" | "upload_commit" | "upload_abort" | "alias_set"
        | "alias_rollback" | "alias_remove" | "model_delete" | "set_config" | "set_access"
        | "logs" => {
            require_controller()?;
            if method == "upload_chunk" && state.models.uploading().is_none() {
                let hint = "call upload_begin before sending chunks";
                return Err(state.model_view().wrong_phase(hint));
            }
            Ok(())
        }
        "generate" | "prompt" | "chat_send" => admission::precheck(state, &who),
        "chat_create" => {
            quota::check_may_generate(config, &state.accounts, &who)?;
            billing::check_cycles(config)
        }
        // Nobody but controllers may spend the last cycles.
        _ if !runtime::is_controller(&who) => billing::check_cycles(config),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_refused_is_refused_before_it_costs() {
        let state = State::open();
        let name = |method: &str| check(&state, method).err().map(|e| e.name());
        assert_eq!(name(runtime::SLICE_METHOD), Some("Unauthorized"));
        assert_eq!(name("set_config"), Some("Unauthorized"));
        assert_eq!(name("generate"), Some("WrongPhase"));
        assert_eq!(name("chat_create"), None);
        runtime::set(|s| s.controllers = vec![s.caller]);
        assert_eq!(name("set_config"), None);
        assert_eq!(name("upload_chunk"), Some("WrongPhase"));
        runtime::set(|s| s.argument = vec![0; MAX_ARGUMENT_BYTES + 1]);
        assert_eq!(name("set_config"), Some("InvalidArgument"));
    }

    #[test]
    fn the_last_cycles_are_for_controllers() {
        let state = State::open();
        runtime::set(|s| s.liquid_cycles = 1);
        let name = |method: &str| check(&state, method).err().map(|e| e.name());
        assert_eq!(name("cancel"), Some("LowCycles"));
        runtime::set(|s| s.controllers = vec![s.caller]);
        assert_eq!(name("cancel"), None);
    }
}

//! Calls that a canister serves and calls that it waits for.

use crate::runtime::failure::UserError;
use crate::runtime::system_api::state::Closure;
use candid::Principal;
use serde::{Deserialize, Serialize};

/// Who waits for a call context's answer.
#[expect(
    missing_docs,
    reason = "the descriptions of the variants cover their fields"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A user.
    Ingress { id: [u8; 32], sender: Principal },
    /// A canister.
    Canister {
        /// Who called.
        sender: Principal,
        /// The callback that the answer is for.
        callback: u64,
        /// Until when the caller waits, in nanoseconds since 1970; 0 without limit.
        deadline_ns: u64,
    },
    /// Nobody: a timer, heartbeat or hook.
    Task,
}

impl Origin {
    /// Bytes that `msg_caller` gives.
    pub fn caller(&self) -> Principal {
        match self {
            Origin::Ingress { sender, .. } | Origin::Canister { sender, .. } => *sender,
            Origin::Task => Principal::management_canister(),
        }
    }

    /// Until when the caller waits, in nanoseconds since 1970; 0 without limit.
    pub fn deadline_ns(&self) -> u64 {
        match self {
            Origin::Canister { deadline_ns, .. } => *deadline_ns,
            _ => 0,
        }
    }
}

/// A call that a canister serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallContext {
    /// Who waits for the answer.
    pub origin: Origin,
    /// The caller has been answered.
    pub responded: bool,
    /// The canister was uninstalled: callbacks do not run any more.
    pub deleted: bool,
    /// Cycles that came with the call and were not accepted.
    pub cycles: u128,
    /// Instructions that its messages have executed.
    pub instructions: u64,
}

/// A call that a canister waits for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Callback {
    /// The call context that the call was made in.
    pub context: u64,
    /// Who was called.
    pub callee: Principal,
    /// What runs when a reply comes.
    pub on_reply: Closure,
    /// What runs when a reject comes.
    pub on_reject: Closure,
    /// What runs when the callback traps.
    pub on_cleanup: Option<Closure>,
    /// Cycles held back for running the callback.
    pub prepaid_execution: u128,
    /// Cycles held back for the answer's bytes.
    pub prepaid_transmission: u128,
    /// Until when the caller waits, in nanoseconds since 1970; 0 without limit.
    pub deadline_ns: u64,
    /// The deadline has passed, and the reject for that is on its way.
    pub timed_out: bool,
}

/// An answer that an installation of several rounds gives at its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DelayedAnswer {
    /// Rounds left before the answer is given.
    pub rounds: u64,
    /// Who waits for the answer.
    pub origin: Origin,
    /// Cycles that go back to the caller.
    pub cycles: u128,
    /// The answer.
    pub result: Result<Vec<u8>, UserError>,
}

//! Calls that a canister serves and calls that it waits for.

use crate::execution::api::Closure;
use candid::Principal;
use serde::{Deserialize, Serialize};

/// Who waits for a call context's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A user.
    Ingress { id: [u8; 32], sender: Principal },
    /// A canister.
    Canister {
        sender: Principal,
        callback: u64,
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
    pub origin: Origin,
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
    pub context: u64,
    pub callee: Principal,
    pub on_reply: Closure,
    pub on_reject: Closure,
    pub on_cleanup: Option<Closure>,
    pub prepaid_execution: u128,
    pub prepaid_transmission: u128,
    pub deadline_ns: u64,
    /// The deadline has passed, and the reject for that is on its way.
    pub timed_out: bool,
}

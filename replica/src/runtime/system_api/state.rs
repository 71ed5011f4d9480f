//! What a running message knows and has done so far.

use crate::cycles::{Fees, Saturation};
use crate::log::Log;
use crate::memory::stable::Stable;
use crate::runtime::failure::{Failure, HostTrap};
use crate::runtime::mode::Mode;
use candid::Principal;
use std::sync::{Arc, LazyLock};

/// Largest reply or reject of a replicated message, in bytes.
pub const MAX_REPLY: usize = 2 << 20;
/// Largest reply of a query, in bytes.
pub const MAX_QUERY_REPLY: usize = 3 << 20;

/// A data certificate, made when it is read first.
#[derive(Clone)]
pub struct Certificate(Arc<LazyLock<Vec<u8>, MakeCertificate>>);

type MakeCertificate = Box<dyn FnOnce() -> Vec<u8> + Send>;

impl Certificate {
    /// A certificate that `make` gives.
    pub fn new(make: impl FnOnce() -> Vec<u8> + Send + 'static) -> Certificate {
        Certificate(Arc::new(LazyLock::new(Box::new(make))))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

/// What a canister that does nothing costs, and for how long it must be able to pay.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Bytes that it uses.
    pub memory: u64,
    /// Bytes that are reserved for it; 0 for none.
    pub allocation: u64,
    /// Percents of a core that are reserved for it.
    pub compute: u64,
    /// The freezing threshold, in seconds.
    pub threshold: u64,
}

/// The surroundings of an execution, which it cannot change.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Time, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The canister's id.
    pub canister: Principal,
    /// The subnet's id.
    pub subnet: Principal,
    /// The canister's version.
    pub version: u64,
    /// The canister's controllers.
    pub controllers: Arc<[Principal]>,
    /// 1 running, 2 stopping, 3 stopped.
    pub status: u32,
    /// The root key, DER-encoded.
    pub root_key: Arc<[u8]>,
    /// The data certificate, in queries of users.
    pub certificate: Option<Certificate>,
    /// Environment variables: name and value.
    pub variables: Arc<[(String, String)]>,
    /// When the global timer goes off, in nanoseconds since 1970.
    pub global_timer: Option<u64>,
    /// What things cost.
    pub fees: Fees,
    /// What the freezing limit is made of.
    pub idle: Idle,
    /// How full the subnet is.
    pub saturation: Saturation,
    /// Cycles that were put aside for storage, and the most that may be.
    pub reserved: u128,
    /// Most cycles that may be put aside.
    pub reserved_limit: u128,
    /// Most heap bytes after an update; none means no limit.
    pub heap_limit: Option<u64>,
    /// Bytes of memory that the allocation leaves, if there is one.
    pub allocation_left: Option<u64>,
    /// Open calls by callee.
    pub open_calls: Arc<std::collections::BTreeMap<Principal, usize>>,
}

/// A call's answer as its callback sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Answer {
    /// The reply's bytes.
    Reply(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Reject code and text.
    Reject(u32, String),
}

/// A function of table 0 and what it is called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Closure {
    /// Index in table 0.
    pub function: u32,
    /// What it is called with.
    pub env: u64,
}

/// A call to send, or under construction.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who is called.
    pub callee: Principal,
    /// Method to call.
    pub method: String,
    /// Candid argument.
    pub arg: Vec<u8>,
    /// Cycles that go with it.
    pub cycles: u128,
    /// What runs when a reply comes.
    pub on_reply: Closure,
    /// What runs when a reject comes.
    pub on_reject: Closure,
    /// What runs when the callback traps.
    pub on_cleanup: Option<Closure>,
    /// Seconds after which the caller waits no more, for a best-effort call.
    pub timeout: Option<u32>,
    /// Cycles taken for the answer: its execution and its transmission.
    pub prepaid_execution: u128,
    /// Cycles taken for the answer's bytes.
    pub prepaid_transmission: u128,
}

/// How the message answered its caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Response {
    /// Not yet.
    #[default]
    None,
    /// With a reply.
    Reply(Vec<u8>),
    /// With a reject.
    Reject(String),
}

/// The System API's state in one execution.
pub struct Api {
    /// What kind of execution it is.
    pub mode: Mode,
    /// What it is called with.
    pub env: Environment,
    /// Instructions that the message may execute.
    pub limit: u64,
    /// The heap has 64-bit addresses.
    pub wide: bool,
    /// Instructions that its call context has executed before.
    pub context_instructions: u64,
    /// Bytes of the caller's principal.
    pub caller: Vec<u8>,
    /// Candid argument.
    pub arg: Vec<u8>,
    /// The answer that a callback was called with.
    pub answer: Option<Answer>,
    /// Method to call.
    pub method: String,
    /// Until when the caller waits, in nanoseconds since 1970; 0 without limit.
    pub deadline: u64,
    /// Whether the caller can still be answered.
    pub answerable: bool,
    /// Cycles that came with the call and can be accepted.
    pub cycles_available: u128,
    /// Cycles that came back with the answer.
    pub cycles_refunded: u128,
    /// The canister's cycles.
    pub balance: u128,
    /// Stable memory with the message's changes.
    pub stable: Stable,
    /// Pages of 4 KiB of stable memory that may be read or written, and written.
    pub stable_access_limit: (u64, u64),

    /// Cycles accepted.
    pub cycles_accepted: u128,
    /// Cycles burnt.
    pub cycles_burnt: u128,
    /// Fees of the calls sent, without what is prepaid for their answers.
    pub spent_on_calls: u128,
    /// The reply so far.
    pub reply: Vec<u8>,
    /// How the caller was answered.
    pub response: Response,
    /// The call under construction.
    pub call: Option<Call>,
    /// Calls to send.
    pub calls: Vec<Call>,
    /// New certified data.
    pub new_certified_data: Option<Vec<u8>>,
    /// New time of the global timer, where it was set.
    pub new_timer: Option<Option<u64>>,
    /// `canister_inspect_message` has accepted the message.
    pub accepted: bool,
    /// Lines to add to the log.
    pub log: Log,
    /// Bytes that the message made the memories larger, and cycles put aside for them.
    pub grown: u64,
    /// Cycles put aside for memory.
    pub reserved: u128,
}

impl Api {
    /// Refuses a System API call outside the modes where it is allowed.
    pub fn allow(&self, modes: u32, name: &str) -> Result<(), HostTrap> {
        if self.mode.is_in(modes) {
            return Ok(());
        }
        Err(violation(format!(
            "\"{name}\" cannot be executed in {} mode",
            self.mode.words()
        )))
    }

    /// True when the heap has 64-bit addresses.
    pub fn memory64(&self) -> bool {
        self.wide
    }

    /// Cycles that may be spent without going under the freezing limit.
    pub fn liquid(&self) -> u128 {
        self.balance.saturating_sub(self.freezing_limit(0))
    }

    /// Cycles below which the canister would be frozen with so many more bytes.
    pub fn freezing_limit(&self, more: u64) -> u128 {
        let Idle {
            memory,
            allocation,
            compute,
            threshold,
        } = self.env.idle;
        let bytes = match allocation {
            0 => memory.saturating_add(self.grown).saturating_add(more),
            reserved => reserved,
        };
        self.env
            .fees
            .freezing(bytes, compute, threshold)
            .saturating_sub(self.env.reserved + self.reserved)
    }

    /// True when the caller may know how many cycles are missing.
    pub fn caller_controls(&self) -> bool {
        Principal::try_from_slice(&self.caller)
            .is_ok_and(|caller| self.env.controllers.contains(&caller))
    }
}

/// A contract violation with that text.
pub fn violation(text: impl Into<String>) -> HostTrap {
    HostTrap(Failure::ContractViolation(text.into()))
}

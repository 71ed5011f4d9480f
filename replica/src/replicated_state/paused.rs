//! A message longer than a slice, between its rounds.

use super::calls::{Callback, Origin};
use super::figures::Consumed;
use super::messages::Input;
use super::status::LowMemoryHook;
use crate::cycles::{Fees, Saturation};
use crate::runtime::instance::Outcome;
use crate::storage::FileStore;
use candid::Principal;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What all executions of a round share.
#[derive(Clone)]
pub struct RoundContext {
    /// Time that canisters see, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The subnet's id.
    pub subnet: Principal,
    /// The root key, DER-encoded.
    pub root_key: Arc<[u8]>,
    /// What things cost.
    pub fees: Fees,
    /// How full the subnet is.
    pub saturation: Saturation,
    /// Where memories are kept.
    pub store: Arc<FileStore>,
}

/// A message that has run, and whose effects are to come.
pub struct Ran {
    /// How the execution went.
    pub outcome: Outcome,
    /// What it is to its call context.
    pub kind: Kind,
    /// Cycles held back for execution.
    pub prepaid: u128,
    /// Cycles of the canister when it ran.
    pub balance: u128,
    /// Instructions in all: executed, and for changed pages.
    pub instructions: u64,
    /// Changes of the memories last.
    pub keeps: bool,
    /// Bytes that it changed in memories.
    pub heap_delta: u64,
    /// What is left of the context's cycles.
    pub context_cycles: u128,
    /// What it began with, when that may be needed to begin again.
    pub input: Option<Input>,
    /// The callback that it is, likewise.
    pub callback: Option<(u64, Callback)>,
}

/// What a message is to its call context.
#[expect(
    missing_docs,
    reason = "the descriptions of the variants cover their fields"
)]
pub enum Kind {
    /// The first message of a context.
    Call { origin: Origin },
    /// A later one.
    Callback { context: u64 },
}

/// How to run a long message again from its beginning.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Restart {
    /// What it began with; none for a timer or heartbeat, which come by themselves.
    pub input: Option<Input>,
    /// The callback that it is.
    pub callback: Option<(u64, Callback)>,
    /// Cycles that its beginning took from the canister.
    pub cycles: i128,
    /// Cycles that its beginning counted as consumed.
    pub consumed: Consumed,
    /// The global timer before it began.
    pub timer: Option<u64>,
    /// The low-memory hook before it began.
    pub low_memory: LowMemoryHook,
}

/// A message longer than a slice: it has run, and its effects come after the last slice.
pub struct Paused {
    /// The message.
    pub ran: Ran,
    /// Instructions not yet accounted to a round.
    pub left: u64,
    /// The round in which it began.
    pub round: RoundContext,
    /// How to run it again, in another process.
    pub restart: Restart,
}

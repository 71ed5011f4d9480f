//! Whether a canister takes messages, and what it does next.

use super::calls::Origin;
use serde::{Deserialize, Serialize};

/// A request to stop that waits for open calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StopRequest {
    /// Who asked.
    pub origin: Origin,
    /// Cycles that came with the request.
    pub cycles: u128,
    /// When it was asked, in nanoseconds since 1970.
    pub since_ns: u64,
}

/// Whether a canister takes messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Status {
    /// Takes messages.
    Running,
    /// Takes no messages; waits for open calls, and these wait for it.
    Stopping(Vec<StopRequest>),
    /// Takes no messages.
    Stopped,
}

/// State of the low-memory hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LowMemoryHook {
    /// Enough heap is left.
    #[default]
    NotSatisfied,
    /// Too little heap is left: the hook is due.
    Ready,
    /// The hook has run since the heap became too full.
    Executed,
}

/// What a canister does first in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirstInRound {
    /// The global timer.
    #[default]
    Timer,
    /// The heartbeat.
    Heartbeat,
    /// A message.
    Message,
}

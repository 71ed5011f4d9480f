//! What a canister has executed and consumed.

use crate::types::QueryResult;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Cycles consumed, by use.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Consumed {
    /// Executing messages, with what is held back for the answers of open calls.
    pub instructions: i128,
    /// Cycles burnt by `cycles_burn`.
    pub burned: i128,
    /// Cycles for taking in users' messages.
    pub ingress: i128,
    /// Cycles for sending calls and answers.
    pub transmission: i128,
    /// Cycles for memory and compute allocation.
    pub storage: i128,
}

/// Figures about what a canister has executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages executed (updates, callbacks, timers, heartbeats, replicated queries).
    pub messages: u64,
    /// Instructions of these messages.
    pub instructions: u64,
    /// Instructions of the largest.
    pub largest: u64,
    /// Rounds in which a message of the canister ran.
    pub rounds: u64,
}

/// What a canister's queries have used, all together.
#[derive(Debug, Default)]
pub struct QueryCounters {
    /// Queries answered.
    pub calls: AtomicU64,
    /// Instructions of the queries.
    pub instructions: AtomicU64,
    /// Bytes of arguments.
    pub request_bytes: AtomicU64,
    /// Bytes of replies and reject texts.
    pub response_bytes: AtomicU64,
}

impl QueryCounters {
    /// Counters that go on from calls, instructions, bytes of requests and of responses.
    pub fn new([calls, instructions, request_bytes, response_bytes]: [u64; 4]) -> QueryCounters {
        QueryCounters {
            calls: calls.into(),
            instructions: instructions.into(),
            request_bytes: request_bytes.into(),
            response_bytes: response_bytes.into(),
        }
    }

    /// Calls, instructions, bytes of requests and of responses.
    pub fn values(&self) -> [u64; 4] {
        [
            &self.calls,
            &self.instructions,
            &self.request_bytes,
            &self.response_bytes,
        ]
        .map(|counter| counter.load(Relaxed))
    }

    /// Counts a query.
    pub fn count(&self, instructions: u64, arg: &[u8], result: &QueryResult) {
        let response = match result {
            QueryResult::Replied(reply) => reply.len(),
            QueryResult::Rejected(reject) => reject.message.len(),
        };
        self.calls.fetch_add(1, Relaxed);
        self.instructions.fetch_add(instructions, Relaxed);
        self.request_bytes.fetch_add(arg.len() as u64, Relaxed);
        self.response_bytes.fetch_add(response as u64, Relaxed);
    }
}

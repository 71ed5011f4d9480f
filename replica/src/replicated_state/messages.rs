//! Messages between canisters, and from users to them.

use crate::runtime::system_api::state::Answer;
use candid::Principal;
use serde::{Deserialize, Serialize};

/// A call from a user, taken into a block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IngressMessage {
    /// Request id.
    pub id: [u8; 32],
    /// Who sent it.
    pub sender: Principal,
    /// Method to call.
    pub method: String,
    /// Candid argument.
    #[serde(with = "serde_bytes")]
    pub arg: Vec<u8>,
    /// When it expires, in nanoseconds since 1970.
    pub expiry_ns: u64,
}

/// A call from a canister.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Who sent it.
    pub sender: Principal,
    /// Who gets it.
    pub receiver: Principal,
    /// The sender's callback that waits for the answer.
    pub callback: u64,
    /// Method to call.
    pub method: String,
    /// Candid argument.
    #[serde(with = "serde_bytes")]
    pub arg: Vec<u8>,
    /// Cycles that come with it.
    pub cycles: u128,
    /// Time until which the caller waits, in nanoseconds since 1970; 0 without limit.
    pub deadline_ns: u64,
}

impl Request {
    /// Bytes that are paid for.
    pub fn bytes(&self) -> u64 {
        (self.method.len() + self.arg.len()) as u64
    }
}

/// The answer to a call from a canister.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Response {
    /// Who gets it.
    pub receiver: Principal,
    /// Who answered.
    pub respondent: Principal,
    /// The sender's callback that waits for the answer.
    pub callback: u64,
    /// The answer.
    pub answer: Answer,
    /// Cycles that were not accepted.
    pub refund: u128,
}

impl Response {
    /// Bytes that are paid for.
    pub fn bytes(&self) -> u64 {
        match &self.answer {
            Answer::Reply(reply) => reply.len() as u64,
            Answer::Reject(_, text) => text.len() as u64,
        }
    }
}

/// What waits for a canister.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// A user's message.
    Ingress(IngressMessage),
    /// A canister's call.
    Request(Request),
    /// The answer to a call.
    Response(Response),
}

//! Messages between canisters, and from users to them.

use crate::execution::api::Answer;
use candid::Principal;
use serde::{Deserialize, Serialize};

/// A call from a user, taken into a block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IngressMessage {
    pub id: [u8; 32],
    pub sender: Principal,
    pub method: String,
    #[serde(with = "serde_bytes")]
    pub arg: Vec<u8>,
    pub expiry_ns: u64,
}

/// A call from a canister.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    pub sender: Principal,
    pub receiver: Principal,
    pub callback: u64,
    pub method: String,
    #[serde(with = "serde_bytes")]
    pub arg: Vec<u8>,
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
    pub receiver: Principal,
    pub respondent: Principal,
    pub callback: u64,
    pub answer: Answer,
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
    Ingress(IngressMessage),
    Request(Request),
    Response(Response),
}

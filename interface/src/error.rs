//! Why a call is refused.

use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fmt;

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Error {
    Unauthorized(String),
    InvalidArgument(String),
    NotFound(String),
    WrongPhase {
        phase: String,
        hint: String,
    },
    WrongChunk {
        index: u32,
        reason: String,
    },
    MissingChunks {
        first: Vec<u32>,
        count: u32,
    },
    HashMismatch {
        expected: ByteBuf,
        actual: ByteBuf,
    },
    InvalidModel(String),
    UnsupportedModel(String),
    PromptTooLong {
        prompt_tokens: u32,
        max_prompt_tokens: u32,
    },
    BudgetTooSmall {
        round_instructions: u64,
        needed: u64,
    },
    Busy(String),
    OutOfMemory(String),
    RoundFailed(String),
    Cancelled,
    Stopping {
        id: u64,
    },
    QuotaExceeded {
        what: String,
        limit: u64,
        used: u64,
        resets_ns: Option<u64>,
    },
    LowCycles(String),
    PaymentRequired {
        required: u128,
        attached: u128,
    },
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Unauthorized(why) => write!(f, "not allowed: {why}"),
            Self::InvalidArgument(why) => write!(f, "invalid argument: {why}"),
            Self::NotFound(what) => write!(f, "not found: {what}"),
            Self::WrongPhase { phase, hint } => write!(f, "the model is {phase}: {hint}"),
            Self::WrongChunk { index, reason } => write!(f, "chunk {index} was refused: {reason}"),
            Self::MissingChunks { first, count } => {
                write!(f, "{count} chunks are missing")?;
                first
                    .first()
                    .map_or(Ok(()), |index| write!(f, ", the first is {index}"))
            }
            Self::HashMismatch { expected, actual } => {
                let (expected, actual) = (hex::encode(expected), hex::encode(actual));
                write!(
                    f,
                    "the stored file has sha256 {actual}, announced was {expected}"
                )
            }
            Self::InvalidModel(why) => write!(f, "not a well-formed GGUF file: {why}"),
            Self::UnsupportedModel(why) => write!(f, "this model cannot be run: {why}"),
            Self::PromptTooLong {
                prompt_tokens,
                max_prompt_tokens,
            } => {
                write!(
                    f,
                    "the prompt has {prompt_tokens} tokens, at most {max_prompt_tokens} fit"
                )
            }
            Self::BudgetTooSmall {
                round_instructions,
                needed,
            } => write!(
                f,
                "a round has {round_instructions} instructions, one piece of work needs {needed}"
            ),
            Self::Busy(why) => write!(f, "busy: {why}"),
            Self::OutOfMemory(why) => write!(f, "out of memory: {why}"),
            Self::RoundFailed(why) => write!(f, "a round failed again and again: {why}"),
            Self::Cancelled => write!(f, "cancelled"),
            Self::Stopping { id } => {
                write!(f, "the canister is stopping; generation {id} goes on later")
            }
            Self::QuotaExceeded {
                what, limit, used, ..
            } => write!(f, "quota exceeded: {used} {what} of {limit}"),
            Self::LowCycles(why) => write!(f, "too few cycles: {why}"),
            Self::PaymentRequired { required, attached } => {
                write!(f, "{required} cycles are to be attached, not {attached}")
            }
        }
    }
}

impl Error {
    /// Returns the name of the variant, as in `llm.did`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "Unauthorized",
            Self::InvalidArgument(_) => "InvalidArgument",
            Self::NotFound(_) => "NotFound",
            Self::WrongPhase { .. } => "WrongPhase",
            Self::WrongChunk { .. } => "WrongChunk",
            Self::MissingChunks { .. } => "MissingChunks",
            Self::HashMismatch { .. } => "HashMismatch",
            Self::InvalidModel(_) => "InvalidModel",
            Self::UnsupportedModel(_) => "UnsupportedModel",
            Self::PromptTooLong { .. } => "PromptTooLong",
            Self::BudgetTooSmall { .. } => "BudgetTooSmall",
            Self::Busy(_) => "Busy",
            Self::OutOfMemory(_) => "OutOfMemory",
            Self::RoundFailed(_) => "RoundFailed",
            Self::Cancelled => "Cancelled",
            Self::Stopping { .. } => "Stopping",
            Self::QuotaExceeded { .. } => "QuotaExceeded",
            Self::LowCycles(_) => "LowCycles",
            Self::PaymentRequired { .. } => "PaymentRequired",
        }
    }
}

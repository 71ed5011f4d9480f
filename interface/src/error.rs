//! Why a call is refused.

use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fmt;

/// Every way in which the canister refuses a call or gives up on a generation.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The caller may not do this. The text says who may.
    Unauthorized(String),
    /// An argument is out of range or empty. The text names it and says what is allowed.
    InvalidArgument(String),
    /// There is no such generation, chat, model or alias, or it belongs to another caller.
    NotFound(String),
    /// The call does not fit the model's phase.
    WrongPhase {
        /// Name of the phase, see [`crate::Phase`].
        phase: String,
        /// What to do.
        hint: String,
    },
    /// This chunk was refused and not stored.
    WrongChunk {
        /// Number of the chunk.
        index: u32,
        /// What was expected and what came.
        reason: String,
    },
    /// `upload_commit` was called while chunks were missing.
    MissingChunks {
        /// The first 256 of them.
        first: Vec<u32>,
        /// How many in all.
        count: u32,
    },
    /// The SHA-256 of the stored file is not the one in the manifest.
    HashMismatch {
        /// SHA-256 in the manifest, 32 bytes.
        expected: ByteBuf,
        /// SHA-256 of the stored file, 32 bytes.
        actual: ByteBuf,
    },
    /// The file is not a well-formed GGUF file.
    InvalidModel(String),
    /// The file is well formed, but this engine cannot run it. The text names the key or tensor.
    UnsupportedModel(String),
    /// The prompt leaves no room for an answer in the context.
    PromptTooLong {
        /// Length of the prompt (tokens).
        prompt_tokens: u32,
        /// Longest prompt (tokens).
        max_prompt_tokens: u32,
    },
    /// The instruction budget of a slice is too small for one unit of work.
    BudgetTooSmall {
        /// The budget (instructions), see [`crate::Config::round_instructions`].
        round_instructions: u64,
        /// What the work needs (instructions).
        needed: u64,
    },
    /// The queue is full or the model is in use. Try again later.
    Busy(String),
    /// Stable memory or the heap has no room for this.
    OutOfMemory(String),
    /// A slice failed repeatedly. This generation ended; others go on.
    RoundFailed(String),
    /// The generation was cancelled.
    Cancelled,
    /// The canister is stopping. The generation resumes when it is started.
    Stopping {
        /// Id of the generation.
        id: u64,
    },
    /// The caller has used up a quota.
    QuotaExceeded {
        /// What is limited, such as "tokens a day".
        what: String,
        /// The limit.
        limit: u64,
        /// How much the caller has used.
        used: u64,
        /// When it can go on (nanoseconds since 1970), if that is known.
        resets_ns: Option<u64>,
    },
    /// The canister has too few cycles to work.
    LowCycles(String),
    /// The calling canister must attach more cycles.
    PaymentRequired {
        /// Cycles to attach at least.
        required: u128,
        /// Cycles that were attached.
        attached: u128,
    },
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let detail = self.detail();
        match self {
            Self::Unauthorized(_) => write!(f, "not allowed: {detail}"),
            Self::InvalidArgument(_) => write!(f, "invalid argument: {detail}"),
            Self::NotFound(_) => write!(f, "not found: {detail}"),
            Self::WrongChunk { index, .. } => write!(f, "chunk {index} was refused: {detail}"),
            Self::InvalidModel(_) => write!(f, "not a well-formed GGUF file: {detail}"),
            Self::UnsupportedModel(_) => write!(f, "this model cannot be run: {detail}"),
            Self::Busy(_) => write!(f, "busy: {detail}"),
            Self::OutOfMemory(_) => write!(f, "out of memory: {detail}"),
            Self::RoundFailed(_) => write!(f, "the generation was given up: {detail}"),
            Self::QuotaExceeded { .. } => write!(f, "quota exceeded: {detail}"),
            Self::LowCycles(_) => write!(f, "too few cycles: {detail}"),
            Self::WrongPhase { .. }
            | Self::MissingChunks { .. }
            | Self::HashMismatch { .. }
            | Self::PromptTooLong { .. }
            | Self::BudgetTooSmall { .. }
            | Self::Cancelled
            | Self::Stopping { .. }
            | Self::PaymentRequired { .. } => f.write_str(&detail),
        }
    }
}

impl Error {
    /// Returns what happened, without the words for the kind of error that its [`fmt::Display`] begins with.
    pub fn detail(&self) -> String {
        match self {
            Self::Unauthorized(text)
            | Self::InvalidArgument(text)
            | Self::NotFound(text)
            | Self::InvalidModel(text)
            | Self::UnsupportedModel(text)
            | Self::Busy(text)
            | Self::OutOfMemory(text)
            | Self::RoundFailed(text)
            | Self::LowCycles(text) => text.clone(),
            Self::WrongPhase { phase, hint } => format!("the model is {phase}: {hint}"),
            Self::WrongChunk { reason, .. } => reason.clone(),
            Self::MissingChunks { first, count } => match first.first() {
                Some(index) => format!("{count} chunks are missing, the first is chunk {index}"),
                None => format!("{count} chunks are missing"),
            },
            Self::HashMismatch { expected, actual } => format!(
                "expected SHA-256 {}, got {}: upload the file again",
                hex::encode(expected),
                hex::encode(actual)
            ),
            Self::PromptTooLong {
                prompt_tokens,
                max_prompt_tokens,
            } => format!(
                "the prompt has {prompt_tokens} tokens, at most {max_prompt_tokens} fit: shorten it"
            ),
            Self::BudgetTooSmall {
                round_instructions,
                needed,
            } => format!(
                "one unit of work needs {needed} instructions, the budget of a slice is \
                 {round_instructions}: raise round_instructions"
            ),
            Self::Cancelled => "the generation was cancelled".into(),
            Self::Stopping { id } => {
                format!("the canister is stopping; generation {id} resumes when it is started")
            }
            Self::QuotaExceeded {
                what, limit, used, ..
            } => format!("used {used} of {limit} {what}"),
            Self::PaymentRequired { required, attached } => {
                format!("expected at least {required} attached cycles, got {attached}")
            }
        }
    }

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

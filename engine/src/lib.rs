//! Inference: models, kernels, KV cache, tokenizer, sampler. Nothing here knows about the IC.
//!
//! A forward pass is a state machine ([`inference::forward::Forward`]) that can pause between layers. Any
//! slicing, on any machine, yields the same bits: sums over weights are integer dot products, `f32`
//! operations have a fixed order, and transcendental functions are our own or libm's.

pub mod inference;
pub mod kernels;
pub mod kv_cache;
pub mod model;
pub mod region;
pub mod template;
pub mod tokenizer;

pub use inference::budget::{InstructionBudget, Meter};
pub use inference::generation::{FinishReason, Generation, Request, Step};
pub use inference::sampler::SamplerOptions;
pub use model::{Config, Model};
pub use tokenizer::Tokenizer;

/// Version of what outlives a run of this engine: the form and the values of packed weights and of cache
/// rows. A change of either increments it; what an older engine left is then made anew.
pub const VERSION: u32 = 2;

/// Errors of the engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The model file is broken or not for this engine.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// Memory for weights, cache or scratch could not be allocated.
    #[error("out of memory: {bytes} bytes for {what}")]
    OutOfMemory {
        /// What the memory was for.
        what: &'static str,
        /// How many bytes.
        bytes: u64,
    },
    /// The prompt leaves no room in the context.
    #[error("the prompt has {prompt_tokens} tokens, at most {max_prompt_tokens} fit")]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Most tokens that a prompt may have.
        max_prompt_tokens: usize,
    },
    /// An argument is out of range.
    #[error("{0}")]
    InvalidArgument(String),
    /// One piece of work needs more instructions than a whole round has.
    #[error("a round of {budget} instructions is too small: one piece needs {needed}")]
    BudgetTooSmall {
        /// Instructions of the message.
        budget: u64,
        /// Instructions that the first piece of work needs.
        needed: u64,
    },
}

pub(crate) fn unsupported(what: impl Into<String>) -> Error {
    Error::Weights(weights::Error::Unsupported(what.into()))
}

//! Inference: model graphs, kernels, KV cache, tokenizer, sampler. Nothing of the IC in here.
//!
//! A forward pass is a state machine ([`forward::Forward`]) that can stop between layers. Any
//! slicing, on any machine, gives the same bits: sums over weights are integer dot products, `f32`
//! operations have a fixed order, and transcendental functions are our own or libm's.

pub mod config;
pub mod estimate;
pub mod forward;
pub mod generation;
pub mod kernels;
pub mod kv;
pub mod layout;
pub mod model;
pub mod pacer;
pub mod prepare;
pub mod region;
pub mod sampler;
pub mod template;
pub mod text;
pub mod tokenizer;

pub use config::Config;
pub use generation::{FinishReason, Generation, Request, Step};
pub use model::Model;
pub use pacer::{Meter, Pacer};
pub use sampler::SamplerOptions;
pub use tokenizer::Tokenizer;

/// Version of what lasts of this engine's work: the form and the values of packed weights and of
/// cache rows. Whoever changes them counts up: what is kept of an older engine is then made anew.
pub const VERSION: u32 = 2;

/// What can go wrong in the engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The model file is broken or not for this engine.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// The memory for weights, cache or scratch could not be had.
    #[error("out of memory: {bytes} bytes for {what}")]
    OutOfMemory { what: &'static str, bytes: u64 },
    /// The prompt leaves no room in the context.
    #[error("the prompt has {prompt_tokens} tokens, at most {max_prompt_tokens} fit")]
    PromptTooLong {
        prompt_tokens: usize,
        max_prompt_tokens: usize,
    },
    /// An argument is out of range.
    #[error("{0}")]
    InvalidArgument(String),
    /// One piece of work needs more instructions than a whole round has.
    #[error("a round of {budget} instructions is too small: one piece needs {needed}")]
    BudgetTooSmall { budget: u64, needed: u64 },
}

pub(crate) fn unsupported(what: impl Into<String>) -> Error {
    Error::Weights(weights::Error::Unsupported(what.into()))
}

//! Generations.

use crate::Error;
use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// One message of a conversation.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`, or another one that the model's chat template knows.
    pub role: String,
    /// Its text.
    pub content: String,
}

/// What to generate from.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Text that the model continues as it is.
    Prompt(String),
    /// A conversation, which the model's chat template renders.
    Chat(Vec<Message>),
}

impl Default for Input {
    fn default() -> Self {
        Self::Prompt(String::new())
    }
}

/// How to generate; `None` stands for the default.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Longest answer (tokens); default [`crate::limits::MAX_TOKENS`].
    pub max_tokens: Option<u32>,
    /// 0 to 100; 0, the default, always takes the most likely token.
    pub temperature: Option<f32>,
    /// Sample from the K most likely tokens only; 0, the default, from all.
    pub top_k: Option<u32>,
    /// Sample from the most likely tokens whose probabilities add up to P, 0 to 1; default 1.
    pub top_p: Option<f32>,
    /// Makes tokens less likely that are among the last 64, 0.1 to 10; 1, the default, does not.
    pub repetition_penalty: Option<f32>,
    /// The answer ends before the first of these texts.
    pub stop: Option<Vec<String>>,
    /// Seed of the random numbers; by default from the IC's randomness.
    pub seed: Option<u64>,
}

/// Argument of `generate`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct GenerateArgs {
    /// What to generate from.
    pub input: Input,
    /// How to generate.
    pub options: Option<Options>,
    /// The model, named as in [`crate::AliasSetArgs`]; `None`: the default one.
    pub model: Option<String>,
    /// Functions that the model may call, each a JSON object; for chats.
    pub tools: Option<Vec<String>>,
}

/// A generation that was started.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// Id to read it with.
    pub id: u64,
    /// Length of its prompt (tokens).
    pub prompt_tokens: u32,
    /// Seed of its random numbers.
    pub seed: u64,
}

/// Why a generation ended well.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model generated a token that ends its answer.
    EndOfText,
    /// The answer has as many tokens as it may.
    MaxTokens,
    /// One of the stop texts came.
    Stop,
    /// The context is full.
    ContextFull,
}

impl Finish {
    /// Returns the name of the variant, as in `llm.did`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EndOfText => "EndOfText",
            Self::MaxTokens => "MaxTokens",
            Self::Stop => "Stop",
            Self::ContextFull => "ContextFull",
        }
    }
}

/// How far a generation is.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum GenerationState {
    /// It waits for its first slice.
    Waiting,
    /// The prompt is being computed.
    Prefilling,
    /// Tokens are being generated.
    Generating,
    /// It ended well.
    Finished(Finish),
    /// It ended with an error.
    Failed(Error),
}

impl GenerationState {
    /// Returns `true` if nothing more will come.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Failed(_))
    }
}

/// Argument of `generation`: asks for what is new from these positions on.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerationArgs {
    /// Id of the generation.
    pub id: u64,
    /// First byte of its text to return.
    pub from_byte: u32,
    /// First of its tokens to return.
    pub from_token: u32,
}

/// What a generation has produced so far.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its id.
    pub id: u64,
    /// How far it is.
    pub state: GenerationState,
    /// Its text from the byte asked for.
    pub text: String,
    /// Its tokens from the one asked for.
    pub token_ids: Vec<u32>,
    /// Byte to ask from next time.
    pub next_byte: u32,
    /// Token to ask from next time.
    pub next_token: u32,
    /// Length of the prompt (tokens).
    pub prompt_tokens: u32,
    /// Prompt tokens that are computed.
    pub prompt_tokens_done: u32,
    /// Tokens generated so far.
    pub generated_tokens: u32,
    /// Seed of its random numbers.
    pub seed: u64,
    /// Slices so far.
    pub rounds: u32,
    /// Instructions of the prompt.
    pub prompt_instructions: u64,
    /// Instructions of the generated tokens.
    pub generate_instructions: u64,
    /// Most instructions of one of its messages.
    pub max_message_instructions: u64,
    /// Prompt tokens that were in the cache and were not computed again.
    pub cached_tokens: u32,
    /// The chat that it answers in.
    pub chat: Option<u64>,
    /// Its position in the queue while it waits for its first slice.
    pub queue: Option<QueuePlace>,
    /// Its last slices, at most 32, oldest first.
    pub recent_rounds: Vec<RoundFigures>,
    /// SHA-256 of the model that it runs on.
    pub model_sha256: ByteBuf,
}

/// How long a generation has to wait for its first slice, at most.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueuePlace {
    /// Generations that come before it.
    pub position: u32,
    /// Instructions until its first slice.
    pub wait_instructions: u64,
    /// Slices until its first one.
    pub wait_rounds: u32,
}

/// One slice of a generation.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundFigures {
    /// Instructions that it used.
    pub instructions: u64,
    /// Instructions that it was allowed to use.
    pub budget: u64,
    /// Tokens that it generated.
    pub tokens: u32,
}

/// Reply of `prompt`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The whole answer.
    pub text: String,
    /// Id of the generation.
    pub id: u64,
    /// Length of the prompt (tokens).
    pub prompt_tokens: u32,
    /// Length of the answer (tokens).
    pub generated_tokens: u32,
    /// Instructions of prompt and answer.
    pub instructions: u64,
    /// Seed of its random numbers.
    pub seed: u64,
}

//! Generations.

use crate::Error;
use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: String,
    pub content: String,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Prompt(String),
    Chat(Vec<Message>),
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub max_tokens: Option<u32>,
    pub temperature: Option<f32>,
    pub top_k: Option<u32>,
    pub top_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub stop: Option<Vec<String>>,
    pub seed: Option<u64>,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct GenerateArgs {
    pub input: Input,
    pub options: Option<Options>,
    pub model: Option<String>,
    pub tools: Option<Vec<String>>,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Started {
    pub id: u64,
    pub prompt_tokens: u32,
    pub seed: u64,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    EndOfText,
    MaxTokens,
    Stop,
    ContextFull,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum GenerationState {
    Waiting,
    Prefilling,
    Generating,
    Finished(Finish),
    Failed(Error),
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GenerationArgs {
    pub id: u64,
    pub from_byte: u32,
    pub from_token: u32,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    pub id: u64,
    pub state: GenerationState,
    pub text: String,
    pub token_ids: Vec<u32>,
    pub next_byte: u32,
    pub next_token: u32,
    pub prompt_tokens: u32,
    pub prompt_tokens_done: u32,
    pub generated_tokens: u32,
    pub seed: u64,
    pub rounds: u32,
    pub prompt_instructions: u64,
    pub generate_instructions: u64,
    pub max_message_instructions: u64,
    pub cached_tokens: u32,
    pub chat: Option<u64>,
    pub queue: Option<QueuePlace>,
    pub recent_rounds: Vec<RoundFigures>,
    pub model_sha256: ByteBuf,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct QueuePlace {
    pub position: u32,
    pub wait_instructions: u64,
    pub wait_rounds: u32,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundFigures {
    pub instructions: u64,
    pub budget: u64,
    pub tokens: u32,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub id: u64,
    pub prompt_tokens: u32,
    pub generated_tokens: u32,
    pub instructions: u64,
    pub seed: u64,
}

impl Default for Input {
    fn default() -> Self {
        Self::Prompt(String::new())
    }
}

impl GenerationState {
    /// Returns `true` if nothing more will come.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Failed(_))
    }
}

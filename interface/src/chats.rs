//! Chats.

use crate::{GenerationState, Options};
use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    #[default]
    Error,
    Slide,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ChatInfo {
    pub id: u64,
    pub title: String,
    pub created_ns: u64,
    pub updated_ns: u64,
    pub turns: u32,
    pub context_tokens: u32,
    pub cached_tokens: u32,
    pub overflow: Overflow,
    pub running: Option<u64>,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ChatTurn {
    pub role: String,
    pub content: String,
    pub generation: Option<u64>,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    pub generated_tokens: u32,
    pub instructions: u64,
    pub rounds: u32,
    pub seed: u64,
    pub finish: Option<GenerationState>,
    pub model_sha256: ByteBuf,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatCreateArgs {
    pub title: Option<String>,
    pub system: Option<String>,
    pub overflow: Option<Overflow>,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ChatSendArgs {
    pub chat: u64,
    pub content: String,
    pub options: Option<Options>,
    pub model: Option<String>,
    pub replace_from: Option<u32>,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatHistoryArgs {
    pub chat: u64,
    pub from: u32,
    pub limit: u32,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ChatHistory {
    pub info: ChatInfo,
    pub turns: Vec<ChatTurn>,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatListArgs {
    pub before: Option<u64>,
    pub limit: u32,
}

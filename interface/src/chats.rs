//! Chats: conversations that the canister keeps for their owner.

use crate::{GenerationState, Options};
use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// What happens when a conversation no longer fits the context.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// `chat_send` returns [`crate::Error::PromptTooLong`].
    #[default]
    Error,
    /// The model no longer reads the oldest turns; the history keeps them.
    Slide,
}

/// A chat at a glance.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatInfo {
    /// Its id.
    pub id: u64,
    /// Its title.
    pub title: String,
    /// When it was created (nanoseconds since 1970).
    pub created_ns: u64,
    /// When its last turn began (nanoseconds since 1970).
    pub updated_ns: u64,
    /// Number of turns.
    pub turns: u32,
    /// Tokens that the model has read or written.
    pub context_tokens: u32,
    /// How many of them are in the cache.
    pub cached_tokens: u32,
    /// What happens when it no longer fits the context.
    pub overflow: Overflow,
    /// The generation that answers now.
    pub running: Option<u64>,
}

/// A turn of a chat. All but the first two fields are about answers.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatTurn {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
    /// The generation that wrote it.
    pub generation: Option<u64>,
    /// Tokens of the conversation before the answer; of a turn of the user, its own tokens.
    pub prompt_tokens: u32,
    /// How many of them were in the cache.
    pub cached_tokens: u32,
    /// Length of the answer (tokens).
    pub generated_tokens: u32,
    /// Instructions of prompt and answer.
    pub instructions: u64,
    /// Slices.
    pub rounds: u32,
    /// Seed of the random numbers.
    pub seed: u64,
    /// How the answer ended; `None` while it is being written.
    pub finish: Option<GenerationState>,
    /// SHA-256 of the model that wrote it.
    pub model_sha256: ByteBuf,
}

/// Argument of `chat_create`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatCreateArgs {
    /// Its title; `None`: the beginning of its first question.
    pub title: Option<String>,
    /// Its system prompt.
    pub system: Option<String>,
    /// What happens when it no longer fits the context; default [`Overflow::Error`].
    pub overflow: Option<Overflow>,
}

/// Argument of `chat_send`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ChatSendArgs {
    /// Id of the chat.
    pub chat: u64,
    /// The question.
    pub content: String,
    /// How to generate the answer.
    pub options: Option<Options>,
    /// The model, named as in [`crate::AliasSetArgs`]; `None`: the default one.
    pub model: Option<String>,
    /// Number of a turn of the user that is removed first, with all later ones.
    pub replace_from: Option<u32>,
}

/// Argument of `chat_history`.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatHistoryArgs {
    /// Id of the chat.
    pub chat: u64,
    /// Number of the first turn to return.
    pub from: u32,
    /// Most turns to return.
    pub limit: u32,
}

/// Reply of `chat_history`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatHistory {
    /// The chat.
    pub info: ChatInfo,
    /// Turns from the number asked for, fewer than asked for if they are long.
    pub turns: Vec<ChatTurn>,
}

/// Argument of `chat_list`.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatListArgs {
    /// Only chats with a smaller id.
    pub before: Option<u64>,
    /// Most chats to return.
    pub limit: u32,
}

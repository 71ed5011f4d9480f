//! Generations from admission to end, and the chats that they answer in.

pub(crate) mod admission;
pub(crate) mod chat_answer;
pub(crate) mod chat_prompt;
pub(crate) mod engine_state;
pub(crate) mod finish;
pub(crate) mod start;

//! Generations from admission to end, and the chats that they answer in.

pub mod admission;
pub mod chat_answer;
pub mod chat_prompt;
pub mod engine_state;
pub mod finish;
pub mod start;

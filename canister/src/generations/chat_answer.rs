//! What a chat keeps of an answer.

use super::engine_state::answer_tokens;
use crate::kv_cache::block_table;
use crate::runtime;
use crate::stable::records::{ChatTurn, GenerationRecord, TokenHistory};
use crate::state::State;

/// Gives text, tokens and KV blocks of an answer that has ended to its chat, if it has one.
pub(crate) fn store(state: &mut State, record: &mut GenerationRecord) {
    let Some((id, turn)) = record.chat else {
        return;
    };
    let Some(mut chat) = state.chats.chats.get(&id) else {
        return;
    };
    chat.block_table = std::mem::take(&mut record.block_table);
    let computed = record.computed as usize;
    block_table::truncate(&mut chat.block_table, computed, &mut state.pools);
    chat.cached = record.computed;
    chat.tokens = record.tokens.len() as u32;
    chat.running = None;
    chat.updated = runtime::time();
    state.control.chat_uses += 1;
    chat.used = state.control.chat_uses;
    state.chats.mark_idle(&chat);
    let history = TokenHistory(record.tokens.clone());
    state.chats.histories.insert(id, history);
    if let Some(mut answer) = state.chats.turns.get(&(id.0, turn)) {
        answer.content = whole_text(record);
        copy_figures(&mut answer, record);
        state.chats.turns.insert((id.0, turn), answer);
    }
    state.chats.put(chat);
}

/// Returns the text with what was held back because more could have come.
fn whole_text(record: &GenerationRecord) -> String {
    let mut text = record.text.clone();
    text.push_str(&String::from_utf8_lossy(&record.pending));
    text
}

/// Copies the figures of a generation to the turn that it answers.
pub(crate) fn copy_figures(turn: &mut ChatTurn, record: &GenerationRecord) {
    turn.prompt_tokens = record.prompt_tokens;
    turn.cached_tokens = record.cached;
    turn.generated_tokens = answer_tokens(record).len() as u32;
    turn.instructions = record.prompt_instructions + record.generate_instructions;
    turn.slices = record.slices;
    turn.end.clone_from(&record.end);
}

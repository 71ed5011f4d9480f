//! How a generation ends: the only place that frees its blocks and settles quota and payment.

use super::{chat_answer, engine_state};
use crate::kv_cache::block_table;
use crate::stable::ids::{GenerationId, ModelSlot};
use crate::stable::records::{GenerationRecord, Stage};
use crate::state::{State, aliases, billing, quota};
use interface::{Error, Phase};

/// Ends a generation that has not ended, with an error.
pub(crate) fn fail(state: &mut State, id: GenerationId, error: Error) {
    let record = state.generations.get(&id);
    if let Some(mut record) = record.filter(|r| r.end.is_none()) {
        record.end = Some(Err(error.into()));
        finish(state, record);
    }
    state.running.remove(&id);
    state.queue.remove(id);
}

/// Settles a generation that has ended: its KV blocks go to its chat or are released, its record stays
/// to be read.
pub(crate) fn finish(state: &mut State, mut record: GenerationRecord) {
    chat_answer::store(state, &mut record);
    block_table::release_all(&mut record.block_table, &mut state.pools);
    record.stage = Stage::Start;
    let id = record.id;
    state.running.remove(&id);
    state.queue.remove(id);
    let prompt_done = record.computed.min(record.prompt_tokens);
    let read = u64::from(prompt_done.saturating_sub(record.cached));
    let generated = engine_state::answer_tokens(&record).len() as u64;
    let used = (read + generated).min(record.reserved);
    quota::release_reservation(&mut state.accounts, &record.owner, record.reserved, used);
    billing::refund(&mut state.accounts, &mut state.log, &record, used);
    let totals = &mut state.control.totals;
    totals.prompt_tokens += read;
    totals.cached_tokens += u64::from(record.cached);
    totals.generated_tokens += generated;
    match record.end {
        Some(Ok(_)) => totals.generations_finished += 1,
        _ => totals.generations_failed += 1,
    }
    state.put_generation(record);
    state.unload_unused();
}

/// Removes a model with everything of it; generations that need it fail.
pub(crate) fn remove_model(state: &mut State, slot: ModelSlot) {
    let gone = Error::WrongPhase {
        phase: Phase::Empty.name(),
        hint: "the model was deleted while this generation ran".into(),
    };
    for id in state.queue.ids_of(slot) {
        fail(state, id, gone.clone());
    }
    state.pools.close(slot);
    if state.pools.used() == 0 {
        state.chats.forget_cached();
    }
    state.residency.remove(slot);
    if let Some(sha256) = state.model_view().sha256(slot) {
        state.models.remove(slot);
        aliases::forget_model(&mut state.control.aliases, &sha256);
    }
}

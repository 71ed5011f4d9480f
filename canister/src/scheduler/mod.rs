//! Slices: each piece of work is a message that the canister sends to itself and that nobody waits for.
//!
//! Before a slice is sent, an in-flight record says what it is for ("attempt k at item i, sequence
//! s"). The slice works, clears the record and has the next one sent, all in one message: either all
//! of it happened or nothing. A slice that traps leaves its record; the watchdog timer finds it,
//! tries again with half the budget, and finally gives the item up with an error.
//!
//! [`crate::dispatch`] calls [`schedule`] at the end of every message that may change something.

mod generate;
mod load_model;
mod migrate;

use crate::generations::finish;
use crate::runtime;
use crate::stable::ids::GenerationId;
use crate::stable::records::{InFlight, LogLevel, WorkItem};
use crate::state::{State, billing, is_migrated};
use generate::SliceOutcome;
use interface::Error;

/// A slice that has not run after this long (nanoseconds) has failed.
const PATIENCE: u64 = 5_000_000_000;
/// How often to look for cycles while work is paused (nanoseconds).
const LOOK_AGAIN: u64 = 30_000_000_000;
/// Instructions below which no further generation is begun in a slice.
const MIN_TURN: u64 = 12_000_000;
/// Attempts before an item is given up.
const MAX_ATTEMPTS: u32 = 4;
/// Slices that a generation may lose without getting anywhere in between: some may have ended only
/// because they did next to nothing.
const MAX_LOST: u32 = 8;

/// Returns the item that is worked on next.
fn next_item(state: &State) -> Option<WorkItem> {
    if !is_migrated(&state.control) {
        return Some(WorkItem::Migration);
    }
    let model = state.model_view().next_work();
    let generation = next_generation(state);
    // While a model is made ready, others go on answering: a slice each in turn.
    match model.filter(|_| generation.is_none() || !state.model_ran_last) {
        Some(slot) => Some(WorkItem::Model(slot)),
        None => generation.map(WorkItem::Generation),
    }
}

/// Returns the generation that runs next, of those whose models are in the heap.
fn next_generation(state: &State) -> Option<GenerationId> {
    state.queue.next(|slot| state.residency.is_loaded(slot))
}

/// Returns `true` if an item that a slice was sent for can still be worked on.
fn is_runnable(state: &State, item: WorkItem) -> bool {
    match item {
        WorkItem::Migration => !is_migrated(&state.control),
        WorkItem::Model(slot) => state.model_view().has_work(slot),
        WorkItem::Generation(id) => {
            let slot = state.queue.slot(id);
            slot.is_some_and(|slot| state.residency.is_loaded(slot))
        }
    }
}

/// Sends the next slice if there is work, there are cycles for it, and no slice is in flight; sets the
/// timer.
pub(crate) fn schedule(state: &mut State) {
    let mut wake = 0;
    if state.control.in_flight.is_none()
        && let Some(item) = next_item(state)
    {
        let low_cycles = billing::check_cycles(&state.control.config).err();
        log_pause(state, low_cycles.as_ref());
        match low_cycles {
            None => send(state, item, 0),
            Some(_) => wake = runtime::time() + LOOK_AGAIN,
        }
    }
    if let Some(in_flight) = &state.control.in_flight {
        wake = in_flight.sent_at + PATIENCE;
    } else if wake == 0 && state.control.entropy.is_none() {
        wake = runtime::time() + PATIENCE;
    }
    runtime::set_timer(wake);
}

/// Logs that work pauses because cycles are low, and that it goes on.
fn log_pause(state: &mut State, error: Option<&Error>) {
    match (error, state.control.paused.is_some()) {
        (Some(Error::LowCycles(text)), paused_before) => {
            if state.control.paused.as_ref() != Some(text) {
                state.control.paused = Some(text.clone());
            }
            if !paused_before {
                let line = format!("work is paused: {text}");
                state.log.add(LogLevel::Warning, None, line);
            }
        }
        (_, true) => {
            state.control.paused = None;
            state.log.add(LogLevel::Info, None, "work goes on".into());
        }
        _ => {}
    }
}

fn send(state: &mut State, item: WorkItem, attempt: u32) {
    let sequence = state.control.next_sequence;
    state.control.next_sequence += 1;
    // While the canister is stopping, calls to itself would be refused: the watchdog sends it later.
    // So it does if the call cannot be sent.
    let sent = !runtime::is_stopping() && runtime::send_slice(sequence);
    state.control.in_flight = Some(InFlight {
        sequence,
        item,
        attempt: if sent {
            attempt
        } else {
            attempt.saturating_sub(1)
        },
        sent,
        sent_at: runtime::time(),
    });
}

/// Runs the slice with this sequence number.
pub(crate) fn run(state: &mut State, sequence: u64) {
    let in_flight = state.control.in_flight;
    let Some(in_flight) = in_flight.filter(|f| f.sequence == sequence) else {
        return;
    };
    let budget = state.control.config.round_instructions >> in_flight.attempt;
    // The heap may have been lost to an upgrade since the slice was sent, or its item be done.
    let item = if is_runnable(state, in_flight.item) {
        Some(in_flight.item)
    } else {
        next_item(state)
    };
    state.model_ran_last = matches!(item, Some(WorkItem::Model(_)));
    match item {
        None => {}
        Some(WorkItem::Migration) => migrate::run(state, budget),
        Some(WorkItem::Model(slot)) => {
            load_model::run(state, slot, budget);
            state.control.totals.model_instructions += runtime::instructions();
        }
        Some(WorkItem::Generation(id)) => {
            run_generations(state, id, budget, in_flight.attempt);
        }
    }
    state.control.in_flight = None;
    state.control.slices += 1;
}

/// At the end of a slice: keeps the largest number of instructions that a message has used.
pub(crate) fn note_message_size(state: &mut State) {
    let used = runtime::instructions();
    if used > state.control.max_message_instructions {
        state.control.max_message_instructions = used;
    }
}

/// Runs one generation, or several if one ends early or others wait. Where callers compete, two
/// generations share a slice: shares even out twice as fast.
fn run_generations(state: &mut State, first: GenerationId, budget: u64, attempt: u32) {
    let two = state.queue.callers() > 1 && budget >= 4 * MIN_TURN;
    let turn = if two { budget / 2 } else { budget };
    let mut id = first;
    // The first generation may have the whole slice: a piece of work may be as large.
    let mut full = Some(state.control.config.round_instructions);
    loop {
        let start = runtime::instructions();
        let limit = (start + turn).min(budget);
        let charge = state.queue.next_charge(id);
        let outcome = generate::run(state, id, limit, full.take());
        if outcome == SliceOutcome::Advanced {
            state.queue.advance(id);
        }
        let ran = outcome != SliceOutcome::TooSmall;
        state.control.last_scheduled = id;
        let now = runtime::instructions();
        if let (Some(charge), true) = (charge, ran) {
            let slice = state.control.slices;
            let used = (now - start, turn);
            let accounts = &mut state.accounts;
            state.queue.charge(id, &charge, used, slice, accounts);
            state.control.served = state.control.served.max(charge.share);
        }
        // A slice that is tried again is for one generation, so that it is known which one fails.
        if attempt > 0 || !ran || now + MIN_TURN + budget / 8 > budget {
            return;
        }
        match next_generation(state) {
            Some(next) => id = next,
            None => return,
        }
    }
}

/// Returns `true` if the IC must be asked for randomness.
pub(crate) fn needs_entropy(state: &State) -> bool {
    state.control.entropy.is_none() && !state.entropy_requested
}

/// The timer has fired: after an upgrade, or because a slice did not end.
pub(crate) fn watchdog(state: &mut State) {
    let Some(in_flight) = state.control.in_flight else {
        return;
    };
    if runtime::time() < in_flight.sent_at + PATIENCE {
        return;
    }
    state.control.in_flight = None;
    state.control.totals.slices_lost += u64::from(in_flight.sent);
    // What failed may have been the size of the heap: all caches are in stable memory as well.
    state.running.clear();
    let lost = match in_flight.item {
        WorkItem::Generation(id) if in_flight.sent => state.queue.lose(id),
        _ => 0,
    };
    if in_flight.attempt + 1 < MAX_ATTEMPTS && lost < MAX_LOST {
        send(state, in_flight.item, in_flight.attempt + 1);
    } else {
        give_up(state, in_flight.item);
    }
}

fn give_up(state: &mut State, item: WorkItem) {
    let error = Error::RoundFailed(
        "its work failed repeatedly: see the canister's log for the reason".into(),
    );
    let text = format!("gave up on {item:?}: its slices failed repeatedly");
    state.log.add(LogLevel::Error, None, text);
    match item {
        WorkItem::Generation(id) => finish::fail(state, id, error),
        // Nothing works without it: it is tried on.
        WorkItem::Migration => {}
        WorkItem::Model(slot) => load_model::fail(state, slot, error),
    }
}

/// After an install or an upgrade: whatever was in flight is sent anew from the first timer.
pub(crate) fn restart(state: &mut State) {
    migrate::invalidate_stale_artifacts(state);
    state.control.in_flight = None;
    runtime::set_timer(runtime::time());
}

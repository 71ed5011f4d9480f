//! Executing the canisters of an inner round.

use super::priority::{Next, next};
use crate::cycles::SLICE;
use crate::limits::{PER_CANISTER, PER_MESSAGE};
use crate::messages::execution::Effects;
use crate::messages::update::{finish, start};
use crate::replicated_state::paused::RoundContext;
use crate::replicated_state::paused::{Paused, Restart};
use crate::replicated_state::{Canister, Canisters};
use crate::runtime::stack::on_big_stack;
use candid::Principal;

/// What one thread did.
pub(super) struct ThreadResult {
    pub effects: Effects,
    /// Instructions used of the budget.
    pub used: i64,
    pub fully_executed: Vec<Principal>,
}

/// Executes canisters on threads, each within the budget.
pub(super) fn execute(
    canisters: &mut Canisters,
    threads: Vec<Vec<Principal>>,
    budget: i64,
    round: &RoundContext,
    first: bool,
    heap_delta_limit: u64,
) -> Vec<ThreadResult> {
    let mut work: Vec<Vec<(Principal, Canister)>> = Vec::new();
    for ids in threads {
        let taken: Vec<_> = ids
            .into_iter()
            .filter_map(|id| Some((id, canisters.remove(&id)?)))
            .collect();
        if !taken.is_empty() {
            work.push(taken);
        }
    }
    let run = |list: Vec<(Principal, Canister)>| {
        execute_thread(list, budget, round, first, heap_delta_limit)
    };
    let done: Vec<(Vec<(Principal, Canister)>, ThreadResult)> = if work.len() == 1 {
        work.into_iter()
            .map(|list| on_big_stack(|| run(list)))
            .collect()
    } else {
        std::thread::scope(|scope| {
            let handles: Vec<_> = work
                .into_iter()
                .map(|list| scope.spawn(|| on_big_stack(|| run(list))))
                .collect();
            handles
                .into_iter()
                .map(|handle| match handle.join() {
                    Ok(done) => done,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        })
    };
    let mut results = Vec::new();
    for (list, result) in done {
        canisters.extend(list);
        results.push(result);
    }
    results
}

fn execute_thread(
    mut list: Vec<(Principal, Canister)>,
    budget: i64,
    round: &RoundContext,
    first: bool,
    heap_delta_limit: u64,
) -> (Vec<(Principal, Canister)>, ThreadResult) {
    let mut result = ThreadResult {
        effects: Effects::default(),
        used: 0,
        fully_executed: Vec::new(),
    };
    for (rank, (id, canister)) in list.iter_mut().enumerate() {
        if result.used >= budget || result.effects.heap_delta >= heap_delta_limit {
            continue;
        }
        let mut executed = false;
        // A canister that ends a long message in this round begins no other.
        let long = canister.paused.is_some();
        while next(canister) != Next::Nothing && result.used < budget {
            let used = step(canister, round, &mut result.effects);
            executed = true;
            result.used += used as i64 + PER_MESSAGE;
            // A message that goes on uses no more than a slice in a round.
            if long || canister.paused.is_some() || result.effects.heap_delta >= heap_delta_limit {
                break;
            }
        }
        result.used += PER_CANISTER;
        if executed {
            canister.totals.rounds += 1;
        }
        let full = match next(canister) {
            Next::Nothing | Next::Continue => true,
            Next::New => false,
        };
        if full || (first && rank == 0) {
            result.fully_executed.push(*id);
        }
    }
    (list, result)
}

/// Executes one message, or a slice of one; gives the instructions that the round pays for.
fn step(canister: &mut Canister, round: &RoundContext, effects: &mut Effects) -> u64 {
    if let Some(mut paused) = canister.paused.take() {
        let slice = paused.left.min(SLICE);
        paused.left -= slice;
        if paused.left > 0 {
            canister.paused = Some(paused);
        } else {
            let round = paused.round.clone();
            finish(canister, paused.ran, &round, effects);
        }
        return slice;
    }
    let before = (
        canister.cycles,
        canister.consumed,
        canister.timer,
        canister.low_memory,
    );
    let Some(mut ran) = start(canister, round, effects) else {
        return 0;
    };
    let instructions = ran.instructions;
    if instructions > SLICE {
        let (cycles, mut consumed, timer, low_memory) = before;
        consumed.instructions = canister.consumed.instructions - consumed.instructions;
        consumed.transmission = canister.consumed.transmission - consumed.transmission;
        let restart = Restart {
            input: ran.input.take(),
            callback: ran.callback.take(),
            cycles: cycles as i128 - canister.cycles as i128,
            consumed,
            timer,
            low_memory,
        };
        canister.paused = Some(Box::new(Paused {
            restart,
            ran,
            left: instructions - SLICE,
            round: round.clone(),
        }));
        SLICE
    } else {
        finish(canister, ran, round, effects);
        instructions
    }
}

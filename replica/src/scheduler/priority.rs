//! Which canisters come first: each gets the same share of the threads over time, or the share
//! that its compute allocation reserves.

use crate::limits::THREADS;
use crate::replicated_state::{Canister, Canisters};
use candid::Principal;
use std::collections::BTreeSet;

/// Rounds after which priorities start anew.
const RESET_EVERY: u64 = 24 * 3600;

/// What a canister does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    New,
    Continue,
}

/// What a canister does next.
pub(super) fn next(canister: &Canister) -> Next {
    if canister.installing_rounds > 0 {
        Next::Nothing
    } else if canister.paused.is_some() {
        Next::Continue
    } else if !canister.tasks.is_empty() || canister.queues.has_input() || canister.hook_is_due() {
        Next::New
    } else {
        Next::Nothing
    }
}

/// The order of the canisters in a round.
pub(super) struct Schedule {
    new: Vec<Principal>,
    long: Vec<Principal>,
    long_threads: usize,
    allocated_percent: i64,
}

impl Schedule {
    /// Orders the canisters by priority.
    pub(super) fn new(canisters: &mut Canisters, round: u64) -> Schedule {
        let count = canisters.len() as i64;
        let threads = THREADS as i64;
        let multiplier = (threads * count).max(1);
        let reset = round.is_multiple_of(RESET_EVERY);
        let mut allocated_percent = 0;
        for canister in canisters.values_mut() {
            let percent = canister.settings.compute_allocation as i64;
            allocated_percent += percent;
            if reset {
                canister.priority = percent * multiplier;
                canister.priority_credit = 0;
            }
        }
        // One thread is kept for long messages.
        let free = ((threads - 1) * 100 - allocated_percent).max(0) * threads;
        let mut long_share = 0;
        let mut order: Vec<(bool, bool, i64, Principal)> = Vec::new();
        for canister in canisters.values() {
            let long = canister.paused.is_some();
            if long {
                long_share += canister.settings.compute_allocation as i64 * multiplier + free;
            }
            order.push((
                !canister.long_prioritised,
                !long,
                -canister.priority,
                canister.id,
            ));
        }
        order.sort();
        let whole = 100 * multiplier;
        let long_threads = ((long_share + whole - 1) / whole) as usize;
        let is_long = |id: &Principal| canisters.get(id).is_some_and(|c| c.paused.is_some());
        let ids = order.iter().map(|entry| entry.3);
        let (long, new): (Vec<_>, Vec<_>) = ids.partition(is_long);
        for id in long.iter().take(long_threads) {
            if let Some(canister) = canisters.get_mut(id) {
                canister.long_prioritised = true;
            }
        }
        Schedule {
            new,
            long,
            long_threads,
            allocated_percent,
        }
    }

    /// The canisters that execute something now: long messages, then the others, in order; and how
    /// many of the first have a thread to themselves.
    pub(super) fn active(&self, canisters: &Canisters, heap_delta_rate: u64) -> (Active, usize) {
        let next = |id: &Principal| {
            canisters.get(id).map_or(Next::Nothing, |canister| {
                if canister.heap_delta_debit >= heap_delta_rate {
                    Next::Nothing
                } else {
                    next(canister)
                }
            })
        };
        let long: Vec<Principal> = self
            .long
            .iter()
            .filter(|id| next(id) == Next::Continue)
            .copied()
            .collect();
        let new = self
            .new
            .iter()
            .filter(|id| next(id) != Next::Nothing)
            .copied()
            .collect();
        let prioritised = self.long_threads.min(long.len());
        (Active { new, long }, prioritised)
    }

    /// Idle canisters ahead of the first busy one count as executed.
    pub(super) fn charge_idle(
        &self,
        canisters: &mut Canisters,
        fully_executed: &mut BTreeSet<Principal>,
    ) {
        for id in &self.new {
            let Some(canister) = canisters.get(id) else {
                continue;
            };
            match next(canister) {
                Next::Nothing => {
                    fully_executed.insert(*id);
                }
                _ => break,
            }
        }
    }

    /// Accounts for the round: who executed pays, and all share what was paid.
    pub(super) fn finish(&self, canisters: &mut Canisters, fully_executed: &BTreeSet<Principal>) {
        let count = canisters.len().max(1) as i64;
        let multiplier = (THREADS as i64 * count).max(1);
        let mut charged = 0;
        for id in fully_executed {
            if let Some(canister) = canisters.get_mut(id) {
                charged += 100 * multiplier;
                canister.priority_credit += 100 * multiplier;
            }
        }
        let share = (charged - self.allocated_percent * multiplier).max(0) / count;
        for canister in canisters.values_mut() {
            canister.priority += canister.settings.compute_allocation as i64 * multiplier + share;
            if canister.paused.is_none() {
                canister.priority -= std::mem::take(&mut canister.priority_credit);
                canister.long_prioritised = false;
            }
        }
    }
}

/// Canisters that execute something in an inner round, in order.
pub(super) struct Active {
    new: Vec<Principal>,
    long: Vec<Principal>,
}

impl Active {
    /// True when there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.long.is_empty()
    }
}

/// Deals canisters to threads.
pub(super) fn deal(active: &Active, prioritised: usize) -> Vec<Vec<Principal>> {
    let mut threads = vec![Vec::new(); THREADS];
    let prioritised = prioritised.min(THREADS - 1);
    let mut at = 0;
    for id in active.long.iter().take(prioritised) {
        threads[at].push(*id);
        at += 1;
    }
    let first = at;
    for id in &active.new {
        threads[at].push(*id);
        at = first + (at - first + 1) % (THREADS - first);
    }
    for id in active.long.iter().skip(prioritised) {
        threads[at].push(*id);
        at = (at + 1) % THREADS;
    }
    threads
}

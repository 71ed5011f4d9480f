//! Everybody gets a fair share of the instructions, and short generations do not wait for long ones.

use anyhow::{Context, Result, ensure};
use e2e::harness::{Direct, caller, greedy};
use e2e::tiny_model::Tiny;
use interface::{ConfigPatch, Done, Generation, Input, Outcome, Started};
use std::collections::{BTreeMap, BTreeSet};

const CALLERS: u64 = 10;
const WINDOW: usize = 30;
const BUDGET: u64 = 60_000_000;

fn start(d: &mut Direct, who: u64, words: usize, max_tokens: u32) -> Result<u64> {
    let request = interface::GenerateArgs {
        input: Input::Prompt(format!("{who} {}", "and on ".repeat(words))),
        options: Some(greedy(max_tokens)),
        ..interface::GenerateArgs::default()
    };
    let started: Outcome<Started> = d.update(caller(who), "generate", (request,))?;
    Ok(started?.id)
}

/// A round of the canister: instructions by caller, and how many callers had work after it.
struct Round {
    used: BTreeMap<u64, u64>,
    busy: usize,
}

struct Watch {
    /// Generation → its owner and the turns seen of it.
    seen: BTreeMap<u64, (u64, u32)>,
    rounds: Vec<Round>,
}

impl Watch {
    /// To be called after each round.
    fn look(&mut self, d: &mut Direct) -> Result<()> {
        let mut used: BTreeMap<u64, u64> = BTreeMap::new();
        let mut open = BTreeSet::new();
        for (id, (who, turns)) in &mut self.seen {
            let look: Generation = d.look(caller(*who), *id)?;
            let new = look.recent_rounds.iter().rev();
            let new = new.take((look.rounds - *turns) as usize);
            let sum: u64 = new.map(|r| r.instructions).sum();
            *turns = look.rounds;
            if sum > 0 {
                *used.entry(*who).or_default() += sum;
            }
            if !look.state.is_over() {
                open.insert(*who);
            }
        }
        if !used.is_empty() {
            let busy = open.len();
            self.rounds.push(Round { used, busy });
        }
        Ok(())
    }
}

#[test]
fn nobody_gets_less_than_four_fifths_of_the_fair_share() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    d.budget(BUDGET)?;
    d.one_message_a_round();
    let mut watch = Watch {
        seen: BTreeMap::new(),
        rounds: Vec::new(),
    };
    // One long generation, and of each caller two short ones. They come in one after the other while
    // the first run.
    let long = start(&mut d, 1, 200, 3_500)?;
    watch.seen.insert(long, (1, 0));
    for n in 0..20 {
        let who = 1 + n % CALLERS;
        let id = start(&mut d, who, 60 + 13 * n as usize, 300)?;
        watch.seen.insert(id, (who, 0));
        watch.look(&mut d)?;
    }
    // A short one of somebody new, while all the others have work.
    let mut late = None;
    for n in 0..2_000 {
        ensure!(n < 1_999, "it does not end");
        d.rounds(1);
        watch.look(&mut d)?;
        let all = watch
            .rounds
            .last()
            .is_some_and(|r| r.busy == CALLERS as usize);
        if late.is_none() && all && watch.rounds.len() > 60 {
            let id = start(&mut d, 11, 10, 5)?;
            let before = d.status()?.rounds;
            let waits = d.look(caller(11), id)?;
            loop {
                let look = d.look(caller(11), id)?;
                if look.generated_tokens > 0 {
                    break;
                }
                ensure!(!look.state.is_over(), "{:?}", look.state);
                d.rounds(1);
                watch.look(&mut d)?;
            }
            late = Some((d.status()?.rounds - before, waits.queue));
        }
        if watch.rounds.last().is_some_and(|r| r.busy <= 1) {
            break;
        }
    }
    // Windows in which all ten had work from beginning to end.
    let mut least = f64::MAX;
    let mut windows = 0;
    for window in watch.rounds.windows(WINDOW) {
        if window.iter().any(|r| r.busy < CALLERS as usize) {
            continue;
        }
        windows += 1;
        let total: u64 = window.iter().flat_map(|r| r.used.values()).sum();
        for who in 1..=CALLERS {
            let own: u64 = window.iter().filter_map(|r| r.used.get(&who)).sum();
            least = least.min(own as f64 * CALLERS as f64 / total as f64);
        }
    }
    let (rounds, queue) = late.context("nobody came late")?;
    println!(
        "{windows} windows of {WINDOW} rounds with {CALLERS} callers: least share {least:.2} of the \
         fair one; a newcomer's first token after {rounds} rounds (told to wait at most {queue:?})"
    );
    ensure!(windows >= 30, "only {windows} windows");
    ensure!(least >= 0.8, "{least}");
    // The round that was out, and one of each of the others at most.
    ensure!(rounds <= 2 + CALLERS, "{rounds}");

    // Beside one long generation a short one waits for the round that is out.
    let before = d.status()?.rounds;
    let id = start(&mut d, 12, 2, 5)?;
    let short = d.finish(caller(12), id)?;
    let rounds = d.status()?.rounds - before;
    println!("beside one long generation a short one is done after {rounds} rounds");
    ensure!(rounds <= 6 && short.generated_tokens == 5, "{rounds}");
    ensure!(!d.look(caller(1), long)?.state.is_over());
    // The same beside the caller's own long one.
    let before = d.status()?.rounds;
    let id = start(&mut d, 1, 2, 5)?;
    d.finish(caller(1), id)?;
    ensure!(d.status()?.rounds - before <= 6);
    let done: Done = d.update(caller(1), "cancel", (long,))?;
    done?;
    ensure!(d.status()?.generations_running == 0);
    Ok(())
}

#[test]
fn a_controller_gets_its_multiple_and_no_more() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    d.config(ConfigPatch {
        round_instructions: Some(BUDGET),
        controller_weight: Some(3),
        ..ConfigPatch::default()
    })?;
    d.one_message_a_round();
    let theirs = start(&mut d, 1, 100, 3_500)?;
    let ours = start(&mut d, 0, 100, 3_500)?;
    let begin = (
        d.look(caller(0), ours)?.rounds,
        d.look(caller(1), theirs)?.rounds,
    );
    d.rounds(40);
    let (a, b) = (
        d.look(caller(0), ours)?.rounds - begin.0,
        d.look(caller(1), theirs)?.rounds - begin.1,
    );
    println!("a controller's rounds {a}, another's {b}");
    ensure!(b > 5 && a.abs_diff(3 * b) <= 4, "{a} {b}");
    Ok(())
}

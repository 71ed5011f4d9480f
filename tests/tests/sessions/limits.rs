//! What is full, empty or too small is said in a typed error, and everything else goes on.

use anyhow::{Result, ensure};
use candid::{Nat, Principal};
use e2e::harness::{Direct, caller, greedy};
use e2e::tiny_model::Tiny;
use interface::{
    ChatCreateArgs, ChatInfo, ConfigPatch, Done, Error, GenerateArgs, GenerationState, Input,
    LogEntry, LogLevel, Outcome, Started,
};
use replica::management::types::CanisterSettings;

const SMALL: u64 = 20_000_000;

fn generate(d: &mut Direct, who: Principal, max_tokens: u32) -> Result<Outcome<Started>> {
    let request = GenerateArgs {
        input: Input::Prompt("On and on".into()),
        options: Some(greedy(max_tokens)),
        ..GenerateArgs::default()
    };
    d.update(who, "generate", (request,))
}

fn freezing_threshold(d: &mut Direct, seconds: u64) -> Result<()> {
    d.settings(CanisterSettings {
        freezing_threshold: Some(Nat::from(seconds)),
        ..CanisterSettings::default()
    })
}

#[test]
fn without_cycles_work_pauses_and_goes_on_by_itself() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    d.inspects = false;
    let me = caller(1);
    d.one_message_a_round();
    let whole = generate(&mut d, me, 400)??;
    let whole = d.finish(me, whole.id)?;
    d.budget(SMALL)?;
    let id = generate(&mut d, me, 400)??.id;
    while d.look(me, id)?.generated_tokens < 20 {
        d.rounds(1);
    }
    // The longest threshold with which the canister is not frozen, but has too little for work.
    let (mut least, mut most) = (1u64, 1 << 50);
    while most - least > 1 {
        let middle = least + (most - least) / 2;
        freezing_threshold(&mut d, middle)?;
        match d.status() {
            Ok(s) if s.liquid_cycles > 100_000_000_000 => least = middle,
            _ => most = middle,
        }
    }
    freezing_threshold(&mut d, least)?;
    d.rounds(5);
    let paused = d.look(me, id)?;
    let status = d.status()?;
    ensure!(
        status.paused.is_some() && !paused.state.is_over(),
        "{status:?}"
    );
    match generate(&mut d, me, 4)? {
        Err(Error::LowCycles(_)) => {}
        other => panic!("{other:?}"),
    }
    // Nothing happens, and hardly anything is spent, for an hour.
    let before = d.status()?.liquid_cycles;
    d.replica.advance_ns(3_600_000_000_000);
    d.rounds(200);
    ensure!(d.look(me, id)?.generated_tokens == paused.generated_tokens);
    let spent = before - d.status()?.liquid_cycles;
    ensure!(spent < 5_000_000_000, "{spent}");
    // Somebody tops it up; nobody calls it.
    let canister = d.canister;
    d.replica.top_up(&canister, 1_000_000_000_000);
    let end = d.finish(me, id)?;
    ensure!(end.token_ids == whole.token_ids);
    ensure!(d.status()?.paused.is_none());
    let log: Outcome<Vec<LogEntry>> = d.query(caller(0), "logs", (0u64,))?;
    let texts: Vec<String> = log?.into_iter().map(|l| l.text).collect();
    ensure!(
        texts.iter().any(|t| t.starts_with("work is paused")),
        "{texts:?}"
    );
    Ok(())
}

#[test]
fn a_full_queue_and_full_memory_are_typed_errors() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    d.inspects = false;
    let me = caller(1);
    d.one_message_a_round();
    d.config(ConfigPatch {
        max_generations: Some(3),
        round_instructions: Some(SMALL),
        ..ConfigPatch::default()
    })?;
    let chat = d.chat(me, None)?;
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(generate(&mut d, me, 3_000)??.id);
    }
    ensure!(matches!(generate(&mut d, me, 1)?, Err(Error::Busy(_))));
    ensure!(matches!(
        d.ask(me, chat, "Hello", greedy(1))?,
        Err(Error::Busy(_))
    ));
    // The place in the queue is told, and cancelling makes room at once.
    let last = *running.last().expect("three run");
    let done: Done = d.update(me, "cancel", (last,))?;
    done?;
    let next = generate(&mut d, me, 5)??.id;
    d.finish(me, next)?;
    for id in running {
        let done: Done = d.update(me, "cancel", (id,))?;
        done?;
    }

    // Stable memory: nothing new is begun, what is there can be used.
    let stable = d.status()?.stable_bytes;
    d.config(ConfigPatch {
        max_stable_bytes: Some(stable),
        ..ConfigPatch::default()
    })?;
    ensure!(matches!(
        generate(&mut d, me, 1)?,
        Err(Error::OutOfMemory(_))
    ));
    ensure!(matches!(
        d.ask(me, chat, "Hello", greedy(1))?,
        Err(Error::OutOfMemory(_))
    ));
    let made: Outcome<ChatInfo> = d.update(me, "chat_create", (ChatCreateArgs::default(),))?;
    ensure!(matches!(made, Err(Error::OutOfMemory(_))));
    ensure!(d.status()?.chats == 1 && d.look(me, next)?.generated_tokens == 5);
    d.config(ConfigPatch {
        max_stable_bytes: Some(u64::MAX),
        ..ConfigPatch::default()
    })?;

    // No room for the cache: that generation ends, others go on.
    let page = d.status()?.cache.block_bytes;
    d.config(ConfigPatch {
        max_kv_bytes: Some(3 * page),
        ..ConfigPatch::default()
    })?;
    let long = generate(&mut d, me, 3_000)??.id;
    let short = d.ask(me, chat, "Hello", greedy(2))??.id;
    let end = d.finish(me, long)?;
    ensure!(
        matches!(end.state, GenerationState::Failed(Error::OutOfMemory(_))),
        "{:?}",
        end.state
    );
    ensure!(end.generated_tokens > 60, "what it had is kept");
    ensure!(d.finish(me, short)?.generated_tokens == 2);
    Ok(())
}

#[test]
fn a_heap_that_may_not_grow_ends_one_generation() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    let me = caller(1);
    d.one_message_a_round();
    d.budget(SMALL)?;
    let short = generate(&mut d, me, 600)??.id;
    // Exactly what it has now: a round that needs more traps.
    let heap = d.status()?.heap_bytes;
    d.settings(CanisterSettings {
        wasm_memory_limit: Some(Nat::from(heap)),
        ..CanisterSettings::default()
    })?;
    let long = generate(&mut d, me, 3_900)??.id;
    let (a, b) = (d.finish(me, short)?, d.finish(me, long)?);
    println!(
        "with a heap of {heap} bytes: {:?} and {:?}",
        a.state, b.state
    );
    for end in [&a, &b] {
        ensure!(
            matches!(
                end.state,
                GenerationState::Finished(_)
                    | GenerationState::Failed(Error::RoundFailed(_) | Error::OutOfMemory(_))
            ),
            "{:?}",
            end.state
        );
    }
    ensure!(d.status()?.heap_bytes <= heap);
    let again = generate(&mut d, me, 5)??.id;
    ensure!(d.finish(me, again)?.generated_tokens == 5);
    Ok(())
}

#[test]
fn a_round_that_traps_ends_only_its_own_generation() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    let me = caller(1);
    d.one_message_a_round();
    let alone = generate(&mut d, me, 300)??.id;
    let alone = d.finish(me, alone)?;
    d.budget(SMALL)?;
    let id = generate(&mut d, me, 300)??.id;
    d.rounds(2);
    let limit = |d: &mut Direct, bytes: u64| {
        d.settings(CanisterSettings {
            wasm_memory_limit: Some(Nat::from(bytes)),
            ..CanisterSettings::default()
        })
    };
    // Lost once: it is tried again, smaller, with the same tokens in the end.
    limit(&mut d, 65_536)?;
    d.rounds(3);
    limit(&mut d, 3 << 30)?;
    d.budget(SMALL)?;
    let end = d.finish(me, id)?;
    ensure!(end.token_ids == alone.token_ids);
    let lost = d.status()?.totals.rounds_lost;
    ensure!(lost >= 1, "{lost}");
    ensure!(d.status()?.totals.generations_failed == 0);
    let log: Outcome<Vec<LogEntry>> = d.query(caller(0), "logs", (0u64,))?;
    ensure!(log?.iter().all(|l| l.level != LogLevel::Error));
    Ok(())
}

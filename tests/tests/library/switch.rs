//! Callers never wait for a switch, and generations stay with the model they began on.

use crate::support::{alias, alone, delete, hex, roll_back, start, two, until_means};
use anyhow::{Result, ensure};
use e2e::harness::{Direct, caller, drawn, greedy};
use interface::{Done, Error, GenerationState, Outcome, Phase, Started};

const LONG: &str = "On and on and on";

#[test]
fn a_switch_while_generations_run_loses_and_mixes_nothing() -> Result<()> {
    let [a, b] = two()?;
    let (long, short) = (drawn(3_000, 5), greedy(20));
    let (long_a, short_a) = (alone(&a, LONG, &long)?, alone(&a, "Hello", &short)?);
    let (long_b, short_b) = (alone(&b, LONG, &long)?, alone(&b, "Hello", &short)?);
    ensure!(long_a.token_ids != long_b.token_ids && short_a.token_ids != short_b.token_ids);

    let mut d = Direct::install(&e2e::wasm()?)?;
    d.upload(&a.bytes)?;
    d.one_message_a_round();
    d.budget(14_000_000)?;
    let old = start(&mut d, caller(1), None, LONG, long.clone())??.id;
    d.rounds(10);

    // Another model comes beside it; the first goes on answering meanwhile.
    let before = d.look(caller(1), old)?.generated_tokens;
    d.upload(&b.bytes)?;
    let after = d.look(caller(1), old)?;
    ensure!(!after.state.is_over(), "too fast for this test");
    ensure!(after.generated_tokens > before + 5, "{before} {after:?}");
    ensure!(d.model(&b.sha256)?.phase == Phase::Stored);
    // One that is not in use cannot be asked.
    let refused = start(&mut d, caller(1), Some(&b.name()), LONG, short.clone())?;
    ensure!(
        matches!(refused, Err(Error::WrongPhase { .. })),
        "{refused:?}"
    );

    // From the switch on the default is the new one as soon as it is ready, and the old one till then.
    alias(&mut d, "default", &b.name())??;
    let mut seen = Vec::new();
    while d.status()?.model.manifest.map(|m| m.sha256) != Some(b.sha256.clone().into()) {
        ensure!(d.status()?.model.phase == Phase::Ready, "nobody is to wait");
        let started: Outcome<Started> = start(&mut d, caller(2), None, "Hello", short.clone())?;
        seen.push((started?.id, false));
        d.rounds(1);
    }
    let new = start(&mut d, caller(3), None, LONG, long.clone())??.id;
    seen.push((
        start(&mut d, caller(2), None, "Hello", short.clone())??.id,
        true,
    ));
    ensure!(
        !d.look(caller(1), old)?.state.is_over(),
        "too fast for this test"
    );

    // An upgrade in the middle: both models come back, each generation to its own.
    d.rounds(5);
    d.upgrade()?;
    d.until_ready()?;
    for (id, on_b) in seen {
        let end = d.finish(caller(2), id)?;
        // A few may have been begun in the round of the switch itself: they say on which they run.
        let on_b = on_b || end.model_sha256 == b.sha256;
        let expected = if on_b { &short_b } else { &short_a };
        ensure!(end.token_ids == expected.token_ids, "generation {id}");
    }
    let (old, new) = (d.finish(caller(1), old)?, d.finish(caller(3), new)?);
    ensure!(hex(&old.model_sha256) == a.name() && hex(&new.model_sha256) == b.name());
    for end in [&old, &new] {
        ensure!(
            matches!(end.state, GenerationState::Finished(_)),
            "{:?}",
            end.state
        );
    }
    ensure!(old.token_ids == long_a.token_ids, "the old one");
    ensure!(new.token_ids == long_b.token_ids, "the new one");

    // The old model has left the heap when its last generation ended; it is still there to go back to.
    ensure!(d.model(&a.sha256)?.phase == Phase::Stored);
    roll_back(&mut d, "default")??;
    until_means(&mut d, "default", &a.sha256)?;
    let again = start(&mut d, caller(1), None, "Hello", short.clone())??.id;
    ensure!(d.finish(caller(1), again)?.token_ids == short_a.token_ids);
    ensure!(d.model(&b.sha256)?.phase == Phase::Stored);
    Ok(())
}

#[test]
fn two_models_answer_side_by_side_under_their_aliases() -> Result<()> {
    let [a, b] = two()?;
    let options = drawn(60, 9);
    let expected = [alone(&a, LONG, &options)?, alone(&b, LONG, &options)?];
    let mut d = Direct::install(&e2e::wasm()?)?;
    d.upload(&a.bytes)?;
    d.upload(&b.bytes)?;
    alias(&mut d, "wide", &b.name())??;
    until_means(&mut d, "wide", &b.sha256)?;
    d.one_message_a_round();
    d.budget(12_000_000)?;
    let mut ids = Vec::new();
    for n in 0..6 {
        let model = [None, Some("wide")][n % 2];
        let who = caller(1 + n as u64 / 2);
        ids.push((who, start(&mut d, who, model, LONG, options.clone())??.id));
    }
    for (n, (who, id)) in ids.into_iter().enumerate() {
        let end = d.finish(who, id)?;
        ensure!(
            end.token_ids == expected[n % 2].token_ids,
            "generation {id}"
        );
    }
    // A conversation may change its model: the new one reads it from the start.
    let chat = d.chat(caller(1), Some("Be brief."))?;
    d.answer(caller(1), chat, "Hello", greedy(10))?;
    alias(&mut d, "default", "wide")??;
    until_means(&mut d, "default", &b.sha256)?;
    let end = d.answer(caller(1), chat, "And now?", greedy(10))?;
    ensure!(
        end.model_sha256 == b.sha256 && end.cached_tokens == 0,
        "{end:?}"
    );
    let next = d.answer(caller(1), chat, "And then?", greedy(10))?;
    ensure!(next.cached_tokens > 0, "{next:?}");
    Ok(())
}

#[test]
fn what_is_in_use_is_deleted_only_when_forced() -> Result<()> {
    let [a, b] = two()?;
    let mut d = Direct::install(&e2e::wasm()?)?;
    d.upload(&a.bytes)?;
    d.upload(&b.bytes)?;
    let refused = delete(&mut d, &a.name(), false)?;
    ensure!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
    let refused = delete(&mut d, "0123456789", false)?;
    ensure!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
    let stranger: Done = d
        .update(caller(1), "alias_remove", ("default",))
        .unwrap_or_else(|e| {
            // The door keeper says so already.
            Err(Error::Unauthorized(format!("{e:#}")))
        });
    ensure!(
        matches!(stranger, Err(Error::Unauthorized(_))),
        "{stranger:?}"
    );

    d.one_message_a_round();
    d.budget(12_000_000)?;
    let on_a = start(&mut d, caller(1), None, LONG, greedy(500))??.id;
    alias(&mut d, "default", &b.name())??;
    until_means(&mut d, "default", &b.sha256)?;
    let on_b = start(&mut d, caller(1), None, LONG, greedy(40))??.id;
    // No alias means it any more, but somebody is still being answered.
    let refused = delete(&mut d, &a.name(), false)?;
    ensure!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
    delete(&mut d, &a.name(), true)??;
    let gone = d.look(caller(1), on_a)?;
    ensure!(matches!(
        gone.state,
        GenerationState::Failed(Error::WrongPhase { .. })
    ));
    ensure!(gone.generated_tokens > 0, "what it had is kept");
    let end = d.finish(caller(1), on_b)?;
    ensure!(end.token_ids == alone(&b, LONG, &greedy(40))?.token_ids);
    // There is no way back to it.
    let back = roll_back(&mut d, "default")?;
    ensure!(matches!(back, Err(Error::NotFound(_))), "{back:?}");

    delete(&mut d, &b.name(), true)??;
    let none = d.models()?;
    ensure!(
        none.models.is_empty() && none.aliases.is_empty(),
        "{none:?}"
    );
    ensure!(d.status()?.model.phase == Phase::Empty);
    Ok(())
}

//! How much longer a generation takes under the replica's rules than in the bare engine.

use crate::bare::{Bare, waiting};
use anyhow::{Context, Result, anyhow, bail, ensure};
use candid::{Decode, Encode, Principal};
use e2e::chats::{chat, greedy};
use interface::{GenerateArgs, Generation, GenerationArgs, GenerationState, Outcome, Started};
use replica::{Ingress, IngressStatus, QueryResult, Replica};
use std::time::{Duration, Instant};

const TOKENS: u32 = 120;
/// The replica may take that much longer than bare wasmtime.
const MOST: f64 = 1.25;

struct Times {
    tokens: usize,
    rounds: u32,
    replica: Duration,
    bare: Duration,
    replica_instructions: u64,
    bare_instructions: u64,
}

fn submit(
    replica: &mut Replica,
    canister: Principal,
    arg: Vec<u8>,
    attempt: u8,
) -> Result<[u8; 32]> {
    let request_id = [attempt; 32];
    let message = Ingress {
        sender: Principal::anonymous(),
        canister_id: canister,
        method_name: "generate".into(),
        wire_bytes: arg.len() + 200,
        arg,
        ingress_expiry_ns: replica.time_ns() + 300_000_000_000,
        request_id,
    };
    let submitted = replica.submit(message);
    submitted.map_err(|reject| anyhow!("{reject:?}"))?;
    Ok(request_id)
}

fn look(replica: &mut Replica, canister: Principal, arg: &[u8]) -> Result<Vec<u8>> {
    match replica.query(Principal::anonymous(), canister, "generation", arg) {
        QueryResult::Replied(reply) => Ok(reply),
        QueryResult::Rejected(reject) => bail!("{reject:?}"),
    }
}

fn bare_error(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("in bare wasmtime: {error:?}")
}

fn decode(reply: &[u8]) -> Result<Generation> {
    let answer: Outcome<Generation> = Decode!(reply, Outcome<Generation>)?;
    answer.map_err(|error| anyhow!("{error:?}"))
}

/// Runs one generation in both, a round here and then the same messages there, and compares what
/// came of it.
fn measure(replica: &mut Replica, canister: Principal, attempt: u8) -> Result<Times> {
    let request = Encode!(&GenerateArgs {
        input: chat("Tell me about the sea."),
        options: greedy(TOKENS),
        ..GenerateArgs::default()
    })?;
    let id = submit(replica, canister, request, attempt)?;
    while !matches!(replica.ingress_status(&id), IngressStatus::Replied(_)) {
        replica.execute_round();
        let status = replica.ingress_status(&id);
        ensure!(!matches!(status, IngressStatus::Rejected(_)), "{status:?}");
    }
    let started: Outcome<Started> = match replica.ingress_status(&id) {
        IngressStatus::Replied(reply) => Decode!(&reply, Outcome<Started>)?,
        other => bail!("{other:?}"),
    };
    let started = started.map_err(|error| anyhow!("{error:?}"))?;
    let state = replica.canister(&canister).context("the canister")?;
    let mut next = Some(waiting(state).map_err(bare_error)?);
    let mut bare = Bare::copy(state, replica.time_ns()).map_err(bare_error)?;
    let begin = state.totals.instructions;
    let look_at = Encode!(&GenerationArgs {
        id: started.id,
        from_byte: 0,
        from_token: 0,
    })?;

    let mut times = Times {
        tokens: 0,
        rounds: 0,
        replica: Duration::ZERO,
        bare: Duration::ZERO,
        replica_instructions: 0,
        bare_instructions: 0,
    };
    loop {
        let start = Instant::now();
        replica.execute_round();
        times.replica += start.elapsed();
        times.rounds += 1;
        let totals = replica.totals(&canister).context("the canister")?;
        times.replica_instructions = totals.instructions - begin;
        while let Some(call) = next.take_if(|_| {
            // The replica's count has changed pages besides.
            times.bare_instructions + 1_000_000 < times.replica_instructions
        }) {
            let start = Instant::now();
            let (instructions, after) = bare.update(&call).map_err(bare_error)?;
            times.bare += start.elapsed();
            times.bare_instructions += instructions;
            next = after;
        }
        let here = look(replica, canister, &look_at)?;
        let generation = decode(&here)?;
        if matches!(generation.state, GenerationState::Finished(_)) {
            while let Some(call) = next.take() {
                next = bare.update(&call).map_err(bare_error)?.1;
            }
            let there = decode(&bare.query("generation", look_at).map_err(bare_error)?)?;
            ensure!(there.token_ids == generation.token_ids, "other tokens");
            times.tokens = generation.token_ids.len();
            return Ok(times);
        }
        ensure!(times.rounds < 1_000, "the generation does not end");
    }
}

/// Other programs on the machine may get in the way of one of the two: then it is measured again.
const ATTEMPTS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn the_replica_is_about_as_fast_as_the_bare_engine() -> Result<()> {
    let _alone = crate::ALONE.lock().await;
    let (testbed, canister) = crate::ready().await?;
    let mut ratio = f64::MAX;
    for attempt in 1..=ATTEMPTS {
        let measured = tokio::task::spawn_blocking(move || {
            let run = move |replica: &mut Replica| measure(replica, *canister, attempt as u8);
            testbed
                .replica()?
                .with_replica(run)
                .map_err(anyhow::Error::from)
        });
        let times = measured.await???;
        ratio = times.replica.as_secs_f64() / times.bare.as_secs_f64();
        println!(
            "{} tokens in {} rounds: {:.2} s under the replica ({} instructions), {:.2} s in bare \
             wasmtime ({}), ratio {ratio:.3}",
            times.tokens,
            times.rounds,
            times.replica.as_secs_f64(),
            times.replica_instructions,
            times.bare.as_secs_f64(),
            times.bare_instructions,
        );
        assert!(times.tokens > 20, "too short to measure");
        let more = times.replica_instructions as f64 / times.bare_instructions as f64;
        assert!((0.99..1.03).contains(&more), "not the same work: {more}");
        if ratio <= MOST {
            break;
        }
    }
    assert!(ratio <= MOST, "{ratio:.3} times as long");
    Ok(())
}

//! Queries from many connections while a generation runs.

use anyhow::{Context, Result, ensure};
use candid::Encode;
use e2e::chats::{ask, chat, greedy};
use ic_agent::Agent;
use interface::GenerationArgs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const CONNECTIONS: usize = 64;
const TOKENS: u32 = 60;
const QUESTION: &str = "Tell me about the sea.";

/// Asks on a connection of its own until it is told to stop; gives how long each answer took. It
/// does not verify signatures: the client is not measured here.
async fn ask_on(
    agent: Agent,
    canister: candid::Principal,
    id: u64,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Duration>> {
    let look = Encode!(&GenerationArgs {
        id,
        from_byte: 0,
        from_token: 0,
    })?;
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let query = agent.query(&canister, "generation");
        let answer = query.with_arg(look.clone()).call().await?;
        ensure!(!answer.is_empty(), "an empty answer");
        times.push(start.elapsed());
    }
    Ok(times)
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_from_many_connections_do_not_disturb_a_generation() -> Result<()> {
    let _alone = crate::ALONE.lock().await;
    let (testbed, canister) = crate::ready().await?;
    let client = testbed.client_as(*canister, e2e::controller()).await?;
    let start = Instant::now();
    let alone = ask(&client, chat(QUESTION), greedy(TOKENS)).await?;
    let undisturbed = start.elapsed();

    let start = Instant::now();
    let started = client.generate(chat(QUESTION), greedy(TOKENS)).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let agent = Agent::builder()
            .with_url(testbed.url())
            .with_identity(ic_agent::identity::BasicIdentity::from_raw_key(&[1; 32]))
            .with_verify_query_signatures(false)
            .build()?;
        connections.spawn(ask_on(agent, client.canister(), started.id, stop.clone()));
    }
    let answer = loader::generate::follow(&client, started.id, |_| ()).await?;
    let loaded = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    while let Some(connection) = connections.join_next().await {
        times.extend(connection?.context("a connection failed")?);
    }
    assert_eq!(answer.token_ids, alone.token_ids);

    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!(
        "{TOKENS} tokens: {:.1} s alone, {:.1} s with {} queries from {CONNECTIONS} connections; \
         answers after {:.0} ms (median), {:.0} ms (99 of 100), {:.0} ms (at most)",
        undisturbed.as_secs_f64(),
        loaded.as_secs_f64(),
        times.len(),
        at(50).as_secs_f64() * 1e3,
        at(99).as_secs_f64() * 1e3,
        at(100).as_secs_f64() * 1e3,
    );
    // Each round takes most of a second: waiting for them, a connection would get one answer in
    // each.
    let rounds = u64::from(TOKENS + 40) * 92_000_000 / 1_900_000_000 + 2;
    let waiting = rounds as usize * CONNECTIONS;
    assert!(
        times.len() > 2 * waiting,
        "only {} queries were answered",
        times.len()
    );
    Ok(())
}

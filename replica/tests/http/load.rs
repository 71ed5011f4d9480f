//! Many connections at once.

use crate::support::{self, COUNTER, controller};
use ic_agent::Agent;
use ic_agent::identity::AnonymousIdentity;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const CONNECTIONS: usize = 64;
const QUERIES: u32 = 25;
const UPDATES: u32 = 100;

/// An agent with a connection of its own that does not verify: the client is not measured here.
async fn plain_agent(url: String) -> Agent {
    let agent = Agent::builder()
        .with_url(url)
        .with_identity(AnonymousIdentity)
        .with_verify_query_signatures(false)
        .build();
    agent.expect("an agent")
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_from_many_connections_while_updates_run() {
    let server = support::server();
    let agent = support::agent(&server, controller()).await;
    let (canister, _) = support::install(&agent, COUNTER).await;
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CONNECTIONS {
        let url = server.url();
        clients.spawn(async move {
            let agent = plain_agent(url).await;
            let mut last = 0;
            for query in 0..QUERIES {
                let arg = format!("{client} {query}").into_bytes();
                let echo = agent.query(&canister, "echo_query").with_arg(arg.clone());
                assert_eq!(echo.call().await.expect("an echo"), arg);
                let count = agent.query(&canister, "get").call().await;
                let count = count.expect("a count").try_into().expect("4 bytes");
                let count = u32::from_le_bytes(count);
                assert!(count >= last, "the count went back");
                last = count;
            }
        });
    }
    for expected in 1..=UPDATES {
        let reply = agent.update(&canister, "inc").call_and_wait().await;
        assert_eq!(reply.expect("a reply"), expected.to_le_bytes());
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no error");
    }
    let queries = 2 * QUERIES * u32::try_from(CONNECTIONS).expect("small");
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{queries} queries and {UPDATES} updates in {seconds:.2} s");
}

/// A message of several seconds, and a query.
const SLOW: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (memory 1)
    (func (export "canister_update slow")
        (local $i i64)
        (i32.store (i32.const 0) (i32.const 1))
        (local.set $i (i64.const 1000000000))
        (loop $l
            (local.set $i (i64.sub (local.get $i) (i64.const 1)))
            (br_if $l (i64.ne (local.get $i) (i64.const 0))))
        (call $append (i32.const 0) (i32.const 4))
        (call $reply))
    (func (export "canister_query get")
        (call $append (i32.const 0) (i32.const 4))
        (call $reply)))"#;

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_answered_while_a_long_message_runs() {
    let server = support::server();
    let agent = support::agent(&server, controller()).await;
    let (canister, _) = support::install(&agent, SLOW).await;
    let slow = {
        let agent = agent.clone();
        tokio::spawn(async move { agent.update(&canister, "slow").call_and_wait().await })
    };
    let (mut before, mut after) = (0, 0);
    while !slow.is_finished() {
        let seen = agent
            .query(&canister, "get")
            .call()
            .await
            .expect("a number");
        match seen[0] {
            0 => before += 1,
            _ => after += 1,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    slow.await.expect("no panic").expect("a reply");
    eprintln!("{before} queries before, {after} after the message's end");
    // All in one round: waiting for its end, one query would have been answered before.
    assert!(before > 10, "only {before} queries were answered");
    let seen = agent
        .query(&canister, "get")
        .call()
        .await
        .expect("a number");
    assert_eq!(seen[0], 1);
}

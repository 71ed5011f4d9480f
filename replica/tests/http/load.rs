//! Many connections at once.

use crate::support::{self, COUNTER, controller};
use ic_agent::Agent;
use ic_agent::identity::AnonymousIdentity;
use std::time::Instant;
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

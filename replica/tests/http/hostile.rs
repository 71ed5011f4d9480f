//! Requests that are malformed, forged, huge or slow: errors by the specification, and the server
//! goes on.

use crate::support::{self, COUNTER, controller};
use ic_agent::export::Principal;
use ic_agent::{Agent, AgentError};
use replica::http::Server;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

/// Sends `bytes` over a connection of its own and reads the status code of the answer, if any.
fn raw(server: &Server, bytes: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.take(4096).read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.split(' ').nth(1)?.parse().ok()
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/cbor\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A sequence of bytes that looks random and is always the same.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

async fn still_works(agent: &Agent, canister: Principal) {
    let reply = agent.query(&canister, "get").call().await;
    assert_eq!(reply.expect("a count"), [0; 4]);
}

async fn setup() -> (Server, Agent, Principal) {
    let server = support::server();
    let agent = support::agent(&server, controller()).await;
    let (canister, _) = support::install(&agent, COUNTER).await;
    (server, agent, canister)
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused() {
    let (server, agent, canister) = setup().await;
    let paths = ["v2", "v3", "v4"].map(|v| format!("/api/{v}/canister/{canister}/call"));
    let others = ["query", "read_state"].map(|verb| format!("/api/v3/canister/{canister}/{verb}"));
    for path in paths.iter().chain(&others) {
        for seed in 0..40 {
            let body = noise(seed, 7 * seed as usize);
            assert_eq!(raw(&server, &post(path, &body)), Some(400), "{path}");
        }
    }
    for seed in 0..200 {
        // Not even HTTP: an error or no answer, but no success.
        let status = raw(&server, &noise(seed, 300));
        assert!(status.is_none_or(|status| status >= 400));
    }
    let nested = [vec![0x9f; 200_000], vec![0xa1; 200_000]].concat();
    assert_eq!(raw(&server, &post(&paths[0], &nested)), Some(400));
    // An array that claims four billion elements.
    let claim = [
        &[0xd9, 0xd9, 0xf7, 0x9b][..],
        &[0, 0, 0, 0, 255, 255, 255, 255],
    ]
    .concat();
    assert_eq!(raw(&server, &post(&paths[0], &claim)), Some(400));
    still_works(&agent, canister).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_and_forged_calls_are_refused() {
    let (server, agent, canister) = setup().await;
    let path = format!("/api/v4/canister/{canister}/call");
    let signed = agent.update(&canister, "inc").sign().expect("a call");
    let body = signed.signed_update;
    for length in (0..body.len()).step_by(3) {
        assert_eq!(raw(&server, &post(&path, &body[..length])), Some(400));
    }
    // The first three bytes are a tag that says "this is CBOR" and nothing else.
    for i in 3..body.len() {
        // Wherever a bit flips, the call is malformed, forged or expired, and never executed.
        let mut forged = body.clone();
        forged[i] ^= 1;
        let status = raw(&server, &post(&path, &forged));
        assert!(matches!(status, Some(400 | 403)), "byte {i}: {status:?}");
    }
    still_works(&agent, canister).await;

    let other = Principal::from_slice(&[0, 0, 0, 0, 0, 0, 0, 99, 1, 1]);
    let path = format!("/api/v4/canister/{other}/call");
    assert_eq!(raw(&server, &post(&path, &body)), Some(400), "another id");
    let path = format!("/api/v3/canister/{canister}/query");
    assert_eq!(raw(&server, &post(&path, &body)), Some(400), "another kind");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_calls_are_refused() {
    let (_server, agent, canister) = setup().await;
    let now = SystemTime::now();
    let minutes = |n: u64| Duration::from_secs(60 * n);
    for expiry in [SystemTime::UNIX_EPOCH, now - minutes(1), now + minutes(10)] {
        let call = agent.update(&canister, "inc").expire_at(expiry);
        let refused = call.call_and_wait().await;
        assert!(
            matches!(&refused, Err(AgentError::HttpError(error)) if error.status == 400),
            "{refused:?}"
        );
    }
    still_works(&agent, canister).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_get_errors() {
    let (server, agent, canister) = setup().await;
    let get = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes()
    };
    for (request, expected) in [
        (get("/"), 404),
        (get("/api/v2/status"), 200),
        (get("/api/v9/status"), 404),
        (get(&format!("/api/v3/canister/{canister}/query")), 405),
        (post("/api/v3/canister/nonsense/query", b""), 400),
        (
            post(&format!("/api/v1/canister/{canister}/query"), b""),
            404,
        ),
        (post("/api/v2/status", b""), 405),
    ] {
        let text = String::from_utf8_lossy(&request).into_owned();
        assert_eq!(raw(&server, &request), Some(expected), "{text}");
    }
    let text = post(&format!("/api/v3/canister/{canister}/query"), b"");
    let text = String::from_utf8(text).expect("text");
    let text = text.replace("application/cbor", "text/plain");
    assert_eq!(raw(&server, text.as_bytes()), Some(400), "content type");
    let preflight = "OPTIONS /api/v2/status HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a\r\n\
                     Connection: close\r\n\r\n";
    assert_eq!(raw(&server, preflight.as_bytes()), Some(204));
    still_works(&agent, canister).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_bodies_are_refused() {
    let (server, agent, canister) = setup().await;
    let path = format!("/api/v3/canister/{canister}/query");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/cbor\r\n"
    );
    let claimed = format!("{head}Content-Length: 1000000000000\r\n\r\n");
    assert_eq!(raw(&server, claimed.as_bytes()), Some(413));
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..6 {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.extend(std::iter::repeat_n(0, 0x10_0000));
        chunked.extend_from_slice(b"\r\n");
    }
    // The answer may be lost when the client is still sending.
    let status = raw(&server, &chunked);
    assert!(matches!(status, None | Some(413)), "{status:?}");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000));
    let status = raw(&server, long.as_bytes());
    assert!(status.is_none_or(|status| status >= 400), "{status:?}");

    let large = vec![0; 2 * 1024 * 1024 + 1];
    let refused = agent.update(&canister, "echo").with_arg(large);
    let refused = refused.call_and_wait().await;
    assert!(matches!(refused, Err(AgentError::HttpError(error)) if error.status == 413));
    still_works(&agent, canister).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_hold_nobody_up() {
    let (server, agent, canister) = setup().await;
    let path = format!("/api/v3/canister/{canister}/query");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/cbor\r\n\
         Content-Length: 1000000\r\n\r\n"
    );
    let slow: Vec<TcpStream> = (0..200)
        .map(|i| {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connected");
            let part = if i % 2 == 0 { &head[..40] } else { &head };
            stream.write_all(part.as_bytes()).expect("sent");
            stream
        })
        .collect();
    let start = Instant::now();
    for _ in 0..20 {
        still_works(&agent, canister).await;
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    drop(slow);
    still_works(&agent, canister).await;
    let start = Instant::now();
    server.shutdown();
    assert!(start.elapsed() < Duration::from_secs(8));
}

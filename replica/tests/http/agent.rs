//! The unmodified Rust agent, with verification on.

use crate::support::{self, COUNTER, controller};
use ic_agent::identity::{AnonymousIdentity, BasicIdentity, DelegatedIdentity, Delegation};
use ic_agent::identity::{Prime256v1Identity, Secp256k1Identity, SignedDelegation};
use ic_agent::{Agent, AgentError, Identity};
use ic_agent::{export::Principal, hash_tree::LookupResult};
use std::time::{Duration, Instant};

async fn count(agent: &Agent, canister: Principal) -> u32 {
    let reply = agent
        .query(&canister, "get")
        .with_arg([])
        .call()
        .await
        .expect("a count");
    u32::from_le_bytes(reply.try_into().expect("4 bytes"))
}

#[tokio::test]
async fn calls_queries_and_state_reads() {
    let server = support::server();
    let agent = support::agent(&server, controller()).await;
    let status = agent.status().await.expect("a status");
    assert_eq!(status.replica_health_status.as_deref(), Some("healthy"));

    let (canister, hash) = support::install(&agent, COUNTER).await;
    for expected in 1..=3u32 {
        let reply = agent
            .update(&canister, "inc")
            .call_and_wait()
            .await
            .expect("a reply");
        assert_eq!(reply, expected.to_le_bytes());
    }
    assert_eq!(count(&agent, canister).await, 3);

    let text = vec![7; 60_000];
    let echoed = agent.update(&canister, "echo").with_arg(text.clone());
    assert_eq!(echoed.call_and_wait().await.expect("an echo"), text);

    let read = agent.read_state_canister_module_hash(canister).await;
    assert_eq!(read.expect("a hash"), hash);
    let read = agent.read_state_canister_controllers(canister).await;
    let owner = controller().sender().expect("a principal");
    assert_eq!(read.expect("controllers"), [owner]);
    let subnet = agent.get_subnet_by_canister(&canister).await;
    let subnet = subnet.expect("a subnet");
    assert!(subnet.contains_canister(&canister));
    let same = agent.fetch_subnet_by_id(&subnet.id()).await;
    assert_eq!(same.expect("a subnet").id(), subnet.id());
    let metrics = agent.read_state_subnet_metrics(subnet.id()).await;
    let metrics = metrics.expect("metrics");
    assert_eq!(metrics.num_canisters, 1);
    assert_eq!(metrics.update_transactions_total, 4);
    assert!(metrics.consumed_cycles_total > 0);
}

#[tokio::test]
async fn rejects_by_kind() {
    let server = support::server();
    let agent = support::agent(&server, controller()).await;
    let (canister, _) = support::install(&agent, COUNTER).await;

    let trapped = agent.update(&canister, "boom").call_and_wait().await;
    let Err(AgentError::CertifiedReject { reject, .. }) = trapped else {
        panic!("expected a certified reject, got {trapped:?}");
    };
    assert_eq!(reject.error_code.as_deref(), Some("IC0502"));
    assert_eq!(count(&agent, canister).await, 0, "a trap leaves no trace");

    for method in ["refused", "missing"] {
        let refused = agent.update(&canister, method).call_and_wait().await;
        assert!(
            matches!(refused, Err(AgentError::UncertifiedReject { .. })),
            "{method}: {refused:?}"
        );
    }
    let missing = agent.query(&canister, "missing").call().await;
    let Err(AgentError::UncertifiedReject { reject, .. }) = missing else {
        panic!("expected a reject, got {missing:?}");
    };
    assert_eq!(reject.error_code.as_deref(), Some("IC0536"));
}

#[tokio::test]
async fn metadata_is_public_or_for_controllers() {
    let server = support::server();
    let owner = support::agent(&server, controller()).await;
    let (canister, _) = support::install(&owner, COUNTER).await;
    let other = support::agent(&server, AnonymousIdentity).await;

    let name = "candid:service";
    let read = other.read_state_canister_metadata(canister, name).await;
    assert_eq!(read.expect("public"), b"service : { inc : () -> () }");
    let read = owner.read_state_canister_metadata(canister, "notes").await;
    assert_eq!(read.expect("own"), b"for controllers");
    let read = other.read_state_canister_metadata(canister, "notes").await;
    assert!(matches!(read, Err(AgentError::HttpError(error)) if error.status == 403));
    let read = other.read_state_canister_metadata(canister, "no").await;
    assert!(matches!(read, Err(AgentError::LookupPathAbsent(_))));
}

#[tokio::test]
async fn every_kind_of_identity_calls() {
    let server = support::server();
    let owner = support::agent(&server, controller()).await;
    let (canister, _) = support::install(&owner, COUNTER).await;

    let k256 = k256::SecretKey::from_slice(&[3; 32]).expect("a key");
    let p256 = p256::SecretKey::from_slice(&[3; 32]).expect("a key");
    let session = BasicIdentity::from_raw_key(&[9; 32]);
    let delegation = Delegation {
        pubkey: session.public_key().expect("a key"),
        expiration: u64::MAX / 2,
        targets: Some(vec![canister]),
        permissions: None,
    };
    let signature = controller().sign_delegation(&delegation).expect("signed");
    let chain = vec![SignedDelegation {
        delegation,
        signature: signature.signature.expect("a signature"),
    }];
    let root = controller().public_key().expect("a key");
    let delegated = DelegatedIdentity::new(root, Box::new(session), chain).expect("a chain");

    let identities: Vec<Box<dyn Identity>> = vec![
        Box::new(AnonymousIdentity),
        Box::new(Secp256k1Identity::from_private_key(k256)),
        Box::new(Prime256v1Identity::from_private_key(p256)),
        Box::new(delegated),
    ];
    for (i, identity) in identities.into_iter().enumerate() {
        let agent = support::agent(&server, identity).await;
        let reply = agent.update(&canister, "inc").call_and_wait().await;
        let expected = u32::try_from(i + 1).expect("small").to_le_bytes();
        assert_eq!(reply.expect("a reply"), expected);
    }
}

#[tokio::test]
async fn answers_are_for_their_senders() {
    let server = support::server();
    let owner = support::agent(&server, controller()).await;
    let (canister, _) = support::install(&owner, COUNTER).await;
    let signed = owner
        .update(&canister, "inc")
        .sign()
        .expect("a signed call");
    let send = || owner.update_signed(canister, signed.signed_update.clone());
    let first = send().await.expect("a reply");
    let again = send().await.expect("the same reply");
    assert_eq!(first, again);
    assert_eq!(count(&owner, canister).await, 1, "a request id counts once");

    let (_, certificate) = owner
        .request_status_raw(&signed.request_id, canister)
        .await
        .expect("the status");
    let path = [b"request_status", signed.request_id.as_slice(), b"reply"];
    assert_eq!(
        certificate.tree.lookup_path(path),
        LookupResult::Found(&1u32.to_le_bytes())
    );
    let other = support::agent(&server, BasicIdentity::from_raw_key(&[5; 32])).await;
    let read = other.request_status_raw(&signed.request_id, canister).await;
    assert!(matches!(read, Err(AgentError::HttpError(error)) if error.status == 403));
}

#[tokio::test]
async fn queries_carry_data_certificates() {
    let server = support::server();
    let agent = support::agent(&server, controller()).await;
    let (canister, _) = support::install(&agent, COUNTER).await;
    let reply = agent.query(&canister, "certified").call().await;
    let certificate: ic_agent::Certificate =
        serde_cbor::from_slice(&reply.expect("a certificate")).expect("CBOR");
    agent.verify(&certificate, canister).expect("a valid one");
    let path = [b"canister", canister.as_slice(), b"certified_data"];
    assert_eq!(
        certificate.tree.lookup_path(path),
        LookupResult::Found(b"certified words")
    );
}

#[tokio::test]
async fn timers_fire_without_requests_and_time_travels() {
    let server = support::server();
    let agent = support::agent(&server, controller()).await;
    let (canister, _) = support::install(&agent, COUNTER).await;
    agent
        .update(&canister, "later")
        .call_and_wait()
        .await
        .expect("a reply");
    let start = Instant::now();
    while count(&agent, canister).await != 10 {
        assert!(start.elapsed() < Duration::from_secs(10), "no timer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let before = server.with_replica(|replica| {
        let before = replica.time_ns();
        replica.advance_ns(86_400_000_000_000);
        before
    });
    let now = server.with_replica(|replica| replica.time_ns());
    let passed = now.expect("a time") - before.expect("a time");
    assert!(passed >= 86_400_000_000_000);
    // Clients go on by the wall clock.
    let reply = agent.update(&canister, "inc").call_and_wait().await;
    assert_eq!(reply.expect("a reply"), 11u32.to_le_bytes());
    assert_eq!(count(&agent, canister).await, 11);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_keys() {
    let (one, two) = (support::server(), support::server());
    assert_eq!(one.root_key(), two.root_key());
    assert_ne!(one.port(), two.port());
    one.shutdown();
    assert!(two.is_running());
}

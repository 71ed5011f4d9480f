//! A server of its own per test, and canisters on it.

use candid::{CandidType, Decode, Encode, Principal};
use ic_agent::identity::BasicIdentity;
use ic_agent::{Agent, Identity};
use replica::http::{Server, ServerConfig};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A canister in memory: a counter, an echo, a trap, a timer, and messages that are refused.
pub(crate) const COUNTER: &str = include_str!("counter.wat");

/// A replica in this process, in memory, on a free port.
pub(crate) fn server() -> Server {
    Server::start(ServerConfig::default()).expect("a server")
}

/// The identity that controls the canisters of the tests.
pub(crate) fn controller() -> BasicIdentity {
    BasicIdentity::from_raw_key(&[1; 32])
}

/// An agent that trusts the server's root key and verifies everything.
pub(crate) async fn agent(server: &Server, identity: impl Identity + 'static) -> Agent {
    let agent = Agent::builder()
        .with_url(server.url())
        .with_identity(identity)
        .build()
        .expect("an agent");
    agent.fetch_root_key().await.expect("the root key");
    assert_eq!(agent.read_root_key(), server.root_key());
    agent
}

#[derive(CandidType, Deserialize)]
pub(crate) struct CanisterId {
    pub canister_id: Principal,
}

#[derive(CandidType)]
struct CreateArgs {
    amount: Option<u128>,
}

#[derive(CandidType)]
#[allow(non_camel_case_types)]
pub(crate) enum Mode {
    install,
}

#[derive(CandidType)]
struct InstallArgs {
    mode: Mode,
    canister_id: Principal,
    wasm_module: serde_bytes::ByteBuf,
    arg: serde_bytes::ByteBuf,
}

/// Creates a canister and installs `wat` in it. Answers its id and the module's hash.
pub(crate) async fn install(agent: &Agent, wat: &str) -> (Principal, Vec<u8>) {
    let management = Principal::management_canister();
    let first = Principal::from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    let reply = agent
        .update(&management, "provisional_create_canister_with_cycles")
        .with_effective_canister_id(first)
        .with_arg(
            Encode!(&CreateArgs {
                amount: Some(100_000_000_000_000),
            })
            .expect("Candid"),
        )
        .call_and_wait()
        .await
        .expect("a canister");
    let id = Decode!(&reply, CanisterId).expect("an id").canister_id;
    let module = wat::parse_str(wat).expect("a module");
    let hash = Sha256::digest(&module).to_vec();
    upgrade(agent, id, module, Mode::install).await;
    (id, hash)
}

/// Installs a module in an existing canister.
pub(crate) async fn upgrade(agent: &Agent, id: Principal, module: Vec<u8>, mode: Mode) {
    let args = InstallArgs {
        mode,
        canister_id: id,
        wasm_module: module.into(),
        arg: Encode!().expect("Candid").into(),
    };
    agent
        .update(&Principal::management_canister(), "install_code")
        .with_effective_canister_id(id)
        .with_arg(Encode!(&args).expect("Candid"))
        .call_and_wait()
        .await
        .expect("an installation");
}

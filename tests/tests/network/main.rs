//! What the tests' network promises, on whichever network they run.

use anyhow::{Context, Result, ensure};
use candid::Principal;
use e2e::{Testbed, controller};
use loader::management::{self, Mode};
use std::time::Duration;

/// Its timer goes off 30 seconds after the installation; `look` answers whether it has, and the
/// time.
const TIMER: &str = r#"(module
    (import "ic0" "time" (func $time (result i64)))
    (import "ic0" "global_timer_set" (func $set (param i64) (result i64)))
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (memory 1)
    (func (export "canister_init")
        (drop (call $set (i64.add (call $time) (i64.const 30000000000)))))
    (func (export "canister_global_timer") (i64.store (i32.const 0) (i64.const 1)))
    (func (export "canister_query look")
        (i64.store (i32.const 8) (call $time))
        (call $append (i32.const 0) (i32.const 16))
        (call $reply)))"#;

const CYCLES: u128 = 7_000_000_000_000;

async fn look(testbed: &Testbed, canister: Principal) -> Result<(u64, u64)> {
    let agent = testbed.network().await?.agent;
    let reply = agent.query(&canister, "look").with_arg([]).call().await?;
    let word = |at| -> Result<u64> {
        let bytes = reply.get(at..at + 8).context("a short reply")?;
        Ok(u64::from_le_bytes(bytes.try_into()?))
    };
    Ok((word(0)?, word(8)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn time_moves_and_timers_go_off() -> Result<()> {
    let testbed = Testbed::start()?;
    println!("on {}", testbed.live.name());
    let me = controller().sender().map_err(anyhow::Error::msg)?;
    let canister = testbed.live.create_canister(me, CYCLES)?;
    let network = testbed.network().await?;
    ensure!(network.local && network.agent.read_root_key() == testbed.live.root_key()?);
    let controllers = network.agent.read_state_canister_controllers(canister);
    ensure!(controllers.await? == [me]);
    ensure!(management::module_hash(&network, canister).await?.is_none());
    let module = wat::parse_str(TIMER)?;
    management::install(&network, canister, &module, Mode::Install).await?;

    let (fired, before) = look(&testbed, canister).await?;
    ensure!(fired == 0, "30 seconds early");
    let minute = Duration::from_secs(60);
    let start = testbed.live.time_ns()?;
    testbed.live.advance(minute)?;
    ensure!(testbed.live.time_ns()? >= start + minute.as_nanos() as u64);
    testbed.live.tick()?;
    let (fired, after) = look(&testbed, canister).await?;
    ensure!(fired == 1, "a round after a minute");
    ensure!(after >= before + minute.as_nanos() as u64);
    Ok(())
}

//! A canister with much memory: small updates take no longer, and a message that fails after
//! touching a GiB leaves no trace.

use anyhow::{Context, Result, bail, ensure};
use candid::{CandidType, Decode, Encode, Principal};
use replica::{Ingress, IngressStatus, QueryResult, Replica, ReplicaConfig};
use serde_bytes::ByteBuf;
use std::path::Path;
use std::time::{Duration, Instant};

/// `fill_heap` and `fill_stable` write to every fourth page of 1 GiB of heap, to every 16th page of
/// all of the stable memory; `small` writes to both; `spoil` fills a GiB of heap, then traps; `sum`
/// adds all words of that GiB.
const MODULE: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "stable64_grow" (func $grow (param i64) (result i64)))
    (import "ic0" "stable64_write" (func $write (param i64 i64 i64)))
    (memory HEAP_PAGES)
    (global $count (mut i32) (i32.const 0))
    (global $from (mut i32) (i32.const 0))
    (func (export "canister_init")
        (drop (call $grow (i64.const STABLE_PAGES))))
    (func (export "canister_update fill_heap")
        (local $at i32) (local $end i32)
        (local.set $at (global.get $from))
        (local.set $end (i32.add (local.get $at) (i32.const 0x40000000)))
        (loop $l
            (i32.store (i32.add (local.get $at) (i32.const 64)) (local.get $at))
            (local.set $at (i32.add (local.get $at) (i32.const 16384)))
            (br_if $l (i32.ne (local.get $at) (local.get $end))))
        (global.set $from (local.get $end))
        (call $reply))
    (func (export "canister_update fill_stable")
        (local $at i64)
        (loop $l
            (call $write (local.get $at) (i64.const 64) (i64.const 16))
            (local.set $at (i64.add (local.get $at) (i64.const 65536)))
            (br_if $l (i64.lt_u (local.get $at) (i64.mul (i64.const STABLE_PAGES) (i64.const 65536)))))
        (call $reply))
    (func (export "canister_update small")
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.store (i32.const 5000) (global.get $count))
        (i32.store (i32.const 60000) (global.get $count))
        (call $write (i64.const 40000) (i64.const 5000) (i64.const 4))
        (call $append (i32.const 5000) (i32.const 4))
        (call $reply))
    (func (export "canister_update spoil")
        (memory.fill (i32.const 0) (i32.const 0xaa) (i32.const 0x40000000))
        (call $write (i64.const 0) (i64.const 0) (i64.const 0x400000))
        (unreachable))
    (func (export "canister_query sum")
        (local $at i32) (local $sum i64)
        (loop $l
            (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $l (i32.ne (local.get $at) (i32.const 0x40000000))))
        (i64.store (i32.const 0) (local.get $sum))
        (call $append (i32.const 0) (i32.const 8))
        (call $reply)))"#;

/// Small updates that are measured at a time.
const UPDATES: usize = 40;

#[derive(CandidType)]
struct CreateArgs {
    amount: Option<u128>,
}

#[derive(CandidType, candid::Deserialize)]
struct Created {
    canister_id: Principal,
}

#[derive(CandidType)]
#[allow(non_camel_case_types)]
enum Mode {
    install,
}

#[derive(CandidType)]
struct InstallArgs {
    mode: Mode,
    canister_id: Principal,
    wasm_module: ByteBuf,
    arg: ByteBuf,
}

struct Machine {
    replica: Replica,
    calls: u64,
}

impl Machine {
    fn open(dir: Option<&Path>) -> Result<Machine> {
        let replica = Replica::new(ReplicaConfig {
            state_dir: dir.map(Into::into),
            ..ReplicaConfig::default()
        })?;
        // Numbers of calls begin anew with the process's time.
        let calls = replica.time_ns();
        Ok(Machine { replica, calls })
    }

    fn call(&mut self, canister: Principal, method: &str, arg: Vec<u8>) -> Result<IngressStatus> {
        self.calls += 1;
        let mut request_id = [0; 32];
        request_id[..8].copy_from_slice(&self.calls.to_be_bytes());
        let message = Ingress {
            sender: Principal::anonymous(),
            canister_id: canister,
            method_name: method.into(),
            wire_bytes: arg.len() + 200,
            arg,
            ingress_expiry_ns: self.replica.time_ns() + 300_000_000_000,
            request_id,
        };
        let submitted = self.replica.submit(message);
        submitted.map_err(|reject| anyhow::anyhow!("{reject:?}"))?;
        for _ in 0..200 {
            self.replica.execute_round();
            let status = self.replica.ingress_status(&request_id);
            if !matches!(status, IngressStatus::Received | IngressStatus::Processing) {
                return Ok(status);
            }
        }
        bail!("no answer to {method}")
    }

    fn reply(&mut self, canister: Principal, method: &str, arg: Vec<u8>) -> Result<Vec<u8>> {
        match self.call(canister, method, arg)? {
            IngressStatus::Replied(reply) => Ok(reply),
            other => bail!("{method}: {other:?}"),
        }
    }

    fn install(&mut self, heap_pages: u32, stable_pages: u64) -> Result<Principal> {
        let management = Principal::management_canister();
        let amount = Some(1_000_000_000_000_000_000);
        let create = Encode!(&CreateArgs { amount })?;
        let method = "provisional_create_canister_with_cycles";
        let created = self.reply(management, method, create)?;
        let canister_id = Decode!(&created, Created)?.canister_id;
        let text = MODULE
            .replace("HEAP_PAGES", &heap_pages.to_string())
            .replace("STABLE_PAGES", &stable_pages.to_string());
        let install = Encode!(&InstallArgs {
            mode: Mode::install,
            canister_id,
            wasm_module: wat::parse_str(text)?.into(),
            arg: ByteBuf::new(),
        })?;
        self.reply(management, "install_code", install)?;
        Ok(canister_id)
    }

    fn sum(&mut self, canister: Principal) -> Result<Vec<u8>> {
        let anonymous = Principal::anonymous();
        match self.replica.query(anonymous, canister, "sum", &[]) {
            QueryResult::Replied(sum) => Ok(sum),
            other => bail!("{other:?}"),
        }
    }

    /// The median time of small updates, which count on from `count`.
    fn small(&mut self, canister: Principal, count: &mut u32) -> Result<Duration> {
        let mut times = Vec::new();
        for _ in 0..UPDATES {
            let start = Instant::now();
            let reply = self.reply(canister, "small", Vec::new())?;
            times.push(start.elapsed());
            *count += 1;
            ensure!(reply == count.to_le_bytes(), "it counts {reply:?}");
        }
        times.sort();
        Ok(times[UPDATES / 2])
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[test]
fn small_updates_take_no_longer_with_much_memory() -> Result<()> {
    let _alone = crate::ALONE.blocking_lock();
    let dir = tempfile::tempdir()?;
    println!("state     heap     stable   a small update (median)");
    for dir in [None, Some(dir.path())] {
        let place = if dir.is_some() { "on disk" } else { "memory" };
        let mut machine = Machine::open(dir)?;
        let (mut few, mut many) = (0, 0);
        let small = machine.install(16, 1)?;
        let large = machine.install(49_152, 163_840)?;
        for _ in 0..3 {
            machine.reply(large, "fill_heap", Vec::new())?;
        }
        machine.reply(large, "fill_stable", Vec::new())?;
        let a = machine.small(small, &mut few)?;
        println!("{place:9} 1 MiB    64 KiB   {:6.0} µs", micros(a));
        let b = machine.small(large, &mut many)?;
        println!("{place:9} 3 GiB    10 GiB   {:6.0} µs", micros(b));
        // A page's copy more or less is not what this is about.
        let most = a * 2 + Duration::from_micros(200);
        assert!(b < most, "{b:?} with much memory, {a:?} with little");

        let before = machine.sum(large)?;
        let failed = machine.call(large, "spoil", Vec::new())?;
        assert!(matches!(failed, IngressStatus::Rejected(_)), "{failed:?}");
        assert_eq!(machine.sum(large)?, before, "the trap left a trace");
        let c = machine.small(large, &mut many)?;
        assert!(c < most, "{c:?} after a trap");

        if dir.is_some() {
            drop(machine);
            let start = Instant::now();
            let mut machine = Machine::open(dir)?;
            let opened = start.elapsed();
            machine.small(large, &mut many)?;
            let d = machine.small(large, &mut many)?;
            println!(
                "restarted 3 GiB    10 GiB   {:6.0} µs; the start took {:.2} s",
                micros(d),
                opened.as_secs_f64()
            );
            assert!(d < most, "{d:?} after a restart");
            assert!(opened < Duration::from_secs(5), "the start took {opened:?}");
            assert_eq!(machine.sum(large)?.len(), before.len());
        }
    }
    Ok(())
}

/// The modules of this file are what the IC accepts.
#[test]
fn the_fill_is_as_large_as_it_says() -> Result<()> {
    let _alone = crate::ALONE.blocking_lock();
    let mut machine = Machine::open(None)?;
    let canister = machine.install(49_152, 16)?;
    machine.reply(canister, "fill_heap", Vec::new())?;
    let sum = machine.sum(canister)?;
    // Each word is its own address without the 64: 0, 16384, ...
    let expected: u64 = (0..65_536u64).map(|i| i * 16_384).sum();
    let sum = u64::from_le_bytes(sum.try_into().ok().context("eight bytes")?);
    assert_eq!(sum, expected);
    Ok(())
}

//! A canister with much memory: small updates take no longer, and a message that fails after
//! touching a GiB leaves no trace.

use anyhow::{Result, bail, ensure};
use candid::{CandidType, Decode, Encode, Principal};
use replica::{Ingress, IngressStatus, QueryResult, Replica, ReplicaConfig};
use serde_bytes::ByteBuf;
use std::path::Path;
use std::time::{Duration, Instant};

/// `fill_heap` and `fill_stable` write to every 16th page of the heap and every 64th of the stable
/// memory; `small` writes to both; `spoil` fills a GiB of heap and some stable memory, then traps;
/// `sum` adds two words of each of those pages of heap, which a filled one cannot have.
const MODULE: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "stable64_grow" (func $grow (param i64) (result i64)))
    (import "ic0" "stable64_write" (func $write (param i64 i64 i64)))
    (memory HEAP_PAGES)
    (global $count (mut i32) (i32.const 0))
    (func (export "canister_init")
        (drop (call $grow (i64.const STABLE_PAGES))))
    (func (export "canister_update fill_heap")
        (local $at i32) (local $end i32)
        (local.set $end (i32.const 0xc0000000))
        (loop $l
            (i32.store (i32.add (local.get $at) (i32.const 64)) (local.get $at))
            (local.set $at (i32.add (local.get $at) (i32.const 65536)))
            (br_if $l (i32.ne (local.get $at) (local.get $end))))
        (call $reply))
    (func (export "canister_update fill_stable")
        (local $at i64)
        (loop $l
            (call $write (local.get $at) (i64.const 64) (i64.const 16))
            (local.set $at (i64.add (local.get $at) (i64.const 262144)))
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
            (local.set $sum (i64.add (local.get $sum) (i64.load offset=64 (local.get $at))))
            (local.set $sum (i64.add (local.get $sum) (i64.load offset=4080 (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 65536)))
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

/// How long small updates take.
#[derive(Clone, Copy, Debug)]
struct Times {
    median: Duration,
    /// A quarter takes less: what else the machine does hardly counts in it.
    usual: Duration,
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

    /// The times of small updates of some canisters, in turns; each counts on.
    fn small<const N: usize>(&mut self, canisters: [(Principal, u32); N]) -> Result<[Times; N]> {
        let mut times = [const { Vec::new() }; N];
        for update in 1..=UPDATES {
            for ((canister, count), times) in canisters.iter().zip(&mut times) {
                let start = Instant::now();
                let reply = self.reply(*canister, "small", Vec::new())?;
                times.push(start.elapsed());
                let count = count + update as u32;
                ensure!(reply == count.to_le_bytes(), "it counts {reply:?}");
            }
        }
        Ok(times.map(|mut times| {
            times.sort();
            Times {
                median: times[UPDATES / 2],
                usual: times[UPDATES / 4],
            }
        }))
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[test]
fn small_updates_take_no_longer_with_much_memory() -> Result<()> {
    let _alone = crate::ALONE.blocking_lock();
    let dir = tempfile::tempdir()?;
    // Each page's own address, without the 64.
    let filled: u64 = (0..0x4000_0000u64 / 65_536).map(|i| i * 65_536).sum();
    println!("state      a small update (median) with 1 MiB, with 3 GiB of heap and 10 GiB stable");
    for dir in [None, Some(dir.path())] {
        let mut machine = Machine::open(dir)?;
        let little = machine.install(16, 1)?;
        let much = machine.install(49_152, 163_840)?;
        machine.reply(much, "fill_heap", Vec::new())?;
        machine.reply(much, "fill_stable", Vec::new())?;
        let before = machine.sum(much)?;
        assert_eq!(before, filled.to_le_bytes());
        let [a, b] = machine.small([(little, 0), (much, 0)])?;
        let place = if dir.is_some() { "on disk" } else { "memory" };
        println!(
            "{place:9} {:6.0} µs {:6.0} µs",
            micros(a.median),
            micros(b.median)
        );
        // A page's copy more or less is not what this is about.
        let most = |little: Times| little.usual * 2 + Duration::from_micros(200);
        assert!(
            b.usual < most(a),
            "{b:?} with much memory, {a:?} with little"
        );

        let before = machine.sum(much)?;
        let start = Instant::now();
        let failed = machine.call(much, "spoil", Vec::new())?;
        let spoilt = start.elapsed();
        assert!(matches!(failed, IngressStatus::Rejected(_)), "{failed:?}");
        assert_eq!(machine.sum(much)?, before, "the trap left a trace");
        let updates = UPDATES as u32;
        let [a, b] = machine.small([(little, updates), (much, updates)])?;
        println!(
            "{place:9} {:6.0} µs {:6.0} µs after a trap that undid 1 GiB ({:.1} s)",
            micros(a.median),
            micros(b.median),
            spoilt.as_secs_f64()
        );
        assert!(b.usual < most(a), "{b:?} after a trap, {a:?} with little");

        if dir.is_some() {
            drop(machine);
            let start = Instant::now();
            let mut machine = Machine::open(dir)?;
            let opened = start.elapsed();
            assert_eq!(machine.sum(much)?, before);
            let [a, b] = machine.small([(little, 2 * updates), (much, 2 * updates)])?;
            println!(
                "{place:9} {:6.0} µs {:6.0} µs after a restart ({:.2} s)",
                micros(a.median),
                micros(b.median),
                opened.as_secs_f64()
            );
            assert!(
                b.usual < most(a),
                "{b:?} after a restart, {a:?} with little"
            );
            assert!(opened < Duration::from_secs(5), "the start took {opened:?}");
        }
    }
    Ok(())
}

//! State on disk: what a process leaves behind, also when it is killed.

use replica::management::types::{CanisterIdRecord, InstallCode, InstallMode, ProvisionalCreate};
use replica::{Ingress, IngressStatus, Principal, QueryResult, Replica, ReplicaConfig};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Counts in a global, on two pages of the heap and on two pages of stable memory, once a round by
/// its timer; `get` gives the five counts.
const COUNTER: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "stable64_grow" (func $grow (param i64) (result i64)))
    (import "ic0" "stable64_read" (func $read (param i64 i64 i64)))
    (import "ic0" "stable64_write" (func $write (param i64 i64 i64)))
    (import "ic0" "global_timer_set" (func $timer (param i64) (result i64)))
    (memory 200)
    (global $count (mut i64) (i64.const 0))
    (func $burn (param $n i64)
        (loop $l
            (local.set $n (i64.sub (local.get $n) (i64.const 1)))
            (br_if $l (i64.gt_s (local.get $n) (i64.const 0)))))
    (func $count (export "canister_global_timer")
        (global.set $count (i64.add (global.get $count) (i64.const 1)))
        (i64.store (i32.const 8) (global.get $count))
        (i64.store (i32.const 9000000) (global.get $count))
        (call $write (i64.const 0) (i64.const 8) (i64.const 8))
        (call $write (i64.const 9000) (i64.const 8) (i64.const 8))
        (drop (call $timer (i64.const 1))))
    (func (export "canister_init")
        (drop (call $grow (i64.const 1)))
        (drop (call $timer (i64.const 1))))
    (func (export "canister_update long")
        (call $burn (i64.const 700000000))
        (i64.store (i32.const 100) (i64.const 42))
        (call $append (i32.const 100) (i32.const 8))
        (call $reply))
    (func (export "canister_query get")
        (i64.store (i32.const 16) (global.get $count))
        (i64.store (i32.const 24) (i64.load (i32.const 8)))
        (i64.store (i32.const 32) (i64.load (i32.const 9000000)))
        (call $read (i64.const 40) (i64.const 0) (i64.const 8))
        (call $read (i64.const 48) (i64.const 9000) (i64.const 8))
        (call $append (i32.const 16) (i32.const 40))
        (call $reply)))"#;

fn directory(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("state-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn open(dir: &Path) -> Replica {
    Replica::new(ReplicaConfig {
        state_dir: Some(dir.into()),
        start_time_ns: Some(1_700_000_000_000_000_000),
        ..ReplicaConfig::default()
    })
    .expect("the replica opens its state")
}

fn submit(
    replica: &mut Replica,
    id: Principal,
    method: &str,
    arg: Vec<u8>,
    number: u8,
) -> [u8; 32] {
    let request_id = [number; 32];
    replica
        .submit(Ingress {
            sender: Principal::anonymous(),
            canister_id: id,
            method_name: method.into(),
            wire_bytes: arg.len() + 200,
            arg,
            ingress_expiry_ns: replica.time_ns() + 100_000_000_000,
            request_id,
        })
        .expect("the message is taken in");
    request_id
}

fn answer(replica: &mut Replica, request: &[u8; 32]) -> Vec<u8> {
    for _ in 0..50 {
        replica.execute_round();
        match replica.ingress_status(request) {
            IngressStatus::Replied(reply) => return reply,
            IngressStatus::Rejected(reject) => panic!("{reject:?}"),
            _ => {}
        }
    }
    panic!("no answer");
}

fn install(replica: &mut Replica) -> Principal {
    let management = Principal::management_canister();
    let create = ProvisionalCreate {
        amount: None,
        settings: None,
        specified_id: None,
        sender_canister_version: None,
    };
    let arg = candid::encode_one(create).expect("encodes");
    let request = submit(
        replica,
        management,
        "provisional_create_canister_with_cycles",
        arg,
        1,
    );
    let reply = answer(replica, &request);
    let id = candid::decode_one::<CanisterIdRecord>(&reply)
        .expect("decodes")
        .canister_id;
    let code = InstallCode {
        mode: InstallMode::install,
        canister_id: id,
        wasm_module: wat::parse_str(COUNTER).expect("assembles"),
        arg: Vec::new(),
        sender_canister_version: None,
    };
    let arg = candid::encode_one(code).expect("encodes");
    let request = submit(replica, management, "install_code", arg, 2);
    answer(replica, &request);
    id
}

/// The canister's counts, which must all be the same.
fn count(replica: &mut Replica, id: Principal) -> u64 {
    match replica.query(Principal::anonymous(), id, "get", &[]) {
        QueryResult::Replied(reply) => {
            let counts: Vec<u64> = reply
                .chunks_exact(8)
                .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
                .collect();
            assert_eq!(counts.len(), 5);
            assert!(counts.iter().all(|c| *c == counts[0]), "{counts:?}");
            counts[0]
        }
        QueryResult::Rejected(reject) => panic!("{reject:?}"),
    }
}

#[test]
fn goes_on_where_it_was() {
    let dir = directory("goes-on");
    let mut replica = open(&dir);
    let id = install(&mut replica);
    for _ in 0..5 {
        replica.execute_round();
    }
    let before = count(&mut replica, id);
    assert!(before >= 5);
    let time = replica.time_ns();
    drop(replica);
    let mut replica = open(&dir);
    assert_eq!(count(&mut replica, id), before);
    assert!(replica.time_ns() >= time);
    assert!(matches!(
        replica.ingress_status(&[2; 32]),
        IngressStatus::Replied(_)
    ));
    replica.execute_round();
    assert_eq!(count(&mut replica, id), before + 1);
}

#[test]
fn accepted_messages_are_not_lost() {
    let dir = directory("accepted");
    let mut replica = open(&dir);
    let id = install(&mut replica);
    let first = submit(&mut replica, id, "long", Vec::new(), 3);
    let second = submit(&mut replica, id, "long", vec![1; 100_000], 4);
    drop(replica);
    let mut replica = open(&dir);
    for request in [first, second] {
        assert_eq!(replica.ingress_status(&request), IngressStatus::Received);
        let owner = replica.ingress_owner(&request).expect("it is known");
        assert_eq!((owner.sender, owner.receiver), (Principal::anonymous(), id));
        assert_eq!(answer(&mut replica, &request), 42u64.to_le_bytes());
    }
    drop(replica);
    // They are executed once, and whose they were is still known.
    let replica = open(&dir);
    assert!(matches!(
        replica.ingress_status(&first),
        IngressStatus::Replied(_)
    ));
    assert!(replica.ingress_owner(&first).is_some());

    // A message that was being written when the process was killed was not accepted.
    drop(replica);
    let mut replica = open(&dir);
    let third = submit(&mut replica, id, "long", Vec::new(), 5);
    drop(replica);
    let log = dir.join("accepted");
    let whole = std::fs::read(&log).expect("the file");
    std::fs::write(&log, &whole[..whole.len() - 3]).expect("cut off");
    let replica = open(&dir);
    assert_eq!(replica.ingress_status(&third), IngressStatus::Unknown);
}

#[test]
fn long_message_starts_again() {
    let dir = directory("long");
    let mut replica = open(&dir);
    let id = install(&mut replica);
    let cycles = replica.canister(&id).expect("it exists").cycles;
    let request = submit(&mut replica, id, "long", Vec::new(), 3);
    replica.execute_round();
    assert_eq!(replica.ingress_status(&request), IngressStatus::Processing);
    drop(replica);
    let mut replica = open(&dir);
    assert_eq!(replica.ingress_status(&request), IngressStatus::Processing);
    assert_eq!(answer(&mut replica, &request), 42u64.to_le_bytes());
    let paid = cycles - replica.canister(&id).expect("it exists").cycles;
    // Paid once: seven slices at most, and some timers.
    assert!((3_000_000_000..9_000_000_000).contains(&paid), "{paid}");
}

/// Not a test by itself: the process that is killed.
#[test]
fn child() {
    let Some(dir) = std::env::var_os("REPLICA_CRASH_TEST") else {
        return;
    };
    let mut replica = open(Path::new(&dir));
    let id = replica.canisters()[0];
    loop {
        replica.execute_round();
        println!("count {}", count(&mut replica, id));
    }
}

#[test]
fn survives_being_killed_at_any_moment() {
    let dir = directory("killed");
    let mut replica = open(&dir);
    let id = install(&mut replica);
    let mut committed = count(&mut replica, id);
    drop(replica);
    for attempt in 0..20u64 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child", "--nocapture"])
            .env("REPLICA_CRASH_TEST", &dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut seen = committed;
        let mut lines = output.lines().map_while(Result::ok);
        let first = lines.find(|line| line.contains("count "));
        assert!(first.is_some(), "the child counts");
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(attempt * 1_537 % 20_000));
            child.kill().expect("the child is killed");
            child.wait().expect("the child ends");
        });
        for line in first.into_iter().chain(lines) {
            let number = line.rsplit("count ").next().map(str::parse);
            if let Some(Ok(number)) = number {
                seen = number;
            }
        }
        killer.join().expect("no panic");
        let mut replica = open(&dir);
        let now = count(&mut replica, id);
        assert!(
            now >= seen,
            "attempt {attempt}: {now} after {seen} was seen"
        );
        committed = now;
    }
}

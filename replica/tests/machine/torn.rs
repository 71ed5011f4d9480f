//! A query, an update and a restart see what a message that goes on over several rounds has written
//! to a page that an earlier message of the same round changed.

use crate::support::Machine;
use candid::Principal;
use replica::{Ingress, IngressStatus, QueryResult};

/// `touch` changes a byte of page 0. `long` adds one at address 8 (the page that `touch` changed), at
/// address 131072 and to a global, lets a pointer at 16 point to memory that it has grown, and goes on
/// for several rounds. `fail` does the same, and traps. `get` gives the three counters; `follow` reads
/// through the pointer.
const WAT: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (memory 4)
    (global $n (mut i32) (i32.const 0))
    (func $work (param $i i64)
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
        (i32.store (i32.const 131072) (i32.add (i32.load (i32.const 131072)) (i32.const 1)))
        (i32.store (i32.const 16) (i32.mul (memory.grow (i32.const 1)) (i32.const 65536)))
        (i32.store (i32.load (i32.const 16)) (i32.const 7))
        (loop $l
            (local.set $i (i64.sub (local.get $i) (i64.const 1)))
            (br_if $l (i64.ne (local.get $i) (i64.const 0)))))
    (func (export "canister_update touch")
        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
        (call $reply))
    (func (export "canister_update long")
        (call $work (i64.const 2000000000))
        (call $reply))
    (func (export "canister_update fail")
        (call $work (i64.const 2000000000))
        unreachable)
    (func $get
        (i32.store (i32.const 24) (global.get $n))
        (call $append (i32.const 8) (i32.const 4))
        (call $append (i32.const 131072) (i32.const 4))
        (call $append (i32.const 24) (i32.const 4))
        (call $reply))
    (func (export "canister_query get") (call $get))
    (func (export "canister_update uget") (call $get))
    (func (export "canister_query follow")
        (drop (i32.load (i32.load (i32.const 16))))
        (call $reply)))"#;

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")))
        .collect()
}

fn submit(machine: &mut Machine, id: Principal, method: &str, number: u8) -> [u8; 32] {
    let request_id = [number; 32];
    machine
        .replica
        .submit(Ingress {
            sender: Principal::anonymous(),
            canister_id: id,
            method_name: method.into(),
            wire_bytes: 200,
            arg: Vec::new(),
            ingress_expiry_ns: machine.replica.time_ns() + 100_000_000_000,
            request_id,
        })
        .expect("taken in");
    request_id
}

/// Both messages in one round.
fn begin(dir: Option<&std::path::Path>, second: &str) -> (Machine, Principal, [u8; 32]) {
    let mut machine = Machine::new(dir);
    let id = machine.create();
    machine.install(id, WAT);
    assert_eq!(words(&machine.query(id, "get", &[])), [0, 0, 0]);
    submit(&mut machine, id, "touch", 100);
    let long = submit(&mut machine, id, second, 101);
    machine.replica.execute_round();
    assert_eq!(
        machine.replica.ingress_status(&long),
        IngressStatus::Processing
    );
    (machine, id, long)
}

fn end(machine: &mut Machine, request: &[u8; 32]) -> IngressStatus {
    for _ in 0..100 {
        match machine.replica.ingress_status(request) {
            IngressStatus::Processing | IngressStatus::Received => machine.replica.execute_round(),
            status => return status,
        }
    }
    panic!("no end");
}

/// A query answers with a mixture of two states.
#[test]
fn torn_query() {
    let (mut machine, id, long) = begin(None, "long");
    assert_eq!(words(&machine.query(id, "get", &[])), [0, 0, 0]);
    end(&mut machine, &long);
    assert_eq!(words(&machine.query(id, "get", &[])), [1, 1, 1]);
}

/// A query traps: "heap out of bounds".
#[test]
fn torn_query_traps() {
    let (mut machine, id, _) = begin(None, "long");
    let answer = machine
        .replica
        .query(Principal::anonymous(), id, "follow", &[]);
    assert_eq!(answer, QueryResult::Replied(Vec::new()));
}

/// What a message that trapped has written lasts.
#[test]
fn a_failed_message_leaves_nothing() {
    let (mut machine, id, fail) = begin(None, "fail");
    assert!(matches!(
        end(&mut machine, &fail),
        IngressStatus::Rejected(_)
    ));
    assert_eq!(words(&machine.call(id, "uget")), [0, 0, 0]);
    assert_eq!(words(&machine.query(id, "get", &[])), [0, 0, 0]);
}

/// What was begun before the end of the process is done twice.
#[test]
fn a_restarted_message_runs_once() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("torn");
    let _ = std::fs::remove_dir_all(&dir);
    let (machine, id, long) = begin(Some(&dir), "long");
    let mut machine = machine.restart(&dir);
    end(&mut machine, &long);
    assert_eq!(words(&machine.query(id, "get", &[])), [1, 1, 1]);
}

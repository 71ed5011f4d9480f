//! What queries see.

use crate::support::Machine;
use candid::Principal;
use replica::{Ingress, QueryResult};

/// `get` reads a heap cell, a global and a stable cell; `set` writes the next number to all three,
/// and takes as long as `spin` says; `ask` (a composite query) writes to all three, asks itself for
/// `get`, and answers what it then sees itself and what it was told.
const CELLS: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "msg_arg_data_copy" (func $arg (param i32 i32 i32)))
    (import "ic0" "canister_self_copy" (func $self (param i32 i32 i32)))
    (import "ic0" "canister_self_size" (func $self_size (result i32)))
    (import "ic0" "call_new" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "ic0" "call_perform" (func $perform (result i32)))
    (import "ic0" "stable64_grow" (func $grow (param i64) (result i64)))
    (import "ic0" "stable64_read" (func $read (param i64 i64 i64)))
    (import "ic0" "stable64_write" (func $write (param i64 i64 i64)))
    (import "ic0" "trap" (func $trap (param i32 i32)))
    (memory 2)
    (table funcref (elem $told $fail))
    (global $n (mut i32) (i32.const 0))
    (data (i32.const 0) "get")
    (func $next
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.store (i32.const 100) (global.get $n))
        (call $write (i64.const 5000) (i64.const 100) (i64.const 4)))
    (func $tell
        (call $append (i32.const 100) (i32.const 4))
        (i32.store (i32.const 200) (global.get $n))
        (call $append (i32.const 200) (i32.const 4))
        (call $read (i64.const 200) (i64.const 5000) (i64.const 4))
        (call $append (i32.const 200) (i32.const 4)))
    (func $told (param i32)
        (call $tell)
        (call $arg (i32.const 300) (i32.const 0) (i32.const 12))
        (call $append (i32.const 300) (i32.const 12))
        (call $reply))
    (func $fail (param i32)
        (call $trap (i32.const 0) (i32.const 3)))
    (func (export "canister_init") (drop (call $grow (i64.const 1))))
    (func (export "canister_update set")
        (local $i i64)
        (call $next)
        (local.set $i (i64.const 100000000))
        (loop $l
            (local.set $i (i64.sub (local.get $i) (i64.const 1)))
            (br_if $l (i64.ne (local.get $i) (i64.const 0))))
        (call $reply))
    (func (export "canister_query get")
        (call $tell)
        (call $reply))
    (func (export "canister_composite_query ask")
        (call $next)
        (call $self (i32.const 16) (i32.const 0) (call $self_size))
        (call $call (i32.const 16) (call $self_size) (i32.const 0) (i32.const 3)
            (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0))
        (drop (call $perform))))"#;

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")))
        .collect()
}

/// Callbacks of a composite query see what it wrote; what it asks does not, and nobody does later.
#[test]
fn a_composite_query_keeps_its_changes_to_itself() {
    let mut machine = Machine::new(None);
    let id = machine.create();
    machine.install(id, CELLS);
    for _ in 0..3 {
        assert_eq!(words(&machine.query(id, "ask", &[])), [1, 1, 1, 0, 0, 0]);
        assert_eq!(words(&machine.query(id, "get", &[])), [0, 0, 0]);
    }
    machine.call(id, "set");
    assert_eq!(words(&machine.query(id, "ask", &[])), [2, 2, 2, 1, 1, 1]);
    assert_eq!(words(&machine.query(id, "get", &[])), [1, 1, 1]);
}

/// While messages run, queries on other threads see one of the states between two rounds, never a
/// mixture, and are answered before the round ends.
#[test]
fn queries_run_while_messages_do() {
    const UPDATES: u32 = 8;
    let mut machine = Machine::new(None);
    let id = machine.create();
    machine.install(id, CELLS);
    let committed = machine.replica.committed();
    let done = std::sync::atomic::AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..2)
            .map(|_| {
                let run = || {
                    let (mut answers, mut last) = (0u32, 0);
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let who = Principal::anonymous();
                        let (answer, _) = committed.query(who, id, "get", &[], 0);
                        let QueryResult::Replied(reply) = answer else {
                            panic!("{answer:?}");
                        };
                        let seen = words(&reply);
                        assert!(seen.iter().all(|n| *n == seen[0]), "a mixture: {seen:?}");
                        assert!(seen[0] >= last, "{} after {last}", seen[0]);
                        last = seen[0];
                        answers += 1;
                    }
                    answers
                };
                std::thread::Builder::new()
                    .stack_size(16 << 20)
                    .spawn_scoped(scope, run)
                    .expect("a thread")
            })
            .collect();
        for number in 0..UPDATES {
            let replica = &mut machine.replica;
            let message = Ingress {
                sender: Principal::anonymous(),
                canister_id: id,
                method_name: "set".into(),
                arg: Vec::new(),
                ingress_expiry_ns: replica.time_ns() + 100_000_000_000,
                request_id: [number as u8 + 100; 32],
                wire_bytes: 200,
            };
            replica.submit(message).expect("accepted");
            replica.execute_round();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        askers
            .into_iter()
            .map(|asker| asker.join().expect("no panic"))
            .sum::<u32>()
    });
    assert_eq!(words(&machine.query(id, "get", &[]))[0], UPDATES);
    // Waiting for rounds, each asker would get about one answer in each.
    assert!(answered > 10 * UPDATES, "only {answered} answers");
}

/// `down` asks itself for `down` with one less until nothing is left of its argument; `many` asks for
/// `leaf` as many times as its argument says; `both` answers although it has asked.
const GRAPH: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "msg_arg_data_size" (func $arg_size (result i32)))
    (import "ic0" "msg_arg_data_copy" (func $arg (param i32 i32 i32)))
    (import "ic0" "canister_self_copy" (func $self (param i32 i32 i32)))
    (import "ic0" "canister_self_size" (func $self_size (result i32)))
    (import "ic0" "call_new" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "ic0" "call_data_append" (func $data (param i32 i32)))
    (import "ic0" "call_perform" (func $perform (result i32)))
    (import "ic0" "data_certificate_present" (func $certificate (result i32)))
    (import "ic0" "trap" (func $trap (param i32 i32)))
    (memory 1)
    (table funcref (elem $told $fail $again $never))
    (data (i32.const 0) "downleaf")
    (func $told (param i32) (call $reply))
    (func $fail (param i32) (call $trap (i32.const 0) (i32.const 4)))
    (func $never (param i32) (unreachable))
    (func $ask (param $name i32) (param $reply i32) (param $bytes i32)
        (call $self (i32.const 16) (i32.const 0) (call $self_size))
        (call $call (i32.const 16) (call $self_size) (local.get $name) (i32.const 4)
            (local.get $reply) (i32.const 0) (i32.const 1) (i32.const 0))
        (call $data (i32.const 100) (local.get $bytes))
        (drop (call $perform)))
    (func (export "canister_composite_query down")
        (if (i32.eqz (call $arg_size)) (then (call $reply) (return)))
        (call $ask (i32.const 0) (i32.const 0) (i32.sub (call $arg_size) (i32.const 1))))
    (global $left (mut i32) (i32.const 0))
    (func $again (param i32)
        (global.set $left (i32.sub (global.get $left) (i32.const 1)))
        (if (i32.eqz (global.get $left)) (then (call $reply) (return)))
        (call $ask (i32.const 4) (i32.const 2) (i32.const 0)))
    (func (export "canister_composite_query many")
        (global.set $left (call $arg_size))
        (call $ask (i32.const 4) (i32.const 2) (i32.const 0)))
    (func (export "canister_composite_query both")
        (call $ask (i32.const 4) (i32.const 3) (i32.const 0))
        (call $reply))
    (func (export "canister_query leaf")
        (i32.store8 (i32.const 200) (call $certificate))
        (call $append (i32.const 200) (i32.const 1))
        (call $reply)))"#;

/// Limits of the whole graph end the user's query, whatever the callers would do about them.
#[test]
fn graphs_of_composite_queries_are_limited() {
    let mut machine = Machine::new(None);
    let id = machine.create();
    machine.install(id, GRAPH);
    let anonymous = Principal::anonymous();
    let mut ask = |method, size: usize| {
        let answer = machine.replica.query(anonymous, id, method, &vec![0; size]);
        match answer {
            QueryResult::Replied(_) => "replied".to_string(),
            QueryResult::Rejected(reject) => reject.error_code.expect("a code"),
        }
    };
    // A canister may call itself; six may wait for each other, and the seventh must answer at once.
    assert_eq!(ask("down", 0), "replied");
    assert_eq!(ask("down", 6), "replied");
    assert_eq!(ask("down", 7), "IC0525");
    // Each call counts 50 million of five billion.
    assert_eq!(ask("many", 98), "replied");
    assert_eq!(ask("many", 101), "IC0526");
    // Calls of who has answered are not made: the callback would trap.
    assert_eq!(ask("both", 0), "replied");
}

//! Best-effort calls, whose callers wait until a deadline.

use crate::support::{Machine, START_NS};
use candid::Principal;
use replica::{Ingress, IngressStatus};

/// `ask` calls `work` of the canister in its argument and waits ten seconds; it answers the reject's
/// code, or 0. `work` runs for two rounds and counts; `begun` tells the count, `deadline` what a call
/// without one is told.
const CALLER: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "msg_arg_data_size" (func $arg_size (result i32)))
    (import "ic0" "msg_arg_data_copy" (func $arg (param i32 i32 i32)))
    (import "ic0" "msg_reject_code" (func $code (result i32)))
    (import "ic0" "msg_deadline" (func $deadline (result i64)))
    (import "ic0" "call_new" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "ic0" "call_with_best_effort_response" (func $wait (param i32)))
    (import "ic0" "call_perform" (func $perform (result i32)))
    (memory 1)
    (table funcref (elem $told))
    (global $begun (mut i32) (i32.const 0))
    (global $until (mut i64) (i64.const 0))
    (data (i32.const 0) "work")
    (func $tell (param i32)
        (i32.store (i32.const 200) (local.get 0))
        (call $append (i32.const 200) (i32.const 4))
        (call $reply))
    (func $told (param i32) (call $tell (call $code)))
    (func (export "canister_update ask")
        (call $arg (i32.const 16) (i32.const 0) (call $arg_size))
        (call $call (i32.const 16) (call $arg_size) (i32.const 0) (i32.const 4)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
        (call $wait (i32.const 10))
        (drop (call $perform)))
    (func (export "canister_update work")
        (local $i i64)
        (global.set $begun (i32.add (global.get $begun) (i32.const 1)))
        (global.set $until (call $deadline))
        (local.set $i (i64.const 500000000))
        (loop $l
            (local.set $i (i64.sub (local.get $i) (i64.const 1)))
            (br_if $l (i64.ne (local.get $i) (i64.const 0))))
        (call $tell (i32.const 7)))
    (func (export "canister_query begun") (call $tell (global.get $begun)))
    (func (export "canister_query until")
        (i64.store (i32.const 200) (global.get $until))
        (call $append (i32.const 200) (i32.const 8))
        (call $reply)))"#;

struct Calls {
    machine: Machine,
    caller: Principal,
    worker: Principal,
    number: u8,
}

impl Calls {
    fn new() -> Calls {
        let mut machine = Machine::new(None);
        let (caller, worker) = (machine.create(), machine.create());
        machine.install(caller, CALLER);
        machine.install(worker, CALLER);
        Calls {
            machine,
            caller,
            worker,
            number: 0,
        }
    }

    fn submit(&mut self, canister_id: Principal, method: &str, arg: &[u8]) -> [u8; 32] {
        self.number += 1;
        let request_id = [self.number; 32];
        let replica = &mut self.machine.replica;
        let message = Ingress {
            sender: Principal::anonymous(),
            canister_id,
            method_name: method.into(),
            arg: arg.to_vec(),
            ingress_expiry_ns: replica.time_ns() + 200_000_000_000,
            request_id,
            wire_bytes: 200,
        };
        replica.submit(message).expect("accepted");
        request_id
    }

    fn code(&mut self, id: &[u8; 32]) -> Option<u32> {
        match self.machine.replica.ingress_status(id) {
            IngressStatus::Replied(reply) => {
                Some(u32::from_le_bytes(reply.try_into().expect("a word")))
            }
            IngressStatus::Rejected(reject) => panic!("{reject:?}"),
            _ => None,
        }
    }

    fn begun(&mut self) -> u32 {
        let reply = self.machine.query(self.worker, "begun", &[]);
        u32::from_le_bytes(reply.try_into().expect("a word"))
    }
}

#[test]
fn deadlines_are_whole_seconds() {
    let mut calls = Calls::new();
    let (caller, worker) = (calls.caller, calls.worker);
    // Half a second later: the deadline counts from the second before.
    let start = START_NS + 600_500_000_000;
    calls.machine.replica.set_time_ns(start);
    let ask = calls.submit(caller, "ask", worker.as_slice());
    calls.machine.replica.execute_round();
    assert_eq!(calls.code(&ask), None);
    // At the deadline it has not passed: the next whole second is later than it.
    calls
        .machine
        .replica
        .set_time_ns(START_NS + 610_900_000_000);
    for _ in 0..3 {
        calls.machine.replica.execute_round();
    }
    let reply = calls.machine.query(worker, "until", &[]);
    let until = u64::from_le_bytes(reply.try_into().expect("eight bytes"));
    assert_eq!(until, START_NS + 610_000_000_000);
    assert_eq!(calls.code(&ask), Some(0), "answered in its last second");
}

#[test]
fn a_late_call_that_has_not_begun_is_dropped() {
    let mut calls = Calls::new();
    let (caller, worker) = (calls.caller, calls.worker);
    // The worker is busy for some rounds when the call arrives.
    let busy = calls.submit(worker, "work", &[]);
    calls.machine.replica.execute_round();
    assert_eq!(calls.code(&busy), None);
    let ask = calls.submit(caller, "ask", worker.as_slice());
    calls.machine.replica.execute_round();
    calls.machine.replica.advance_ns(11_000_000_000);
    for _ in 0..6 {
        calls.machine.replica.execute_round();
    }
    assert_eq!(calls.code(&ask), Some(6), "the deadline has passed");
    assert_eq!(calls.code(&busy), Some(7));
    assert_eq!(calls.begun(), 1, "the late call never began");

    // One that has begun goes on to its end, and its answer is dropped.
    let ask = calls.submit(caller, "ask", worker.as_slice());
    calls.machine.replica.execute_round();
    calls.machine.replica.advance_ns(11_000_000_000);
    for _ in 0..6 {
        calls.machine.replica.execute_round();
    }
    assert_eq!(calls.code(&ask), Some(6));
    assert_eq!(calls.begun(), 2);
}

//! Cycles that are put aside for storage on a subnet that fills up.

use crate::support::{Machine, settings_of, status};
use candid::{Nat, Principal};
use replica::management::types::{CanisterSettings, UpdateSettings};
use replica::{Reject, ReplicaConfig};

/// `grow` takes 16 MiB of stable memory; `heap` one MiB of heap.
const GROWS: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "stable64_grow" (func $grow (param i64) (result i64)))
    (memory 1)
    (func (export "canister_update grow")
        (drop (call $grow (i64.const 256)))
        (call $reply))
    (func (export "canister_update heap")
        (drop (memory.grow (i32.const 16)))
        (call $reply))
    (func (export "canister_update fail")
        (drop (call $grow (i64.const 256)))
        unreachable))"#;

const MIB: u64 = 1 << 20;

/// A subnet of so many bytes, on which everything above the first few MiB reserves cycles.
fn small_subnet(capacity: u64) -> Machine {
    Machine::with(ReplicaConfig {
        storage: Some((4 * MIB, capacity)),
        ..Machine::config()
    })
}

fn set(machine: &mut Machine, id: Principal, settings: CanisterSettings) -> Result<(), Reject> {
    let update = UpdateSettings {
        canister_id: id,
        settings,
        sender_canister_version: None,
    };
    let answer = machine.manage(Principal::anonymous(), "update_settings", &update);
    answer.map(|_| ())
}

fn limit(cycles: u128) -> CanisterSettings {
    CanisterSettings {
        reserved_cycles_limit: Some(Nat::from(cycles)),
        ..CanisterSettings::default()
    }
}

/// What the IC's formula puts aside when a thread's part of a subnet's storage is used from `from` to
/// `to` bytes: the area under years of payment that grow from nothing to 300 million seconds.
fn expected(from: u64, to: u64, capacity: u64) -> u128 {
    let (threshold, capacity) = (MIB, capacity / 4);
    let all = |used: u64| {
        let above = u128::from(used.min(capacity).saturating_sub(threshold));
        let seconds = 300_000_000 * above / u128::from(capacity - threshold) / 2;
        above * 127_000 * seconds / (1 << 30)
    };
    all(to) - all(from)
}

#[test]
fn growth_above_the_threshold_reserves() {
    let capacity = 4 << 30;
    let mut machine = small_subnet(capacity);
    let id = machine.create();
    machine.install(id, GROWS);
    // A small canister is below the threshold.
    let (_, reserved) = status(&mut machine, id);
    assert_eq!(reserved, 0);

    let used = machine.replica.canister(&id).expect("it").memory_usage();
    let (cycles, _) = status(&mut machine, id);
    machine.call(id, "grow");
    let (left, reserved) = status(&mut machine, id);
    let first = expected(used / 4, used / 4 + 16 * MIB, capacity);
    assert_eq!(reserved, first);
    // What was put aside has left the balance; the rest is a message's price.
    assert!(cycles - left >= reserved && cycles - left < reserved + 100_000_000_000);

    // The next growth costs more, because less is left; also of the heap.
    machine.call(id, "grow");
    let (_, both) = status(&mut machine, id);
    assert!(both - first > first, "{both} {first}");
    machine.call(id, "heap");
    let (_, more) = status(&mut machine, id);
    assert!(more > both);
    // A message that traps puts nothing aside.
    let anonymous = Principal::anonymous();
    let failed = machine.call_as(anonymous, id, "fail", Vec::new());
    assert!(failed.is_err());
    assert_eq!(status(&mut machine, id).1, more);

    // Storage is paid from it first.
    let (cycles, _) = status(&mut machine, id);
    machine.replica.advance_ns(3_600_000_000_000);
    machine.replica.execute_round();
    let (left, rest) = status(&mut machine, id);
    let hour =
        u128::from(machine.replica.canister(&id).expect("it").memory_usage()) * 127_000 * 3600;
    assert_eq!(more - rest, hour >> 30);
    assert!(cycles - left < 100_000_000_000);
}

#[test]
fn the_limit_of_reserved_cycles_stops_growth() {
    let mut machine = small_subnet(1 << 30);
    let id = machine.create();
    machine.install(id, GROWS);
    machine.call(id, "grow");
    let (_, reserved) = status(&mut machine, id);
    assert!(reserved > 0);
    set(&mut machine, id, limit(reserved + 5)).expect("as much as is reserved, and a little");
    assert_eq!(
        settings_of(&mut machine, id).reserved_cycles_limit,
        Nat::from(reserved + 5)
    );
    let anonymous = Principal::anonymous();
    let refused = machine.call_as(anonymous, id, "grow", Vec::new());
    let refused = refused.expect_err("over the limit");
    assert_eq!(refused.error_code.as_deref(), Some("IC0534"));
    let beginning = format!(
        "Error from Canister {id}: Canister cannot grow memory by 16777216 bytes due to its \
         reserved cycles limit. The current limit ("
    );
    assert!(refused.message.starts_with(&beginning), "{refused:?}");
    assert_eq!(status(&mut machine, id).1, reserved);

    // Reserving memory reserves cycles too.
    let allocation = CanisterSettings {
        memory_allocation: Some(Nat::from(64 * MIB)),
        ..CanisterSettings::default()
    };
    let refused = set(&mut machine, id, allocation.clone()).expect_err("over the limit");
    assert_eq!(refused.error_code.as_deref(), Some("IC0533"));
    let refused = set(&mut machine, id, limit(reserved - 1)).expect_err("below what is reserved");
    assert_eq!(refused.error_code.as_deref(), Some("IC0540"));
    set(&mut machine, id, limit(1 << 90)).expect("a high limit");
    set(&mut machine, id, allocation).expect("reserved");
    let (_, all) = status(&mut machine, id);
    assert!(all > reserved);
    // Growth within it reserves nothing more, and ends at it.
    machine.call(id, "grow");
    assert_eq!(status(&mut machine, id).1, all);
    machine.call(id, "grow");
    let refused = machine.call_as(anonymous, id, "grow", Vec::new());
    let refused = refused.expect_err("more than was reserved");
    assert_eq!(refused.error_code.as_deref(), Some("IC0507"));
}

#[test]
fn settings_that_cannot_be_paid_are_refused() {
    let mut machine = Machine::new(None);
    let id = machine.create();
    machine.install(id, GROWS);
    let compute = |percent: u64| CanisterSettings {
        compute_allocation: Some(Nat::from(percent)),
        ..CanisterSettings::default()
    };
    let memory = |bytes: u64| CanisterSettings {
        memory_allocation: Some(Nat::from(bytes)),
        ..CanisterSettings::default()
    };
    let mut refused = |settings| {
        let refused = set(&mut machine, id, settings).expect_err("it cannot be paid");
        refused.error_code.expect("a code")
    };
    // A core for a month costs 2,592 T cycles, a GiB 0.3 T; the canister has 100 T.
    assert_eq!(refused(compute(100)), "IC0530");
    assert_eq!(refused(memory(400 << 30)), "IC0531");
    assert_eq!(refused(memory(100)), "IC0402");
    // Half of the four threads can be reserved, but for one percent.
    machine.replica.top_up(&id, 10_000_000_000_000_000);
    set(&mut machine, id, compute(100)).expect("paid");
    let other = machine.create();
    machine.replica.top_up(&other, 10_000_000_000_000_000);
    let refused = set(&mut machine, other, compute(100)).expect_err("all is reserved");
    assert_eq!(refused.error_code.as_deref(), Some("IC0101"));
    set(&mut machine, other, compute(99)).expect("what is left");
}

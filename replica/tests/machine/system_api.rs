//! System API functions that the measured cases call without looking at what they answer.

use crate::support::Machine;
use candid::{Nat, Principal};
use replica::management::types::{CanisterSettings, EnvironmentVariable, UpdateSettings};

/// Answers three words of 128 bits: what `cost_call` says of a call with a name of four bytes and an
/// argument of seven, what the balance was lowered by making it, and what creating a canister costs.
const COSTS: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "canister_cycle_balance128" (func $balance (param i32)))
    (import "ic0" "canister_liquid_cycle_balance128" (func $liquid (param i32)))
    (import "ic0" "cost_call" (func $cost_call (param i64 i64 i32)))
    (import "ic0" "cost_create_canister" (func $cost_create (param i32)))
    (import "ic0" "canister_self_copy" (func $self (param i32 i32 i32)))
    (import "ic0" "call_new" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "ic0" "call_data_append" (func $data (param i32 i32)))
    (import "ic0" "call_perform" (func $perform (result i32)))
    (memory 1)
    (table funcref (elem $told))
    (data (i32.const 0) "work")
    (func $told (param i32))
    (func (export "canister_update work") (call $reply))
    (func (export "canister_update costs")
        (call $cost_call (i64.const 4) (i64.const 7) (i32.const 100))
        (call $balance (i32.const 200))
        (call $self (i32.const 300) (i32.const 0) (i32.const 10))
        (call $call (i32.const 300) (i32.const 10) (i32.const 0) (i32.const 4)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
        (call $data (i32.const 0) (i32.const 7))
        (drop (call $perform))
        (call $balance (i32.const 216))
        (call $cost_create (i32.const 232))
        (call $liquid (i32.const 248))
        (call $append (i32.const 100) (i32.const 16))
        (call $append (i32.const 200) (i32.const 64))
        (call $reply)))"#;

fn words(bytes: &[u8]) -> Vec<u128> {
    bytes
        .chunks_exact(16)
        .map(|word| u128::from_le_bytes(word.try_into().expect("sixteen bytes")))
        .collect()
}

#[test]
fn costs_are_what_is_taken() {
    let mut machine = Machine::new(None);
    let id = machine.create();
    machine.install(id, COSTS);
    let reply = machine.call(id, "costs");
    let [said, before, after, create, liquid] = words(&reply)[..] else {
        panic!("{reply:?}");
    };
    assert_eq!(said, before - after);
    assert_eq!(create, 500_000_000_000);
    // What is free stays above the freezing limit.
    let canister = machine.replica.canister(&id).expect("it");
    let day = u128::from(canister.memory_usage()) * 127_000 * 86_400 / (1 << 30);
    assert_eq!(after - liquid, day * 30);
}

/// Answers what the System API says of the environment variables: how many, the first one's name and
/// its value, and whether there is one called `no`.
const VARIABLES: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "env_var_count" (func $count (result i32)))
    (import "ic0" "env_var_name_size" (func $name_size (param i32) (result i32)))
    (import "ic0" "env_var_name_copy" (func $name (param i32 i32 i32 i32)))
    (import "ic0" "env_var_name_exists" (func $exists (param i32 i32) (result i32)))
    (import "ic0" "env_var_value_size" (func $value_size (param i32 i32) (result i32)))
    (import "ic0" "env_var_value_copy" (func $value (param i32 i32 i32 i32 i32)))
    (import "ic0" "msg_caller_info_data_size" (func $info (result i32)))
    (import "ic0" "msg_caller_info_signer_size" (func $signer (result i32)))
    (import "ic0" "subnet_self_node_count" (func $nodes (result i32)))
    (memory 1)
    (data (i32.const 50) "no")
    (func (export "canister_query look")
        (local $size i32)
        (i32.store8 (i32.const 0) (call $count))
        (i32.store8 (i32.const 1) (call $exists (i32.const 50) (i32.const 2)))
        (i32.store8 (i32.const 2) (call $info))
        (i32.store8 (i32.const 3) (call $signer))
        (i32.store8 (i32.const 4) (call $nodes))
        (call $append (i32.const 0) (i32.const 5))
        (local.set $size (call $name_size (i32.const 0)))
        (call $name (i32.const 0) (i32.const 100) (i32.const 0) (local.get $size))
        (call $append (i32.const 100) (local.get $size))
        (call $value (i32.const 100) (local.get $size) (i32.const 200) (i32.const 0)
            (call $value_size (i32.const 100) (local.get $size)))
        (call $append (i32.const 200) (call $value_size (i32.const 100) (local.get $size)))
        (call $reply))
    (func (export "canister_query beyond") (drop (call $name_size (i32.const 2))))
    (func (export "canister_query unknown")
        (drop (call $value_size (i32.const 50) (i32.const 2)))))"#;

#[test]
fn environment_variables_are_those_of_the_settings() {
    let mut machine = Machine::new(None);
    let id = machine.create();
    machine.install(id, VARIABLES);
    let variable = |name: &str, value: &str| EnvironmentVariable {
        name: name.into(),
        value: value.into(),
    };
    let mut set = |variables: Vec<EnvironmentVariable>| {
        let update = UpdateSettings {
            canister_id: id,
            settings: CanisterSettings {
                environment_variables: Some(variables),
                ..CanisterSettings::default()
            },
            sender_canister_version: None,
        };
        let answer = machine.manage(Principal::anonymous(), "update_settings", &update);
        answer.map(|_| ()).map_err(|reject| reject.message)
    };
    let long = "x".repeat(129);
    let refused = set(vec![variable("a", &long)]).expect_err("too long");
    assert!(refused.starts_with("Environment variable value too long"));
    let refused = set(vec![variable(&long, "a")]).expect_err("too long");
    assert!(refused.starts_with("Environment variable name too long"));
    let many = (0..21).map(|n| variable(&n.to_string(), "a")).collect();
    let refused = set(many).expect_err("too many");
    assert_eq!(refused, "Too many environment variables: 21 (max: 20)");
    set(vec![variable("two", "second"), variable("one", "first")]).expect("set");
    let mut expected = vec![2, 0, 0, 0, 13];
    expected.extend(b"onefirst");
    assert_eq!(machine.query(id, "look", &[]), expected);
    for (method, text) in [
        (
            "beyond",
            "Environment variable index 2 is out of bounds. The number of environment variables is 2.",
        ),
        ("unknown", "Environment variable no not found."),
    ] {
        let anonymous = Principal::anonymous();
        match machine.replica.query(anonymous, id, method, &[]) {
            replica::QueryResult::Rejected(reject) => {
                assert_eq!(reject.error_code.as_deref(), Some("IC0504"));
                assert!(reject.message.contains(text), "{reject:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The low-memory hook counts how often it ran.
const HOOK: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (memory 1)
    (global $ran (mut i32) (i32.const 0))
    (func (export "canister_on_low_wasm_memory")
        (global.set $ran (i32.add (global.get $ran) (i32.const 1))))
    (func (export "canister_update grow")
        (drop (memory.grow (i32.const 16)))
        (call $reply))
    (func (export "canister_query ran")
        (i32.store (i32.const 0) (global.get $ran))
        (call $append (i32.const 0) (i32.const 4))
        (call $reply)))"#;

/// It runs once when less is left below the limit than the threshold, and again only after there was
/// more in between.
#[test]
fn the_low_memory_hook_runs_once() {
    const MIB: u64 = 1 << 20;
    let mut machine = Machine::new(None);
    let id = machine.create();
    machine.install(id, HOOK);
    let set = |machine: &mut Machine, limit: u64| {
        let update = UpdateSettings {
            canister_id: id,
            settings: CanisterSettings {
                wasm_memory_limit: Some(Nat::from(limit)),
                wasm_memory_threshold: Some(Nat::from(2 * MIB)),
                ..CanisterSettings::default()
            },
            sender_canister_version: None,
        };
        let answer = machine.manage(Principal::anonymous(), "update_settings", &update);
        answer.expect("set");
    };
    let mut steps = Vec::new();
    set(&mut machine, 4 * MIB + 65_536);
    for limit in [0, 0, 0, 8 * MIB, 0, 0, 0] {
        if limit > 0 {
            set(&mut machine, limit);
        } else {
            machine.call(id, "grow");
        }
        machine.replica.execute_round();
        steps.push(machine.query(id, "ran", &[])[0]);
    }
    // 1 and 2 MiB leave enough of four; 3 do not. Of eight, 4 and 5 leave enough, 6 (and a page) do
    // not: what is left must be less than the threshold.
    assert_eq!(steps, [0, 0, 1, 1, 1, 1, 2]);
}

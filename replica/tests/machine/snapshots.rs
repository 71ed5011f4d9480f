//! Snapshots of canisters.

use crate::support::{Machine, stranger};
use candid::Principal;
use replica::management::types::{
    CanisterIdRecord, CanisterInfoArgs, LoadSnapshot, SnapshotArgs, SnapshotInfo, SnapshotRef,
};
use replica::state::history::ChangeDetails;

/// Counts in a global, in the heap and in stable memory; certifies the count.
const COUNTER: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "certified_data_set" (func $certify (param i32 i32)))
    (import "ic0" "stable64_grow" (func $grow (param i64) (result i64)))
    (import "ic0" "stable64_read" (func $read (param i64 i64 i64)))
    (import "ic0" "stable64_write" (func $write (param i64 i64 i64)))
    (memory 2)
    (global $n (mut i32) (i32.const 0))
    (func (export "canister_init") (drop (call $grow (i64.const 1))))
    (func (export "canister_update inc")
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.store (i32.const 70000) (global.get $n))
        (call $write (i64.const 9000) (i64.const 70000) (i64.const 4))
        (call $certify (i32.const 70000) (i32.const 4))
        (call $reply))
    (func (export "canister_query get")
        (i32.store (i32.const 0) (global.get $n))
        (call $append (i32.const 0) (i32.const 4))
        (call $append (i32.const 70000) (i32.const 4))
        (call $read (i64.const 0) (i64.const 9000) (i64.const 4))
        (call $append (i32.const 0) (i32.const 4))
        (call $reply)))"#;

fn take(machine: &mut Machine, id: Principal, replace: Option<&[u8]>) -> SnapshotInfo {
    let args = SnapshotArgs {
        canister_id: id,
        replace_snapshot: replace.map(|id| id.to_vec().into()),
        uninstall_code: None,
        sender_canister_version: None,
    };
    let reply = machine.manage(Principal::anonymous(), "take_canister_snapshot", &args);
    candid::decode_one(&reply.expect("a snapshot")).expect("decodes")
}

fn load(machine: &mut Machine, canister_id: Principal, snapshot_id: &[u8]) -> Result<(), String> {
    let args = LoadSnapshot {
        canister_id,
        snapshot_id: snapshot_id.to_vec(),
        sender_canister_version: None,
    };
    let anonymous = Principal::anonymous();
    let answer = machine.manage(anonymous, "load_canister_snapshot", &args);
    answer.map(|_| ()).map_err(|reject| {
        format!(
            "{} {}",
            reject.error_code.unwrap_or_default(),
            reject.message
        )
    })
}

fn list(machine: &mut Machine, canister_id: Principal) -> Vec<Vec<u8>> {
    let args = CanisterIdRecord { canister_id };
    let anonymous = Principal::anonymous();
    let reply = machine.manage(anonymous, "list_canister_snapshots", &args);
    let list: Vec<SnapshotInfo> = candid::decode_one(&reply.expect("a list")).expect("decodes");
    list.into_iter().map(|info| info.id).collect()
}

fn count(machine: &mut Machine, id: Principal) -> u32 {
    let reply = machine.query(id, "get", &[]);
    let words: Vec<u32> = reply
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")))
        .collect();
    assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
    words[0]
}

#[test]
fn a_snapshot_brings_everything_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut machine = Machine::new(Some(dir.path()));
    let id = machine.create();
    machine.install(id, COUNTER);
    machine.call(id, "inc");
    machine.call(id, "inc");
    let certified = machine
        .replica
        .canister_info(&id)
        .expect("it")
        .certified_data;
    let snapshot = take(&mut machine, id, None);
    assert!(snapshot.total_size > 2 * 65_536 + 65_536);
    machine.call(id, "inc");
    assert_eq!(count(&mut machine, id), 3);

    // It outlives a restart, and can be loaded again and again.
    let mut machine = machine.restart(dir.path());
    assert_eq!(list(&mut machine, id), vec![snapshot.id.clone()]);
    for _ in 0..2 {
        let version = machine.replica.canister(&id).expect("it").version;
        load(&mut machine, id, &snapshot.id).expect("loaded");
        assert_eq!(count(&mut machine, id), 2);
        let canister = machine.replica.canister(&id).expect("it");
        assert_eq!(canister.version, version + 1);
        assert_eq!(canister.certified_data, certified);
        machine.call(id, "inc");
        assert_eq!(count(&mut machine, id), 3);
    }

    // Another canister of the same controller may get it.
    let other = machine.create();
    load(&mut machine, other, &snapshot.id).expect("loaded");
    assert_eq!(count(&mut machine, other), 2);
    let history = &machine.replica.canister(&other).expect("it").history;
    let last = history.latest(1).pop().expect("a change");
    let ChangeDetails::load_snapshot {
        from_canister_id, ..
    } = last.details
    else {
        panic!("{last:?}");
    };
    assert_eq!(from_canister_id, Some(id));

    // An old one makes room for a new one.
    let newer = take(&mut machine, id, Some(&snapshot.id));
    assert_eq!(list(&mut machine, id), vec![newer.id.clone()]);
    let gone = load(&mut machine, id, &snapshot.id).expect_err("it is gone");
    assert!(gone.starts_with("IC0305"), "{gone}");
    let args = SnapshotRef {
        canister_id: id,
        snapshot_id: newer.id,
    };
    let anonymous = Principal::anonymous();
    machine
        .manage(anonymous, "delete_canister_snapshot", &args)
        .expect("deleted");
    assert!(list(&mut machine, id).is_empty());
}

#[test]
fn snapshots_are_limited_and_for_controllers() {
    let mut machine = Machine::new(None);
    let id = machine.create();
    let empty = SnapshotArgs {
        canister_id: id,
        replace_snapshot: None,
        uninstall_code: None,
        sender_canister_version: None,
    };
    let anonymous = Principal::anonymous();
    let method = "take_canister_snapshot";
    let refused = machine.manage(anonymous, method, &empty);
    let refused = refused.expect_err("there is nothing in it");
    assert_eq!(refused.error_code.as_deref(), Some("IC0406"));
    machine.install(id, COUNTER);
    let refused = machine.manage(stranger(), method, &empty);
    let refused = refused.expect_err("not a controller");
    assert_eq!(refused.error_code.as_deref(), Some("IC0512"));
    for _ in 0..10 {
        take(&mut machine, id, None);
    }
    let refused = machine.manage(anonymous, method, &empty);
    let refused = refused.expect_err("too many");
    assert!(refused.message.contains("maximum number"), "{refused:?}");
    let snapshots = list(&mut machine, id);
    assert_eq!(snapshots.len(), 10);

    // Taken and uninstalled in one go.
    let args = SnapshotArgs {
        replace_snapshot: Some(snapshots[0].clone().into()),
        uninstall_code: Some(true),
        ..empty
    };
    machine.manage(anonymous, method, &args).expect("taken");
    assert!(machine.replica.canister(&id).expect("it").code.is_none());
    let last = list(&mut machine, id).pop().expect("the newest");
    load(&mut machine, id, &last).expect("loaded");
    assert_eq!(count(&mut machine, id), 0);
}

#[test]
fn the_history_tells_who_changed_what() {
    let mut machine = Machine::new(None);
    let id = machine.create();
    machine.install(id, COUNTER);
    let args = CanisterInfoArgs {
        canister_id: id,
        num_requested_changes: Some(1),
    };
    // Only canisters may ask.
    let anonymous = Principal::anonymous();
    assert!(machine.manage(anonymous, "canister_info", &args).is_err());
    let history = &machine.replica.canister(&id).expect("it").history;
    assert_eq!(history.total(), 2);
    let changes = history.latest(20);
    assert!(matches!(changes[0].details, ChangeDetails::creation { .. }));
    assert!(matches!(
        changes[1].details,
        ChangeDetails::code_deployment { .. }
    ));
}

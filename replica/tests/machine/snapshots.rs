//! Snapshots of canisters.

use crate::support::{Machine, START_NS, stranger};
use candid::Principal;
use replica::management::types::*;
use replica::replicated_state::history::{ChangeDetails, SnapshotSource};

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

fn metadata(machine: &mut Machine, canister_id: Principal, snapshot_id: &[u8]) -> SnapshotMetadata {
    let args = SnapshotRef {
        canister_id,
        snapshot_id: snapshot_id.to_vec(),
    };
    let method = "read_canister_snapshot_metadata";
    let reply = machine.manage(Principal::anonymous(), method, &args);
    candid::decode_one(&reply.expect("metadata")).expect("decodes")
}

fn read(
    machine: &mut Machine,
    canister_id: Principal,
    id: &[u8],
    kind: SnapshotPart,
) -> Result<Vec<u8>, String> {
    let args = ReadSnapshotData {
        canister_id,
        snapshot_id: id.to_vec(),
        kind,
    };
    let method = "read_canister_snapshot_data";
    let reply = machine.manage(Principal::anonymous(), method, &args);
    let reply = reply.map_err(|reject| reject.error_code.unwrap_or_default())?;
    let data: SnapshotData = candid::decode_one(&reply).expect("decodes");
    Ok(data.chunk)
}

fn write(
    machine: &mut Machine,
    canister_id: Principal,
    id: &[u8],
    kind: SnapshotPlace,
    chunk: Vec<u8>,
) -> Result<(), String> {
    let args = UploadSnapshotData {
        canister_id,
        snapshot_id: id.to_vec(),
        kind,
        chunk,
    };
    let method = "upload_canister_snapshot_data";
    let answer = machine.manage(Principal::anonymous(), method, &args);
    answer
        .map(|_| ())
        .map_err(|reject| reject.error_code.unwrap_or_default())
}

/// All that a snapshot holds, read in pieces, makes another one on another canister, which is the
/// same when it is loaded; also when the replica is started anew in between.
#[test]
fn a_snapshot_can_be_read_and_uploaded() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut machine = Machine::new(Some(dir.path()));
    let id = machine.create();
    machine.install(id, COUNTER);
    for _ in 0..3 {
        machine.call(id, "inc");
    }
    let chunk = UploadChunk {
        canister_id: id,
        chunk: b"a chunk".to_vec(),
    };
    let anonymous = Principal::anonymous();
    machine
        .manage(anonymous, "upload_chunk", &chunk)
        .expect("stored");
    let original = take(&mut machine, id, None).id;
    let about = metadata(&mut machine, id, &original);
    assert_eq!(about.source, SnapshotSource::taken_from_canister);
    assert_eq!(about.globals, [SnapshotGlobal::i32(3)]);
    assert_eq!(about.wasm_memory_size, 2 * 65_536);
    assert_eq!(about.stable_memory_size, 65_536);
    assert_eq!(about.certified_data, 3u32.to_le_bytes());
    assert_eq!(about.global_timer, Some(GlobalTimer::inactive));
    assert_eq!(about.wasm_chunk_store.len(), 1);
    // Nothing beyond the end, not too much at once, and nothing of it can be changed.
    let beyond = SnapshotPart::wasm_memory {
        offset: 65_536,
        size: 65_537,
    };
    assert_eq!(
        read(&mut machine, id, &original, beyond),
        Err("IC0408".into())
    );
    let much = SnapshotPart::stable_memory {
        offset: 0,
        size: 2_000_001,
    };
    assert_eq!(
        read(&mut machine, id, &original, much),
        Err("IC0408".into())
    );
    let place = SnapshotPlace::wasm_memory { offset: 0 };
    let refused = write(&mut machine, id, &original, place, vec![1]);
    assert_eq!(refused, Err("IC0409".into()));

    let other = machine.create();
    let upload = UploadSnapshotMetadata {
        canister_id: other,
        replace_snapshot: None,
        wasm_module_size: about.wasm_module_size,
        globals: about.globals,
        wasm_memory_size: about.wasm_memory_size,
        stable_memory_size: about.stable_memory_size,
        certified_data: about.certified_data,
        global_timer: Some(GlobalTimer::active(START_NS * 2)),
        on_low_wasm_memory_hook_status: about.on_low_wasm_memory_hook_status,
    };
    let method = "upload_canister_snapshot_metadata";
    let reply = machine.manage(anonymous, method, &upload);
    let made: UploadedSnapshot = candid::decode_one(&reply.expect("made")).expect("decodes");
    let copy = made.snapshot_id;
    // Before the module is there it cannot be loaded.
    let early = load(&mut machine, other, &copy).expect_err("no module yet");
    assert!(early.starts_with("IC0505"), "{early}");

    let half = about.wasm_module_size / 2;
    for (offset, size) in [(0, half), (half, about.wasm_module_size - half)] {
        let part = SnapshotPart::wasm_module { offset, size };
        let bytes = read(&mut machine, id, &original, part).expect("read");
        let place = SnapshotPlace::wasm_module { offset };
        write(&mut machine, other, &copy, place, bytes).expect("written");
        machine = machine.restart(dir.path());
    }
    for offset in [0, 65_536] {
        let size = 65_536;
        let part = SnapshotPart::wasm_memory { offset, size };
        let bytes = read(&mut machine, id, &original, part).expect("read");
        let place = SnapshotPlace::wasm_memory { offset };
        write(&mut machine, other, &copy, place, bytes).expect("written");
    }
    let size = about.stable_memory_size;
    let part = SnapshotPart::stable_memory { offset: 0, size };
    let bytes = read(&mut machine, id, &original, part).expect("read");
    let place = SnapshotPlace::stable_memory { offset: 1 };
    let refused = write(&mut machine, other, &copy, place, bytes.clone());
    assert_eq!(refused, Err("IC0408".into()), "one byte too many");
    let place = SnapshotPlace::stable_memory { offset: 0 };
    write(&mut machine, other, &copy, place, bytes).expect("written");
    let part = SnapshotPart::wasm_chunk {
        hash: about.wasm_chunk_store[0].hash.clone(),
    };
    let bytes = read(&mut machine, id, &original, part).expect("read");
    assert_eq!(bytes, b"a chunk");
    write(&mut machine, other, &copy, SnapshotPlace::wasm_chunk, bytes).expect("written");

    let mut machine = machine.restart(dir.path());
    let again = metadata(&mut machine, other, &copy);
    assert_eq!(again.source, SnapshotSource::metadata_upload);
    assert_eq!(
        again.wasm_chunk_store[0].hash,
        about.wasm_chunk_store[0].hash
    );
    load(&mut machine, other, &copy).expect("loaded");
    assert_eq!(count(&mut machine, other), 3);
    machine.call(other, "inc");
    assert_eq!(count(&mut machine, other), 4);
    let canister = machine.replica.canister(&other).expect("it");
    assert_eq!(canister.timer, Some(START_NS * 2));
    assert_eq!(canister.chunks.len(), 1);
    // Somebody else sees nothing, unless the snapshots are public.
    let reference = SnapshotRef {
        canister_id: other,
        snapshot_id: copy,
    };
    let method = "read_canister_snapshot_metadata";
    let refused = machine.manage(stranger(), method, &reference);
    let refused = refused.expect_err("not a controller");
    assert_eq!(refused.error_code.as_deref(), Some("IC0512"));
    let public = UpdateSettings {
        canister_id: other,
        settings: CanisterSettings {
            snapshot_visibility: Some(LogVisibility::public),
            ..CanisterSettings::default()
        },
        sender_canister_version: None,
    };
    machine
        .manage(anonymous, "update_settings", &public)
        .expect("set");
    machine
        .manage(stranger(), method, &reference)
        .expect("public");
}

/// A canister asks for another's history.
#[test]
fn canisters_are_told_the_latest_changes() {
    const ASKER: &str = r#"(module
        (import "ic0" "msg_reply" (func $reply))
        (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
        (import "ic0" "msg_arg_data_size" (func $arg_size (result i32)))
        (import "ic0" "msg_arg_data_copy" (func $arg (param i32 i32 i32)))
        (import "ic0" "call_new" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32)))
        (import "ic0" "call_data_append" (func $data (param i32 i32)))
        (import "ic0" "call_perform" (func $perform (result i32)))
        (memory 1)
        (table funcref (elem $told))
        (data (i32.const 0) "canister_info")
        (func $told (param i32)
            (call $arg (i32.const 100) (i32.const 0) (call $arg_size))
            (call $append (i32.const 100) (call $arg_size))
            (call $reply))
        (func (export "canister_update ask")
            (call $arg (i32.const 100) (i32.const 0) (call $arg_size))
            (call $call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 13)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
            (call $data (i32.const 100) (call $arg_size))
            (drop (call $perform))))"#;
    let mut machine = Machine::new(None);
    let (asker, id) = (machine.create(), machine.create());
    machine.install(asker, ASKER);
    machine.install(id, COUNTER);
    let snapshot = take(&mut machine, id, None);
    load(&mut machine, id, &snapshot.id).expect("loaded");
    let mut ask = |changes| {
        let args = CanisterInfoArgs {
            canister_id: id,
            num_requested_changes: changes,
        };
        let arg = candid::encode_one(args).expect("encodes");
        let reply = machine.call_as(stranger(), asker, "ask", arg);
        candid::decode_one::<CanisterInfoResult>(&reply.expect("a reply")).expect("decodes")
    };
    let info = ask(None);
    assert_eq!((info.total_num_changes, info.recent_changes.len()), (3, 0));
    assert_eq!(info.controllers, [Principal::anonymous()]);
    let changes = ask(Some(2)).recent_changes;
    assert!(matches!(
        changes[0].details,
        ChangeDetails::code_deployment { .. }
    ));
    assert!(matches!(
        &changes[1].details,
        ChangeDetails::load_snapshot { snapshot_id, .. } if *snapshot_id == snapshot.id
    ));
    assert_eq!(ask(Some(20)).recent_changes.len(), 3);
}

//! What of a subnet is in the `state` file.

use crate::log::Log;
use crate::management::call;
use crate::replicated_state::calls::DelayedAnswer;
use crate::replicated_state::figures::{Consumed, Totals};
use crate::replicated_state::history::{History, SnapshotSource};
use crate::replicated_state::paused::Restart;
use crate::replicated_state::settings::Settings;
use crate::replicated_state::status::{FirstInRound, LowMemoryHook, Status};
use crate::replicated_state::{CallContext, Callback, Origin, Queues};
use crate::runtime::instance::GlobalValue;
use crate::types::{Ingress, IngressStatus, Owner};
use candid::Principal;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet, VecDeque};

/// A canister's code.
#[derive(Serialize, Deserialize)]
pub(super) struct CodeRecord {
    pub module: [u8; 32],
    pub heap_file: u64,
    pub heap_size: u64,
    pub globals: Vec<Option<GlobalValue>>,
}

/// A canister.
#[derive(Serialize, Deserialize)]
pub(super) struct CanisterRecord<'a> {
    pub id: Principal,
    pub settings: Cow<'a, Settings>,
    pub cycles: u128,
    pub reserved: u128,
    pub consumed: Consumed,
    pub status: Cow<'a, Status>,
    pub contexts: Cow<'a, BTreeMap<u64, CallContext>>,
    pub callbacks: Cow<'a, BTreeMap<u64, Callback>>,
    pub next_id: u64,
    pub queues: Cow<'a, Queues>,
    pub timer: Option<u64>,
    pub low_memory: LowMemoryHook,
    pub first: FirstInRound,
    pub version: u64,
    pub certified_data: Cow<'a, [u8]>,
    pub code: Option<CodeRecord>,
    pub stable_file: u64,
    pub stable_pages: u64,
    pub log: Cow<'a, Log>,
    pub chunks: Vec<[u8; 32]>,
    pub heap_delta_debit: u64,
    pub install_debit: u64,
    pub priority: i64,
    pub priority_credit: i64,
    pub installing_rounds: u64,
    pub totals: Totals,
    pub last_charge_ns: u64,
    pub created_ns: u64,
    pub restart: Option<Cow<'a, Restart>>,
    pub snapshots: Vec<SnapshotRecord>,
    pub next_snapshot: u64,
    pub history: Cow<'a, History>,
    pub query_counters: [u64; 4],
}

/// A snapshot of a canister.
#[derive(Serialize, Deserialize)]
pub(super) struct SnapshotRecord {
    pub id: Vec<u8>,
    pub taken_ns: u64,
    pub version: u64,
    pub source: SnapshotSource,
    pub module: ModuleRecord,
    pub heap_file: u64,
    pub heap_size: u64,
    pub globals: Vec<Option<GlobalValue>>,
    pub stable_file: u64,
    pub stable_pages: u64,
    pub certified_data: Vec<u8>,
    pub chunks: Vec<[u8; 32]>,
    pub timer: Option<Option<u64>>,
    pub low_memory: Option<LowMemoryHook>,
}

/// The code in a snapshot.
#[derive(Serialize, Deserialize)]
pub(super) enum ModuleRecord {
    /// In a file of its own, by its hash.
    Kept([u8; 32]),
    /// Uploaded so far.
    Uploaded(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// A user's message.
#[derive(Serialize, Deserialize)]
pub(super) struct IngressRecord<'a> {
    pub id: [u8; 32],
    pub status: Cow<'a, IngressStatus>,
    pub since_ns: u64,
    pub owner: Option<Owner>,
}

/// The subnet.
#[derive(Serialize, Deserialize)]
pub(super) struct ReplicaRecord<'a> {
    pub next_file: u64,
    pub next_canister: u64,
    pub time_ns: u64,
    pub last_round_ns: u64,
    pub last_charge_ns: u64,
    pub rounds: u64,
    pub pending: Cow<'a, [Ingress]>,
    pub ingress: Vec<IngressRecord<'a>>,
    pub subnet_queue: Cow<'a, VecDeque<call::Call>>,
    pub random_requests: Cow<'a, [Origin]>,
    pub delayed: Cow<'a, [DelayedAnswer]>,
    pub compiled: Cow<'a, HashSet<[u8; 32]>>,
    pub install_instructions: u64,
    pub canisters: Vec<CanisterRecord<'a>>,
}

//! Arguments and results of the management canister's methods.

use crate::replicated_state::history::{Change, SnapshotSource};
use candid::{CandidType, Deserialize, Nat, Principal};

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct CanisterIdRecord {
    pub canister_id: Principal,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct UninstallCode {
    pub canister_id: Principal,
    pub sender_canister_version: Option<u64>,
}

#[derive(CandidType, Deserialize, Clone, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum LogVisibility {
    controllers,
    public,
    allowed_viewers(Vec<Principal>),
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct EnvironmentVariable {
    pub name: String,
    pub value: String,
}

#[derive(CandidType, Deserialize, Clone, Debug, Default)]
pub struct CanisterSettings {
    pub controllers: Option<Vec<Principal>>,
    pub compute_allocation: Option<Nat>,
    pub memory_allocation: Option<Nat>,
    pub freezing_threshold: Option<Nat>,
    pub reserved_cycles_limit: Option<Nat>,
    pub log_visibility: Option<LogVisibility>,
    pub snapshot_visibility: Option<LogVisibility>,
    pub status_visibility: Option<LogVisibility>,
    pub log_memory_limit: Option<Nat>,
    pub minimum_incoming_canister_call_cycles: Option<Nat>,
    pub wasm_memory_limit: Option<Nat>,
    pub wasm_memory_threshold: Option<Nat>,
    pub environment_variables: Option<Vec<EnvironmentVariable>>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct DefiniteSettings {
    pub controllers: Vec<Principal>,
    pub compute_allocation: Nat,
    pub memory_allocation: Nat,
    pub freezing_threshold: Nat,
    pub reserved_cycles_limit: Nat,
    pub log_visibility: LogVisibility,
    pub snapshot_visibility: LogVisibility,
    pub status_visibility: LogVisibility,
    pub log_memory_limit: Nat,
    pub minimum_incoming_canister_call_cycles: Nat,
    pub wasm_memory_limit: Nat,
    pub wasm_memory_threshold: Nat,
    pub environment_variables: Vec<EnvironmentVariable>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct CreateCanister {
    pub settings: Option<CanisterSettings>,
    pub sender_canister_version: Option<u64>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct ProvisionalCreate {
    pub amount: Option<Nat>,
    pub settings: Option<CanisterSettings>,
    pub specified_id: Option<Principal>,
    pub sender_canister_version: Option<u64>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct ProvisionalTopUp {
    pub canister_id: Principal,
    pub amount: Nat,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct UpdateSettings {
    pub canister_id: Principal,
    pub settings: CanisterSettings,
    pub sender_canister_version: Option<u64>,
}

#[derive(CandidType, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum MemoryPersistence {
    keep,
    replace,
}

#[derive(CandidType, Deserialize, Clone, Copy, Debug)]
pub struct UpgradeOptions {
    pub skip_pre_upgrade: Option<bool>,
    pub wasm_memory_persistence: Option<MemoryPersistence>,
}

#[derive(CandidType, Deserialize, Clone, Copy, Debug)]
#[allow(non_camel_case_types)]
pub enum InstallMode {
    install,
    reinstall,
    upgrade(Option<UpgradeOptions>),
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct InstallCode {
    pub mode: InstallMode,
    pub canister_id: Principal,
    #[serde(with = "serde_bytes")]
    pub wasm_module: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub arg: Vec<u8>,
    pub sender_canister_version: Option<u64>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct ChunkHash {
    #[serde(with = "serde_bytes")]
    pub hash: Vec<u8>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct InstallChunkedCode {
    pub mode: InstallMode,
    pub target_canister: Principal,
    pub store_canister: Option<Principal>,
    pub chunk_hashes_list: Vec<ChunkHash>,
    #[serde(with = "serde_bytes")]
    pub wasm_module_hash: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub arg: Vec<u8>,
    pub sender_canister_version: Option<u64>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct UploadChunk {
    pub canister_id: Principal,
    #[serde(with = "serde_bytes")]
    pub chunk: Vec<u8>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
#[allow(non_camel_case_types)]
pub enum StatusKind {
    running,
    stopping,
    stopped,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct MemoryMetrics {
    pub wasm_memory_size: Nat,
    pub stable_memory_size: Nat,
    pub global_memory_size: Nat,
    pub wasm_binary_size: Nat,
    pub custom_sections_size: Nat,
    pub canister_history_size: Nat,
    pub wasm_chunk_store_size: Nat,
    pub log_memory_store_size: Nat,
    pub snapshots_size: Nat,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct QueryStats {
    pub num_calls_total: Nat,
    pub num_instructions_total: Nat,
    pub request_payload_bytes_total: Nat,
    pub response_payload_bytes_total: Nat,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct CanisterStatus {
    pub status: StatusKind,
    pub ready_for_migration: bool,
    pub version: u64,
    pub settings: DefiniteSettings,
    pub module_hash: Option<serde_bytes::ByteBuf>,
    pub memory_size: Nat,
    pub memory_metrics: MemoryMetrics,
    pub cycles: Nat,
    pub reserved_cycles: Nat,
    pub idle_cycles_burned_per_day: Nat,
    pub query_stats: QueryStats,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct CanisterInfoArgs {
    pub canister_id: Principal,
    pub num_requested_changes: Option<u64>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct CanisterInfoResult {
    pub total_num_changes: u64,
    pub recent_changes: Vec<Change>,
    pub module_hash: Option<serde_bytes::ByteBuf>,
    pub controllers: Vec<Principal>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct LogEntry {
    pub idx: u64,
    pub timestamp_nanos: u64,
    #[serde(with = "serde_bytes")]
    pub content: Vec<u8>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct Logs {
    pub canister_log_records: Vec<LogEntry>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct SnapshotArgs {
    pub canister_id: Principal,
    pub replace_snapshot: Option<serde_bytes::ByteBuf>,
    pub uninstall_code: Option<bool>,
    pub sender_canister_version: Option<u64>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct SnapshotRef {
    pub canister_id: Principal,
    #[serde(with = "serde_bytes")]
    pub snapshot_id: Vec<u8>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct LoadSnapshot {
    pub canister_id: Principal,
    #[serde(with = "serde_bytes")]
    pub snapshot_id: Vec<u8>,
    pub sender_canister_version: Option<u64>,
}

/// A global of a snapshot; floating-point numbers keep their bits.
#[derive(CandidType, Deserialize, Clone, Debug, PartialEq)]
#[allow(non_camel_case_types)]
pub enum SnapshotGlobal {
    i32(i32),
    i64(i64),
    f32(f32),
    f64(f64),
    v128(Nat),
}

#[derive(CandidType, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum GlobalTimer {
    inactive,
    active(u64),
}

#[derive(CandidType, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum HookStatus {
    condition_not_satisfied,
    ready,
    executed,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct SnapshotMetadata {
    pub source: SnapshotSource,
    pub taken_at_timestamp: u64,
    pub wasm_module_size: u64,
    pub globals: Vec<SnapshotGlobal>,
    pub wasm_memory_size: u64,
    pub stable_memory_size: u64,
    pub wasm_chunk_store: Vec<ChunkHash>,
    pub canister_version: u64,
    #[serde(with = "serde_bytes")]
    pub certified_data: Vec<u8>,
    pub global_timer: Option<GlobalTimer>,
    pub on_low_wasm_memory_hook_status: Option<HookStatus>,
}

/// A part of a snapshot: of its module or memories, or a chunk of its chunk store.
#[derive(CandidType, Deserialize, Clone, Debug)]
#[allow(non_camel_case_types)]
pub enum SnapshotPart {
    wasm_module {
        offset: u64,
        size: u64,
    },
    wasm_memory {
        offset: u64,
        size: u64,
    },
    stable_memory {
        offset: u64,
        size: u64,
    },
    wasm_chunk {
        #[serde(with = "serde_bytes")]
        hash: Vec<u8>,
    },
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct ReadSnapshotData {
    pub canister_id: Principal,
    #[serde(with = "serde_bytes")]
    pub snapshot_id: Vec<u8>,
    pub kind: SnapshotPart,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct SnapshotData {
    #[serde(with = "serde_bytes")]
    pub chunk: Vec<u8>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct UploadSnapshotMetadata {
    pub canister_id: Principal,
    pub replace_snapshot: Option<serde_bytes::ByteBuf>,
    pub wasm_module_size: u64,
    pub globals: Vec<SnapshotGlobal>,
    pub wasm_memory_size: u64,
    pub stable_memory_size: u64,
    #[serde(with = "serde_bytes")]
    pub certified_data: Vec<u8>,
    pub global_timer: Option<GlobalTimer>,
    pub on_low_wasm_memory_hook_status: Option<HookStatus>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct UploadedSnapshot {
    #[serde(with = "serde_bytes")]
    pub snapshot_id: Vec<u8>,
}

/// Where data of a snapshot goes.
#[derive(CandidType, Deserialize, Clone, Debug)]
#[allow(non_camel_case_types)]
pub enum SnapshotPlace {
    wasm_module { offset: u64 },
    wasm_memory { offset: u64 },
    stable_memory { offset: u64 },
    wasm_chunk,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct UploadSnapshotData {
    pub canister_id: Principal,
    #[serde(with = "serde_bytes")]
    pub snapshot_id: Vec<u8>,
    pub kind: SnapshotPlace,
    #[serde(with = "serde_bytes")]
    pub chunk: Vec<u8>,
}

#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct SnapshotInfo {
    #[serde(with = "serde_bytes")]
    pub id: Vec<u8>,
    pub taken_at_timestamp: u64,
    pub total_size: u64,
}

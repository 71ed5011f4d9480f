//! Settings, access, accounts, the log and the status.

use crate::{Error, ModelStatus, limits};
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};

/// Who may generate. Controllers always may, banned callers never.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Controllers only.
    Controllers,
    /// Callers whose role is [`Role::Allowed`].
    AllowList,
    /// Everyone but the anonymous caller.
    SignedIn,
    /// Everyone.
    Anyone,
}

/// The canister's settings.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Instruction budget of a slice, all overhead included: 1,000,000 to
    /// [`limits::MESSAGE_INSTRUCTIONS`].
    pub round_instructions: u64,
    /// Longest context of a generation, prompt and answer together (tokens); at least 2.
    pub max_context_tokens: u32,
    /// Most generations that may wait or run at the same time: 1 to 10,000.
    pub max_generations: u32,
    /// Longest answer (tokens); at least 1.
    pub max_output_tokens: u32,
    /// Who may generate.
    pub access: Access,
    /// Tokens that a caller may use per day (UTC); 0: no limit.
    pub tokens_per_day: u64,
    /// Tokens of a caller's generations that have not ended; 0: no limit.
    pub tokens_in_flight: u64,
    /// Generations of a caller that have not ended; 0: no limit.
    pub generations_per_caller: u32,
    /// Chats of a caller; 0: no limit.
    pub chats_per_caller: u32,
    /// A controller's share of the work, as a multiple of another caller's: 1 to 100.
    pub controller_weight: u32,
    /// Largest KV cache (bytes).
    pub max_kv_bytes: u64,
    /// Largest stable memory in all (bytes).
    pub max_stable_bytes: u64,
    /// Cycles above the freezing threshold below which work stops.
    pub min_cycles: u128,
    /// Price of a million tokens for calling canisters (cycles); 0: free.
    pub cycles_per_million_tokens: u128,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            round_instructions: limits::SLICE_INSTRUCTIONS,
            max_context_tokens: 8_192,
            max_generations: 64,
            max_output_tokens: 8_192,
            access: Access::Anyone,
            tokens_per_day: 0,
            tokens_in_flight: 0,
            generations_per_caller: 0,
            chats_per_caller: 1_000,
            controller_weight: 4,
            max_kv_bytes: 16 << 30,
            max_stable_bytes: 200 << 30,
            min_cycles: 200_000_000_000,
            cycles_per_million_tokens: 0,
        }
    }
}

/// Argument of `set_config`: the settings to change; `None` leaves one as it is.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigPatch {
    /// See [`Config::round_instructions`].
    pub round_instructions: Option<u64>,
    /// See [`Config::max_context_tokens`].
    pub max_context_tokens: Option<u32>,
    /// See [`Config::max_generations`].
    pub max_generations: Option<u32>,
    /// See [`Config::max_output_tokens`].
    pub max_output_tokens: Option<u32>,
    /// See [`Config::access`].
    pub access: Option<Access>,
    /// See [`Config::tokens_per_day`].
    pub tokens_per_day: Option<u64>,
    /// See [`Config::tokens_in_flight`].
    pub tokens_in_flight: Option<u64>,
    /// See [`Config::generations_per_caller`].
    pub generations_per_caller: Option<u32>,
    /// See [`Config::chats_per_caller`].
    pub chats_per_caller: Option<u32>,
    /// See [`Config::controller_weight`].
    pub controller_weight: Option<u32>,
    /// See [`Config::max_kv_bytes`].
    pub max_kv_bytes: Option<u64>,
    /// See [`Config::max_stable_bytes`].
    pub max_stable_bytes: Option<u64>,
    /// See [`Config::min_cycles`].
    pub min_cycles: Option<u128>,
    /// See [`Config::cycles_per_million_tokens`].
    pub cycles_per_million_tokens: Option<u128>,
}

/// What a controller has decided about a caller.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    /// Nothing: [`Config::access`] decides.
    Ordinary,
    /// May generate while [`Config::access`] is [`Access::AllowList`].
    Allowed,
    /// May not generate.
    Banned,
}

/// A caller's new role.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AccessChange {
    /// The caller.
    pub principal: Principal,
    /// Its role from now on.
    pub role: Role,
}

/// What the caller has used of its quotas.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AccountInfo {
    /// Why the caller may not generate now; `None` if it may.
    pub may_generate: Option<Error>,
    /// Tokens used today (UTC).
    pub tokens_today: u64,
    /// Tokens of its generations that have not ended.
    pub tokens_in_flight: u64,
    /// Its generations that have not ended.
    pub generations: u32,
    /// Its chats.
    pub chats: u32,
    /// When `tokens_today` returns to 0 (nanoseconds since 1970).
    pub resets_ns: u64,
}

/// How much a line of the log matters.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// For information.
    Info,
    /// Something unusual.
    Warning,
    /// Something failed.
    Error,
}

/// A line of the log.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number.
    pub number: u64,
    /// When it was written (nanoseconds since 1970).
    pub time_ns: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// The controller whose call it is about.
    pub by: Option<Principal>,
    /// What happened.
    pub text: String,
}

/// Counts since the canister was installed.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Prompt tokens computed.
    pub prompt_tokens: u64,
    /// Prompt tokens taken from the cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Instructions of prompts.
    pub prompt_instructions: u64,
    /// Instructions of generated tokens.
    pub generate_instructions: u64,
    /// Instructions of loading models.
    pub model_instructions: u64,
    /// Instructions of slices besides their work.
    pub overhead_instructions: u64,
    /// Generations that ended well.
    pub generations_finished: u64,
    /// Generations that failed or were cancelled.
    pub generations_failed: u64,
    /// Slices that trapped or were not delivered.
    pub rounds_lost: u64,
    /// Chats whose cached blocks were dropped to make room.
    pub evictions: u64,
}

/// The KV cache.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus {
    /// Size of one block, 64 positions (bytes), of the default model.
    pub block_bytes: u64,
    /// Blocks in use.
    pub blocks_used: u32,
    /// Blocks that are allocated and free.
    pub blocks_free: u32,
    /// Complete blocks that another prompt with the same beginning can reuse.
    pub shareable_blocks: u64,
    /// Chats whose blocks are cached between two turns.
    pub cached_chats: u64,
}

/// Size of a region of stable memory.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RegionBytes {
    /// Name of the region.
    pub region: String,
    /// Its size (bytes).
    pub bytes: u64,
}

/// The canister at a glance.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Version of the layout of stable memory.
    pub layout: u32,
    /// The model that the alias `default` means.
    pub model: ModelStatus,
    /// The settings.
    pub config: Config,
    /// Generations that wait or run.
    pub generations_running: u32,
    /// Why no work is done now; `None` if work is done.
    pub paused: Option<String>,
    /// Slices that have ended.
    pub rounds: u64,
    /// Most instructions of any message so far.
    pub max_message_instructions: u64,
    /// Size of the heap (bytes).
    pub heap_bytes: u64,
    /// Size of stable memory (bytes).
    pub stable_bytes: u64,
    /// Sizes of the regions of stable memory.
    pub regions: Vec<RegionBytes>,
    /// The KV cache.
    pub cache: CacheStatus,
    /// Chats of all callers.
    pub chats: u64,
    /// Counts since the canister was installed.
    pub totals: Totals,
    /// Cycles.
    pub cycles: u128,
    /// Cycles above the freezing threshold.
    pub liquid_cycles: u128,
    /// Days until these are used up if no work is done.
    pub days_left: u64,
}

//! Settings, access, accounts, the log and the status.

use crate::{Error, ModelStatus, limits};
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Controllers,
    AllowList,
    SignedIn,
    Anyone,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub round_instructions: u64,
    pub max_context_tokens: u32,
    pub max_generations: u32,
    pub max_output_tokens: u32,
    pub access: Access,
    pub tokens_per_day: u64,
    pub tokens_in_flight: u64,
    pub generations_per_caller: u32,
    pub chats_per_caller: u32,
    pub controller_weight: u32,
    pub max_kv_bytes: u64,
    pub max_stable_bytes: u64,
    pub min_cycles: u128,
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

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigPatch {
    pub round_instructions: Option<u64>,
    pub max_context_tokens: Option<u32>,
    pub max_generations: Option<u32>,
    pub max_output_tokens: Option<u32>,
    pub access: Option<Access>,
    pub tokens_per_day: Option<u64>,
    pub tokens_in_flight: Option<u64>,
    pub generations_per_caller: Option<u32>,
    pub chats_per_caller: Option<u32>,
    pub controller_weight: Option<u32>,
    pub max_kv_bytes: Option<u64>,
    pub max_stable_bytes: Option<u64>,
    pub min_cycles: Option<u128>,
    pub cycles_per_million_tokens: Option<u128>,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Ordinary,
    Allowed,
    Banned,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AccessChange {
    pub principal: Principal,
    pub role: Role,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AccountInfo {
    pub may_generate: Option<Error>,
    pub tokens_today: u64,
    pub tokens_in_flight: u64,
    pub generations: u32,
    pub chats: u32,
    pub resets_ns: u64,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Info,
    Warning,
    Error,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub number: u64,
    pub time_ns: u64,
    pub level: LogLevel,
    pub by: Option<Principal>,
    pub text: String,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    pub generated_tokens: u64,
    pub prompt_instructions: u64,
    pub generate_instructions: u64,
    pub model_instructions: u64,
    pub overhead_instructions: u64,
    pub generations_finished: u64,
    pub generations_failed: u64,
    pub rounds_lost: u64,
    pub evictions: u64,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    pub block_bytes: u64,
    pub blocks_used: u32,
    pub blocks_free: u32,
    pub shareable_blocks: u64,
    pub cached_chats: u64,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RegionBytes {
    pub region: String,
    pub bytes: u64,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub version: String,
    pub layout: u32,
    pub model: ModelStatus,
    pub config: Config,
    pub generations_running: u32,
    pub paused: Option<String>,
    pub rounds: u64,
    pub max_message_instructions: u64,
    pub heap_bytes: u64,
    pub stable_bytes: u64,
    pub regions: Vec<RegionBytes>,
    pub cache: CacheStatus,
    pub chats: u64,
    pub totals: Totals,
    pub cycles: u128,
    pub liquid_cycles: u128,
    pub days_left: u64,
}

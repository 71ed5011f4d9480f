//! The types of `llm.did`.

use candid::{CandidType, Nat, Principal};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Every way a call can be refused. `llm.did` says what each means.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum Error {
    Unauthorized(String),
    InvalidArgument(String),
    NotFound(String),
    WrongPhase {
        phase: String,
        hint: String,
    },
    WrongChunk {
        index: u32,
        reason: String,
    },
    MissingChunks {
        first: Vec<u32>,
        count: u32,
    },
    HashMismatch {
        expected: ByteBuf,
        actual: ByteBuf,
    },
    InvalidModel(String),
    UnsupportedModel(String),
    PromptTooLong {
        prompt_tokens: u32,
        max_prompt_tokens: u32,
    },
    BudgetTooSmall {
        round_instructions: u64,
        needed: u64,
    },
    Busy(String),
    OutOfMemory(String),
    RoundFailed(String),
    Cancelled,
    Stopping {
        id: u64,
    },
    QuotaExceeded {
        what: String,
        limit: u64,
        used: u64,
        resets_ns: Option<u64>,
    },
    LowCycles(String),
    PaymentRequired {
        required: u128,
        attached: u128,
    },
}

impl From<engine::Error> for Error {
    fn from(e: engine::Error) -> Self {
        match e {
            engine::Error::Weights(weights::Error::Unsupported(m)) => Self::UnsupportedModel(m),
            engine::Error::Weights(e) => Self::InvalidModel(e.to_string()),
            engine::Error::OutOfMemory { .. } => Self::OutOfMemory(e.to_string()),
            engine::Error::PromptTooLong {
                prompt_tokens,
                max_prompt_tokens,
            } => Self::PromptTooLong {
                prompt_tokens: prompt_tokens as u32,
                max_prompt_tokens: max_prompt_tokens as u32,
            },
            engine::Error::InvalidArgument(m) => Self::InvalidArgument(m),
            engine::Error::BudgetTooSmall { budget, needed } => Self::BudgetTooSmall {
                round_instructions: budget,
                needed,
            },
        }
    }
}

impl From<weights::Error> for Error {
    fn from(e: weights::Error) -> Self {
        engine::Error::from(e).into()
    }
}

#[derive(CandidType, Deserialize)]
pub struct Manifest {
    pub name: String,
    pub size: u64,
    pub chunk_size: u32,
    pub sha256: ByteBuf,
    pub checksums: Vec<u64>,
}

/// A chunk whose bytes stay where the message has them.
#[derive(CandidType, Deserialize)]
pub struct Chunk<'a> {
    pub index: u32,
    #[serde(borrow)]
    pub data: &'a serde_bytes::Bytes,
}

#[derive(CandidType, Deserialize)]
pub struct Range {
    pub start: u32,
    pub end: u32,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Empty,
    Uploading,
    Verifying,
    Preparing,
    Restoring,
    Ready,
    Failed,
    Stored,
}

impl Phase {
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

#[derive(CandidType, Deserialize)]
pub struct ModelStatus {
    pub phase: Phase,
    pub done: u64,
    pub total: u64,
    pub error: Option<Error>,
    pub manifest: Option<ManifestSummary>,
    pub info: Option<ModelInfo>,
}

/// A model of the library.
#[derive(CandidType, Deserialize)]
pub struct ModelEntry {
    pub sha256: ByteBuf,
    pub status: ModelStatus,
    pub aliases: Vec<String>,
    pub generations: u32,
    pub stable_bytes: u64,
    pub heap_bytes: u64,
    pub cache_pages: u32,
}

#[derive(CandidType, Deserialize)]
pub struct AliasEntry {
    pub alias: String,
    pub model_sha256: ByteBuf,
    pub next_sha256: Option<ByteBuf>,
    pub previous_sha256: Vec<ByteBuf>,
}

#[derive(CandidType, Deserialize)]
pub struct Models {
    pub models: Vec<ModelEntry>,
    pub aliases: Vec<AliasEntry>,
    pub shelves_free: u32,
}

#[derive(CandidType, Deserialize)]
pub struct AliasSet {
    pub alias: String,
    pub model: String,
}

#[derive(CandidType, Deserialize)]
pub struct ModelDelete {
    pub model: String,
    pub force: bool,
}

#[derive(CandidType, Deserialize)]
pub struct ManifestSummary {
    pub name: String,
    pub size: u64,
    pub chunk_size: u32,
    pub sha256: ByteBuf,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default)]
pub struct ModelInfo {
    pub architecture: String,
    pub parameters: u64,
    pub layers: u32,
    pub context_length: u32,
    pub vocabulary: u32,
    pub packed_bytes: u64,
    pub page_bytes: u64,
    pub verify_instructions: u64,
    pub prepare_instructions: u64,
    pub restore_instructions: u64,
}

/// Who may generate.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Controllers,
    AllowList,
    SignedIn,
    Anyone,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq)]
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
            round_instructions: 1_900_000_000,
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

#[derive(CandidType, Deserialize, Default)]
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

/// What a controller has said of a principal.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Ordinary,
    Allowed,
    Banned,
}

#[derive(CandidType, Deserialize)]
pub struct AccessChange {
    pub principal: Principal,
    pub role: Role,
}

#[derive(CandidType, Deserialize)]
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

#[derive(CandidType, Serialize, Deserialize, Clone, Debug)]
pub struct LogEntry {
    pub number: u64,
    pub time_ns: u64,
    pub level: LogLevel,
    pub by: Option<Principal>,
    pub text: String,
}

/// Counts since the canister was installed.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default)]
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

#[derive(CandidType, Deserialize)]
pub struct CacheStatus {
    pub page_bytes: u64,
    pub pages_used: u32,
    pub pages_free: u32,
    pub shareable_pages: u64,
    pub resting_chats: u64,
}

#[derive(CandidType, Deserialize)]
pub struct RegionBytes {
    pub region: String,
    pub bytes: u64,
}

#[derive(CandidType, Deserialize)]
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
    pub cycles: Nat,
    pub liquid_cycles: Nat,
    pub days_left: u64,
}

#[derive(CandidType, Deserialize)]
pub struct Message {
    pub role: String,
    pub content: String,
}

#[derive(CandidType, Deserialize)]
pub enum Input {
    Prompt(String),
    Chat(Vec<Message>),
}

#[derive(CandidType, Deserialize, Default)]
pub struct Options {
    pub max_tokens: Option<u32>,
    pub temperature: Option<f32>,
    pub top_k: Option<u32>,
    pub top_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub stop: Option<Vec<String>>,
    pub seed: Option<u64>,
}

#[derive(CandidType, Deserialize)]
pub struct GenerateArgs {
    pub input: Input,
    pub options: Option<Options>,
    pub model: Option<String>,
    pub tools: Option<Vec<String>>,
}

#[derive(CandidType, Deserialize)]
pub struct Started {
    pub id: u64,
    pub prompt_tokens: u32,
    pub seed: u64,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    EndOfText,
    MaxTokens,
    Stop,
    ContextFull,
}

#[derive(CandidType, Deserialize)]
pub enum GenerationState {
    Waiting,
    Prefilling,
    Generating,
    Finished(Finish),
    Failed(Error),
}

#[derive(CandidType, Deserialize)]
pub struct ViewArgs {
    pub id: u64,
    pub from_byte: u32,
    pub from_token: u32,
}

#[derive(CandidType, Deserialize)]
pub struct Generation {
    pub id: u64,
    pub state: GenerationState,
    pub text: String,
    pub token_ids: Vec<u32>,
    pub next_byte: u32,
    pub next_token: u32,
    pub prompt_tokens: u32,
    pub prompt_tokens_done: u32,
    pub generated_tokens: u32,
    pub seed: u64,
    pub rounds: u32,
    pub prompt_instructions: u64,
    pub generate_instructions: u64,
    pub max_message_instructions: u64,
    pub cached_tokens: u32,
    pub chat: Option<u64>,
    pub queue: Option<QueuePlace>,
    pub recent_rounds: Vec<RoundFigures>,
    pub model_sha256: ByteBuf,
}

#[derive(CandidType, Deserialize)]
pub struct QueuePlace {
    pub position: u32,
    pub wait_instructions: u64,
    pub wait_rounds: u32,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug)]
pub struct RoundFigures {
    pub instructions: u64,
    pub budget: u64,
    pub tokens: u32,
}

#[derive(CandidType, Deserialize)]
pub struct Answer {
    pub text: String,
    pub id: u64,
    pub prompt_tokens: u32,
    pub generated_tokens: u32,
    pub instructions: u64,
    pub seed: u64,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    #[default]
    Error,
    Slide,
}

#[derive(CandidType, Deserialize)]
pub struct ChatInfo {
    pub id: u64,
    pub title: String,
    pub created_ns: u64,
    pub updated_ns: u64,
    pub turns: u32,
    pub context_tokens: u32,
    pub cached_tokens: u32,
    pub overflow: Overflow,
    pub running: Option<u64>,
}

#[derive(CandidType, Deserialize)]
pub struct ChatTurn {
    pub role: String,
    pub content: String,
    pub generation: Option<u64>,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    pub generated_tokens: u32,
    pub instructions: u64,
    pub rounds: u32,
    pub seed: u64,
    pub finish: Option<GenerationState>,
    pub model_sha256: ByteBuf,
}

#[derive(CandidType, Deserialize)]
pub struct ChatCreateArgs {
    pub title: Option<String>,
    pub system: Option<String>,
    pub overflow: Option<Overflow>,
}

#[derive(CandidType, Deserialize)]
pub struct ChatSendArgs {
    pub chat: u64,
    pub content: String,
    pub options: Option<Options>,
    pub model: Option<String>,
    pub replace_from: Option<u32>,
}

#[derive(CandidType, Deserialize)]
pub struct ChatHistoryArgs {
    pub chat: u64,
    pub from: u32,
    pub limit: u32,
}

#[derive(CandidType, Deserialize)]
pub struct ChatHistory {
    pub info: ChatInfo,
    pub turns: Vec<ChatTurn>,
}

#[derive(CandidType, Deserialize)]
pub struct ChatListArgs {
    pub before: Option<u64>,
    pub limit: u32,
}

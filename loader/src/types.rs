//! The canister's Candid types, as `canister/llm.did` has them. A test compares the two.

use candid::{CandidType, Nat, Principal};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fmt;

/// Why the canister refused or failed.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
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
        required: Nat,
        attached: Nat,
    },
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Unauthorized(why) => write!(f, "not allowed: {why}"),
            Self::InvalidArgument(why) => write!(f, "invalid argument: {why}"),
            Self::NotFound(what) => write!(f, "not found: {what}"),
            Self::WrongPhase { phase, hint } => write!(f, "the model is {phase}: {hint}"),
            Self::WrongChunk { index, reason } => write!(f, "chunk {index} was refused: {reason}"),
            Self::MissingChunks { first, count } => {
                write!(f, "{count} chunks are missing")?;
                first
                    .first()
                    .map_or(Ok(()), |index| write!(f, ", the first is {index}"))
            }
            Self::HashMismatch { expected, actual } => {
                let (expected, actual) = (hex::encode(expected), hex::encode(actual));
                write!(
                    f,
                    "the stored file has sha256 {actual}, announced was {expected}"
                )
            }
            Self::InvalidModel(why) => write!(f, "not a well-formed GGUF file: {why}"),
            Self::UnsupportedModel(why) => write!(f, "this model cannot be run: {why}"),
            Self::PromptTooLong {
                prompt_tokens,
                max_prompt_tokens,
            } => {
                write!(
                    f,
                    "the prompt has {prompt_tokens} tokens, at most {max_prompt_tokens} fit"
                )
            }
            Self::BudgetTooSmall {
                round_instructions,
                needed,
            } => write!(
                f,
                "a round has {round_instructions} instructions, one piece of work needs {needed}"
            ),
            Self::Busy(why) => write!(f, "busy: {why}"),
            Self::OutOfMemory(why) => write!(f, "out of memory: {why}"),
            Self::RoundFailed(why) => write!(f, "a round failed again and again: {why}"),
            Self::Cancelled => write!(f, "cancelled"),
            Self::Stopping { id } => {
                write!(f, "the canister is stopping; generation {id} goes on later")
            }
            Self::QuotaExceeded {
                what, limit, used, ..
            } => write!(f, "quota exceeded: {used} {what} of {limit}"),
            Self::LowCycles(why) => write!(f, "too few cycles: {why}"),
            Self::PaymentRequired { required, attached } => {
                write!(f, "{required} cycles are to be attached, not {attached}")
            }
        }
    }
}

/// `variant { Ok : T; Err : Error }`.
pub type Outcome<T> = std::result::Result<T, Error>;

/// `variant { Ok; Err : Error }`. A Rust `Result<(), _>` would be `Ok : null`, the same in Candid.
pub type Done = Outcome<()>;

/// What an upload announces.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub name: String,
    /// Bytes of the whole file.
    pub size: u64,
    /// Bytes of each chunk but the last.
    pub chunk_size: u32,
    /// SHA-256 of the whole file.
    pub sha256: ByteBuf,
    /// XXH64 (seed 0) of each chunk, in order.
    pub checksums: Vec<u64>,
}

/// Chunk indices from `start` up to, not including, `end`.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub start: u32,
    pub end: u32,
}

/// One chunk on its way.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub index: u32,
    pub data: ByteBuf,
}

/// What the canister's model is doing.
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

/// What is known of the uploaded file.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    pub name: String,
    pub size: u64,
    pub chunk_size: u32,
    pub sha256: ByteBuf,
}

/// What is known of a model that is ready.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    pub architecture: String,
    pub parameters: u64,
    pub layers: u32,
    pub context_length: u32,
    pub vocabulary: u32,
    pub packed_bytes: u64,
    /// Bytes of 64 positions of its KV cache.
    pub page_bytes: u64,
    /// Instructions.
    pub verify_instructions: u64,
    /// Instructions.
    pub prepare_instructions: u64,
    /// Instructions.
    pub restore_instructions: u64,
}

/// Phase and progress of the model.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelStatus {
    pub phase: Phase,
    /// Bytes done in this phase.
    pub done: u64,
    /// Bytes to do in this phase.
    pub total: u64,
    pub error: Option<Error>,
    pub manifest: Option<FileInfo>,
    pub info: Option<ModelInfo>,
}

/// A model of the library.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    pub sha256: ByteBuf,
    pub status: ModelStatus,
    /// Those that mean it now.
    pub aliases: Vec<String>,
    /// Generations that wait or run on it.
    pub generations: u32,
    pub stable_bytes: u64,
    pub heap_bytes: u64,
    pub cache_pages: u32,
}

/// A name under which callers ask for a model.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AliasEntry {
    pub alias: String,
    pub model_sha256: ByteBuf,
    /// What it is to mean as soon as that is ready.
    pub next_sha256: Option<ByteBuf>,
    /// What it meant before, the last at the end.
    pub previous_sha256: Vec<ByteBuf>,
}

/// The library.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Models {
    pub models: Vec<ModelEntry>,
    pub aliases: Vec<AliasEntry>,
    pub shelves_free: u32,
}

/// Argument of `alias_set`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AliasSet {
    pub alias: String,
    /// An alias, a file's name, or at least 8 digits of its SHA-256.
    pub model: String,
}

/// Argument of `model_delete`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelDelete {
    pub model: String,
    pub force: bool,
}

/// Who may generate.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Controllers,
    AllowList,
    SignedIn,
    Anyone,
}

/// The canister's settings; `llm.did` says what each means.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Instructions of one round.
    pub round_instructions: u64,
    /// Tokens.
    pub max_context_tokens: u32,
    pub max_generations: u32,
    /// Tokens.
    pub max_output_tokens: u32,
    pub access: Access,
    pub tokens_per_day: u64,
    pub tokens_in_flight: u64,
    pub generations_per_caller: u32,
    pub chats_per_caller: u32,
    pub controller_weight: u32,
    pub max_kv_bytes: u64,
    pub max_stable_bytes: u64,
    pub min_cycles: Nat,
    pub cycles_per_million_tokens: Nat,
}

/// Settings to change; `None` leaves one as it is.
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
    pub min_cycles: Option<Nat>,
    pub cycles_per_million_tokens: Option<Nat>,
}

/// What a controller says of a principal.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Ordinary,
    Allowed,
    Banned,
}

/// A principal's new role.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessChange {
    pub principal: Principal,
    pub role: Role,
}

/// What the caller has used of its quota.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AccountInfo {
    /// Why it may not generate now.
    pub may_generate: Option<Error>,
    pub tokens_today: u64,
    pub tokens_in_flight: u64,
    pub generations: u32,
    pub chats: u32,
    /// Nanoseconds since 1970.
    pub resets_ns: u64,
}

/// How much a log line matters.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Info,
    Warning,
    Error,
}

/// A line of the log.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub number: u64,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    pub level: LogLevel,
    pub by: Option<Principal>,
    pub text: String,
}

/// Counts since the canister was installed.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
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

/// Pages of the KV cache, of 64 positions each.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    pub page_bytes: u64,
    pub pages_used: u32,
    pub pages_free: u32,
    pub shareable_pages: u64,
    pub resting_chats: u64,
}

/// A region of stable memory.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RegionBytes {
    pub region: String,
    pub bytes: u64,
}

/// The canister at a glance.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub version: String,
    /// Version of the layout of stable memory.
    pub layout: u32,
    pub model: ModelStatus,
    pub config: Config,
    pub generations_running: u32,
    /// Why no work is done now.
    pub paused: Option<String>,
    pub rounds: u64,
    /// Instructions.
    pub max_message_instructions: u64,
    pub heap_bytes: u64,
    pub stable_bytes: u64,
    pub regions: Vec<RegionBytes>,
    pub cache: CacheStatus,
    pub chats: u64,
    pub totals: Totals,
    pub cycles: Nat,
    /// Cycles above the freezing threshold.
    pub liquid_cycles: Nat,
    pub days_left: u64,
}

/// One turn of a conversation; `role` is system, user or assistant.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// What to generate from.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Text as it is.
    Prompt(String),
    /// A conversation, rendered by the model's own template.
    Chat(Vec<Message>),
}

/// How to generate; `None` is the canister's default.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub max_tokens: Option<u32>,
    pub temperature: Option<f32>,
    pub top_k: Option<u32>,
    pub top_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub stop: Option<Vec<String>>,
    pub seed: Option<u64>,
}

/// Argument of `generate`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct GenerateRequest {
    pub input: Input,
    pub options: Option<Options>,
    /// As in `alias_set`; the default one without it.
    pub model: Option<String>,
    /// Functions that the model may ask for, each a JSON object; for chats.
    pub tools: Option<Vec<String>>,
}

/// A generation that was started.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    pub id: u64,
    pub prompt_tokens: u32,
    pub seed: u64,
}

/// Why a generation ended well.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    EndOfText,
    MaxTokens,
    Stop,
    ContextFull,
}

/// How far a generation is.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum GenerationState {
    Waiting,
    Prefilling,
    Generating,
    Finished(Finish),
    Failed(Error),
}

impl GenerationState {
    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Failed(_))
    }
}

/// Argument of `generation`: what is wanted is new from these positions on.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationRequest {
    pub id: u64,
    pub from_byte: u32,
    pub from_token: u32,
}

/// What a generation has produced so far.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
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
    /// Instructions.
    pub prompt_instructions: u64,
    /// Instructions.
    pub generate_instructions: u64,
    /// Instructions.
    pub max_message_instructions: u64,
    /// Prompt tokens that needed not be read again.
    pub cached_tokens: u32,
    /// The chat it answers in.
    pub chat: Option<u64>,
    /// While it waits for its first round.
    pub queue: Option<QueuePlace>,
    /// Its last rounds, oldest first.
    pub recent_rounds: Vec<RoundFigures>,
    pub model_sha256: ByteBuf,
}

/// How long a generation has to wait for its first round, at most.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePlace {
    /// Generations that come before.
    pub position: u32,
    /// Instructions.
    pub wait_instructions: u64,
    pub wait_rounds: u32,
}

/// One round of a generation.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundFigures {
    /// Instructions used.
    pub instructions: u64,
    /// Instructions it might have used.
    pub budget: u64,
    /// Tokens drawn.
    pub tokens: u32,
}

/// Reply of the one-call `prompt`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub id: u64,
    pub prompt_tokens: u32,
    pub generated_tokens: u32,
    pub instructions: u64,
    pub seed: u64,
}

/// What happens when a chat outgrows the context.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// An error.
    #[default]
    Error,
    /// The oldest turns are not read any more.
    Slide,
}

/// A chat at a glance.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
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

/// A turn of a chat, as its history has it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ChatTurn {
    pub role: String,
    pub content: String,
    pub generation: Option<u64>,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    pub generated_tokens: u32,
    /// Instructions.
    pub instructions: u64,
    pub rounds: u32,
    pub seed: u64,
    /// `None` while it runs, and for turns that are no answers.
    pub finish: Option<GenerationState>,
    pub model_sha256: ByteBuf,
}

/// Argument of `chat_create`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatCreate {
    pub title: Option<String>,
    pub system: Option<String>,
    pub overflow: Option<Overflow>,
}

/// Argument of `chat_send`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ChatSend {
    pub chat: u64,
    pub content: String,
    pub options: Option<Options>,
    /// As in `alias_set`; the default one without it.
    pub model: Option<String>,
    /// This turn and all later ones are dropped first.
    pub replace_from: Option<u32>,
}

/// Argument of `chat_history`.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatHistoryRequest {
    pub chat: u64,
    pub from: u32,
    pub limit: u32,
}

/// Turns of a chat.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ChatHistory {
    pub info: ChatInfo,
    pub turns: Vec<ChatTurn>,
}

/// Argument of `chat_list`.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatListRequest {
    pub before: Option<u64>,
    pub limit: u32,
}

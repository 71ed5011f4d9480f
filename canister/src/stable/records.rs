//! Every type that is stored, in the version that is written today. Conversions to and from the types
//! of the public interface are in [`crate::state::convert`], those of the engine in
//! [`crate::generations::engine_state`].
//!
//! To change a type, follow "When a stored type must change" in CONTRIBUTING: the order of fields and
//! variants is the format.

use super::codec::stored;
use super::ids::{ChatId, GenerationId, ModelSlot, Sha256};
use candid::Principal;
use ic_stable_structures::Storable;
use ic_stable_structures::storable::Bound;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Version of the stable layout that this program writes.
pub(crate) const LAYOUT: u32 = 1;

/// What the canister knows of itself.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Control {
    /// Version of the stable layout.
    pub layout: u32,
    /// [`engine::VERSION`] of the packed weights and of the KV blocks.
    pub engine: u32,
    pub config: Config,
    pub aliases: Vec<Alias>,
    /// The slice that was sent and has not ended.
    pub in_flight: Option<InFlight>,
    pub next_sequence: u64,
    pub next_generation: u64,
    pub next_chat: u64,
    /// The generation that ran last.
    pub last_scheduled: GenerationId,
    /// Slices that have ended.
    pub slices: u64,
    pub max_message_instructions: u64,
    /// From the IC's randomness; seeds of generations are derived from it.
    pub entropy: Option<[u8; 32]>,
    pub seeds_drawn: u64,
    /// Counts uses of chats, to find the least recently used.
    pub chat_uses: u64,
    /// Instructions served to the caller that was served last (see [`crate::state::queue`]).
    pub served: u64,
    pub totals: Totals,
    /// Why no work is done now.
    pub paused: Option<String>,
    /// While an older layout is converted: generations up to this one are.
    pub migrated: GenerationId,
}

impl Control {
    /// Returns what a canister begins with.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            layout: LAYOUT,
            engine: engine::VERSION,
            config,
            aliases: Vec::new(),
            in_flight: None,
            next_sequence: 1,
            next_generation: 1,
            next_chat: 1,
            last_scheduled: GenerationId(0),
            slices: 0,
            max_message_instructions: 0,
            entropy: None,
            seeds_drawn: 0,
            chat_uses: 0,
            served: 0,
            totals: Totals::default(),
            paused: None,
            migrated: GenerationId(0),
        }
    }
}

/// Settings. [`interface::Config`] says what each means.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
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

/// Who may generate.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Controllers,
    AllowList,
    SignedIn,
    Anyone,
}

/// Counts since the canister was installed.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    pub slices_lost: u64,
    pub evictions: u64,
}

/// A name under which callers ask for a model.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alias {
    pub name: String,
    /// The model that callers get.
    pub model: Sha256,
    /// The model that takes its place as soon as it is ready.
    pub next: Option<Sha256>,
    /// Models before, the last at the end.
    pub previous: Vec<Sha256>,
}

/// What a slice works on.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkItem {
    Model(ModelSlot),
    Generation(GenerationId),
    Migration,
}

/// A slice that was sent and has not ended.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub sequence: u64,
    pub item: WorkItem,
    /// Attempts at this item before that did not end.
    pub attempt: u32,
    /// Whether the message could be sent.
    pub sent: bool,
    /// When (nanoseconds since 1970).
    pub sent_at: u64,
}

/// A model's file and what has been made of it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct ModelRecord {
    pub stage: ModelStage,
    pub name: String,
    /// Size of the file (bytes).
    pub size: u64,
    pub chunk_size: u32,
    pub sha256: Sha256,
    pub chunks: u32,
    pub chunks_received: u32,
    /// Bytes of the packed region that are written.
    pub prepared: u64,
    pub info: ModelInfo,
    pub error: Option<Error>,
}

/// How far a model is. Whether a model that is ready is in the heap is not stored.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelStage {
    Uploading,
    /// The file is hashed: the chaining value of SHA-256 and the bytes that are in it.
    Verifying {
        words: [u32; 8],
        hashed: u64,
    },
    /// The weights are packed.
    Preparing,
    Ready,
    Failed,
}

/// Facts about a model, from its header; zeros before that was read.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelInfo {
    pub architecture: String,
    pub parameters: u64,
    pub layers: u32,
    pub context_length: u32,
    pub vocabulary: u32,
    pub packed_bytes: u64,
    pub block_bytes: u64,
    pub verify_instructions: u64,
    pub prepare_instructions: u64,
    pub restore_instructions: u64,
}

/// A generation at rest.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct GenerationRecord {
    pub id: GenerationId,
    pub owner: Principal,
    /// The model it runs on.
    pub model: Sha256,
    /// When it was started (nanoseconds since 1970).
    pub created: u64,
    pub options: SamplingOptions,
    /// Prompt, then answer.
    pub tokens: Vec<u32>,
    pub prompt_tokens: u32,
    /// Positions whose keys and values are complete.
    pub computed: u32,
    /// The forward pass of the token at position `computed`.
    pub stage: Stage,
    pub text: String,
    /// Bytes that are no text yet: part of a character, or of what may become a stop string.
    pub pending: Vec<u8>,
    pub prompt_instructions: u64,
    pub generate_instructions: u64,
    pub end: Option<Result<Finish, Error>>,
    pub slices: u32,
    pub max_message_instructions: u64,
    /// The KV blocks of its positions, in order.
    pub block_table: Vec<KvBlock>,
    /// Positions from the start that anybody may share: no caller wrote them, or they are a system
    /// prompt.
    pub public: u32,
    /// Positions that were cached when it started.
    pub cached: u32,
    /// The chat and the number of the turn that it answers.
    pub chat: Option<(ChatId, u32)>,
    /// Its last slices, oldest first.
    pub recent: Vec<SliceFigures>,
    /// Tokens of the owner's quota that are reserved for it.
    pub reserved: u64,
    /// Cycles paid for them, and the price of a million tokens.
    pub paid: u128,
    pub price: u128,
}

/// Where a token's forward pass is paused, with the residual stream `[dim]`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) enum Stage {
    /// Nothing of the token is done.
    Start,
    /// The layers before this one are done.
    Layer(u32, Vec<f32>),
    /// All layers are done.
    Head(Vec<f32>),
}

/// How tokens are chosen, and when it ends.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct SamplingOptions {
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub repetition_penalty: f32,
    pub seed: u64,
    pub max_tokens: u32,
    pub max_context: u32,
    pub stops: Vec<String>,
}

/// Figures of one slice of a generation.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceFigures {
    pub instructions: u64,
    pub budget: u64,
    pub tokens: u32,
}

/// Why a generation ended well.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    EndOfText,
    MaxTokens,
    Stop,
    ContextFull,
}

/// Keys and values of 64 positions, as those know it who hold it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvBlock {
    /// Index in the KV region.
    pub index: u32,
    /// Number of this use of the index, with the model's slot in its highest byte. A block that was
    /// given to somebody else since has another one, and is not read.
    pub epoch: u64,
}

/// What is known of a principal.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub role: Role,
    /// Instructions that count as served to it.
    pub served: u64,
    /// Days since 1970 of `tokens`.
    pub day: u64,
    /// Tokens read and generated on that day, with those reserved.
    pub tokens: u64,
    /// Tokens reserved for generations that have not ended.
    pub in_flight: u64,
    /// Generations that have not ended.
    pub generations: u32,
    pub chats: u32,
    /// Cycles that are owed to it because they could not be sent.
    pub owed: u128,
}

/// What a controller has said of a principal.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Ordinary,
    Allowed,
    Banned,
}

/// A generation that has not ended, in the queue.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueEntry {
    pub owner: Principal,
    /// Instructions that count as served to it, among its owner's generations.
    pub served: u64,
    /// The slice in which it was served last.
    pub last_slice: u64,
    /// How many times as much as others its owner gets.
    pub weight: u32,
    /// Its slices that did not end since it last got anywhere.
    pub lost: u32,
}

/// A chat between two answers.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct ChatRecord {
    pub id: ChatId,
    pub owner: Principal,
    pub title: String,
    /// Nanoseconds since 1970.
    pub created: u64,
    pub updated: u64,
    pub overflow: Overflow,
    /// Number of turns.
    pub turns: u32,
    /// Whether turn 0 is a system prompt.
    pub system: bool,
    /// Turns before this one (but the system prompt) are not read any more.
    pub first_read: u32,
    /// Turns from this one on know where their tokens begin in the history.
    pub aligned: u32,
    /// The generation that answers now.
    pub running: Option<GenerationId>,
    /// The model whose tokens the history has.
    pub model: Option<Sha256>,
    /// Tokens of the history.
    pub tokens: u32,
    /// How many of them are cached.
    pub cached: u32,
    /// Positions from the start that anybody may share.
    pub public: u32,
    /// The KV blocks of the cached positions, in order.
    pub block_table: Vec<KvBlock>,
    /// When it was used last (a count).
    pub used: u64,
}

/// What happens when a chat outgrows the context.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    Error,
    Slide,
}

/// A turn of a chat.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct ChatTurn {
    pub role: String,
    pub content: String,
    /// Tokens of the history before this turn.
    pub start: u32,
    /// The generation of an answer.
    pub generation: Option<GenerationId>,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    pub generated_tokens: u32,
    pub instructions: u64,
    pub slices: u32,
    pub seed: u64,
    pub end: Option<Result<Finish, Error>>,
    /// The model of an answer.
    pub model: Option<Sha256>,
}

/// A line of the log.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry {
    /// Nanoseconds since 1970.
    pub time: u64,
    pub level: LogLevel,
    /// The controller whose action it is.
    pub by: Option<Principal>,
    pub text: String,
}

/// How much a line of the log matters.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Info,
    Warning,
    Error,
}

/// Why a generation or a model failed. [`interface::Error`] says what each means.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
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
        expected: Vec<u8>,
        actual: Vec<u8>,
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

stored!(Control, 1);
stored!(ModelRecord, 1);
stored!(GenerationRecord, 1, |version, bytes| match version {
    #[cfg(test)]
    0 => {
        let old: version_0::GenerationRecord = postcard::from_bytes(bytes).ok()?;
        Some(old.into())
    }
    _ => {
        let _ = bytes;
        None
    }
});
stored!(Account, 1);
stored!(QueueEntry, 1);
stored!(ChatRecord, 1);
stored!(ChatTurn, 1);
stored!(LogEntry, 1);

/// The tokens of a chat's history: 4 bytes each, little-endian, without a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenHistory(pub Vec<u32>);

impl Storable for TokenHistory {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.iter().flat_map(|t| t.to_le_bytes()).collect())
    }
    fn into_bytes(self) -> Vec<u8> {
        self.to_bytes().into_owned()
    }
    fn from_bytes(bytes: Cow<'_, [u8]>) -> Self {
        let (quads, _) = bytes.as_chunks::<4>();
        Self(quads.iter().map(|q| u32::from_le_bytes(*q)).collect())
    }
    const BOUND: Bound = Bound::Unbounded;
}

/// A version that never was, to test conversion with: its fields were in another order.
/// A generation for tests that has read and generated nothing.
#[cfg(test)]
pub(crate) fn test_generation(id: u64, owner: candid::Principal) -> GenerationRecord {
    GenerationRecord {
        id: GenerationId(id),
        owner,
        model: Sha256([1; 32]),
        created: 0,
        options: SamplingOptions {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            repetition_penalty: 1.0,
            seed: 0,
            max_tokens: 10,
            max_context: 100,
            stops: Vec::new(),
        },
        tokens: Vec::new(),
        prompt_tokens: 0,
        computed: 0,
        stage: Stage::Start,
        text: String::new(),
        pending: Vec::new(),
        prompt_instructions: 0,
        generate_instructions: 0,
        end: None,
        slices: 0,
        max_message_instructions: 0,
        block_table: Vec::new(),
        public: 0,
        cached: 0,
        chat: None,
        recent: Vec::new(),
        reserved: 0,
        paid: 0,
        price: 0,
    }
}

#[cfg(test)]
pub(crate) mod version_0 {
    use super::{GenerationId, KvBlock, Principal, Sha256};
    use serde::{Deserialize, Serialize};

    /// The fields that the conversion test looks at.
    #[derive(Serialize, Deserialize)]
    pub(crate) struct GenerationRecord {
        model: Sha256,
        owner: Principal,
        id: GenerationId,
        block_table: Vec<KvBlock>,
    }

    impl From<super::GenerationRecord> for GenerationRecord {
        fn from(r: super::GenerationRecord) -> Self {
            Self {
                model: r.model,
                owner: r.owner,
                id: r.id,
                block_table: r.block_table,
            }
        }
    }

    impl From<GenerationRecord> for super::GenerationRecord {
        fn from(old: GenerationRecord) -> Self {
            let GenerationRecord {
                model,
                owner,
                id,
                block_table,
            } = old;
            Self {
                model,
                block_table,
                ..super::test_generation(id.0, owner)
            }
        }
    }
}

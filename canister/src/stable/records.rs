//! What lasts besides bytes of weights and caches: the control record, and records of generations,
//! models, chats, their turns and their owners, in postcard encoding. Every value but the control record
//! (whose first field is the layout) begins with a byte that says its version.

use crate::api::{
    Config, Error, Finish, LogEntry, ModelInfo, Overflow, Phase, Role, RoundFigures, Totals,
};
use crate::pages::Page;
use crate::{v1, v2};
use candid::Principal;
use engine::SamplerOptions;
use engine::inference::forward::{Forward, Stage};
use engine::inference::generation::{FinishReason, Generation, Request, Spent};
use engine::inference::text_stream::TextStream;
use ic_stable_structures::Storable;
use ic_stable_structures::storable::Bound;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Everything the canister knows of itself.
#[derive(Serialize, Deserialize, Clone)]
pub struct Control {
    /// Version of the stable layout.
    pub layout: u32,
    pub config: Config,
    pub aliases: Vec<Alias>,
    /// The model of a layout that had room for one, until it is in the library.
    pub only_model: Option<ModelRecord>,
    /// The round that is out, if any.
    pub mark: Option<Mark>,
    pub next_sequence: u64,
    pub next_id: u64,
    /// The generation that had the last turn.
    pub turn: u64,
    pub rounds: u64,
    pub max_message_instructions: u64,
    /// From the IC's randomness; seeds of generations are drawn from it.
    pub entropy: Option<[u8; 32]>,
    pub seeds_drawn: u64,
    pub next_chat: u64,
    /// Counts uses of chats, to know which was not used for longest.
    pub uses: u64,
    /// How much the caller served last had been served (see [`crate::queue`]).
    pub served: u64,
    pub totals: Totals,
    /// Why no work is done now.
    pub paused: Option<String>,
    pub next_log: u64,
    /// While an older layout is converted: records up to this one are.
    pub migrated: u64,
    /// [`engine::VERSION`] of the packed weights and of the KV pages.
    pub engine: u32,
}

/// Version of the stable layout this program writes.
pub const LAYOUT: u32 = 3;

impl Default for Control {
    fn default() -> Self {
        Self {
            layout: LAYOUT,
            config: Config::default(),
            aliases: Vec::new(),
            only_model: None,
            mark: None,
            next_sequence: 1,
            next_id: 1,
            turn: 0,
            rounds: 0,
            max_message_instructions: 0,
            entropy: None,
            seeds_drawn: 0,
            next_chat: 1,
            uses: 0,
            served: 0,
            totals: Totals::default(),
            paused: None,
            next_log: 1,
            migrated: 0,
            engine: engine::VERSION,
        }
    }
}

/// A name under which callers ask for a model.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Alias {
    pub name: String,
    /// SHA-256 of the model it means now.
    pub model: [u8; 32],
    /// Of the one it is to mean as soon as that is ready.
    pub next: Option<[u8; 32]>,
    /// Of those it meant before, the last at the end.
    pub previous: Vec<[u8; 32]>,
}

/// A model's way from an upload to ready.
#[derive(Serialize, Deserialize, Clone)]
pub struct ModelRecord {
    /// `Restoring` and `Stored` are never stored: they are `Ready` while the heap is not.
    pub phase: Phase,
    pub name: String,
    pub size: u64,
    pub chunk_size: u32,
    pub sha256: [u8; 32],
    pub chunks: u32,
    pub chunks_received: u32,
    /// Chaining value and bytes of the running hash.
    pub hash: ([u32; 8], u64),
    /// Bytes of the packed region that are written.
    pub prepared: u64,
    pub info: ModelInfo,
    pub error: Option<Error>,
}

impl Default for ModelRecord {
    fn default() -> Self {
        let hash = weights::gguf::sha256::Sha256State::default();
        Self {
            phase: Phase::Empty,
            name: String::new(),
            size: 0,
            chunk_size: 0,
            sha256: [0; 32],
            chunks: 0,
            chunks_received: 0,
            hash: (hash.words, hash.done),
            prepared: 0,
            info: ModelInfo::default(),
            error: None,
        }
    }
}

/// What a round is for.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Of the model on this shelf.
    Model(u8),
    Generation(u64),
    Migration,
}

/// A round that was sent and has not ended.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub struct Mark {
    pub sequence: u64,
    pub job: Job,
    /// Times this job was tried before without an end.
    pub attempt: u32,
    /// Whether the message could be sent.
    pub went: bool,
    pub sent: u64,
}

/// A generation at rest.
#[derive(Serialize, Deserialize, Clone)]
pub struct Record {
    pub owner: Principal,
    pub id: u64,
    pub options: StoredOptions,
    pub tokens: Vec<u32>,
    pub prompt_tokens: u32,
    pub computed: u32,
    /// 0: at the start of a token; n + 1: before layer n; `u32::MAX`: before the head.
    pub stage: u32,
    pub x: Vec<f32>,
    pub text: String,
    pub pending: Vec<u8>,
    pub prompt_instructions: u64,
    pub generate_instructions: u64,
    pub end: Option<Result<Finish, Error>>,
    pub rounds: u32,
    pub max_message_instructions: u64,
    /// Pages of the KV region, one for each block of positions.
    pub pages: Vec<Page>,
    /// Positions from the start that no caller wrote (the template's) or that anybody may share (a
    /// system prompt).
    pub public: u32,
    /// Positions that were in the cache when it started.
    pub cached: u32,
    /// The chat it answers in, and the answer's turn.
    pub chat: Option<(u64, u32)>,
    /// SHA-256 of the model.
    pub model: [u8; 32],
    /// Nanoseconds since 1970.
    pub created: u64,
    /// Its last rounds, oldest first.
    pub recent: Vec<RoundFigures>,
    /// Tokens of the owner's quota that were set aside for it.
    pub reserved: u64,
    /// Cycles that were paid for them, and the price of a million.
    pub paid: u128,
    pub price: u128,
}

/// What is known of a principal.
#[derive(Serialize, Deserialize, Clone, Default)]
pub struct Account {
    pub role: Role,
    /// Instructions that count as served to it.
    pub served: u64,
    /// Days since 1970 of `tokens`.
    pub day: u64,
    /// Tokens read and drawn on that day, with those set aside.
    pub tokens: u64,
    /// Tokens set aside for generations that have not ended, and how many these are.
    pub in_flight: u64,
    pub generations: u32,
    pub chats: u32,
    /// Cycles that are owed to it because they could not be sent.
    pub owed: u128,
}

/// A generation that has not ended, in the queue.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub struct Queued {
    pub owner: Principal,
    /// Instructions that count as served to it, among its owner's generations.
    pub served: u64,
    /// The round in which it was served last.
    pub last_round: u64,
    /// How many times as much as others its owner gets.
    pub weight: u32,
    /// Rounds of it that did not end since it last got anywhere.
    pub lost: u32,
}

/// A chat between two turns.
#[derive(Serialize, Deserialize, Clone)]
pub struct Chat {
    pub owner: Principal,
    pub id: u64,
    pub title: String,
    /// Nanoseconds since 1970.
    pub created: u64,
    pub updated: u64,
    pub overflow: Overflow,
    pub turns: u32,
    /// Whether turn 0 is a system prompt.
    pub system: bool,
    /// Turns before this one (but the system prompt) are not read any more.
    pub first_read: u32,
    /// Turns from this one on know where their tokens begin in the history.
    pub aligned: u32,
    /// The generation that answers now.
    pub running: Option<u64>,
    /// The model whose tokens the history has.
    pub model: [u8; 32],
    /// Tokens of the history, and how many of them are in the cache.
    pub tokens: u32,
    pub cached: u32,
    pub public: u32,
    pub pages: Vec<Page>,
    /// When it was used last (a count): its key among the resting chats, if it has pages.
    pub used: u64,
}

/// A turn of a chat.
#[derive(Serialize, Deserialize, Clone)]
pub struct Turn {
    pub role: String,
    pub content: String,
    /// Tokens of the history before this turn.
    pub start: u32,
    pub generation: Option<u64>,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    pub generated_tokens: u32,
    pub instructions: u64,
    pub rounds: u32,
    pub seed: u64,
    pub end: Option<Result<Finish, Error>>,
    pub model: [u8; 32],
}

/// What was asked for.
#[derive(Serialize, Deserialize, Clone)]
pub struct StoredOptions {
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub repetition_penalty: f32,
    pub seed: u64,
    pub max_tokens: u32,
    pub max_context: u32,
    pub stops: Vec<String>,
}

impl StoredOptions {
    /// As the engine takes them.
    pub fn to_request(&self) -> Request {
        Request {
            sampler: SamplerOptions {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                repetition_penalty: self.repetition_penalty,
                seed: self.seed,
            },
            max_tokens: self.max_tokens as usize,
            max_context: self.max_context as usize,
            stops: self.stops.clone(),
        }
    }
}

impl Record {
    /// Tokens drawn so far.
    pub fn generated(&self) -> &[u32] {
        self.tokens
            .get(self.prompt_tokens as usize..)
            .unwrap_or_default()
    }

    /// The engine's generation.
    pub fn to_generation(&self) -> Generation {
        Generation {
            id: self.id,
            request: self.options.to_request(),
            tokens: self.tokens.clone(),
            prompt_tokens: self.prompt_tokens as usize,
            computed: self.computed as usize,
            forward: Forward::restore(
                match self.stage {
                    0 => Stage::Start,
                    u32::MAX => Stage::Head,
                    n => Stage::Layer(n - 1),
                },
                self.x.clone(),
            ),
            text: TextStream {
                text: self.text.clone(),
                pending: self.pending.clone(),
            },
            spent: Spent {
                prompt: self.prompt_instructions,
                generate: self.generate_instructions,
            },
            finished: None,
        }
    }

    /// Takes over what a generation has become.
    pub fn update(&mut self, g: &Generation) {
        self.tokens
            .extend_from_slice(&g.tokens[self.tokens.len()..]);
        self.computed = g.computed as u32;
        self.stage = match g.forward.stage() {
            Stage::Start => 0,
            Stage::Layer(n) => n + 1,
            Stage::Head => u32::MAX,
        };
        self.x.clear();
        if self.stage != 0 {
            self.x.extend_from_slice(g.forward.residual());
        }
        self.text.push_str(&g.text.text[self.text.len()..]);
        self.pending.clone_from(&g.text.pending);
        self.prompt_instructions = g.spent.prompt;
        self.generate_instructions = g.spent.generate;
        self.end = g.finished.map(|f| {
            Ok(match f {
                FinishReason::EndOfText => Finish::EndOfText,
                FinishReason::MaxTokens => Finish::MaxTokens,
                FinishReason::Stop => Finish::Stop,
                FinishReason::ContextFull => Finish::ContextFull,
            })
        });
    }
}

/// First byte of values of this version. (Those of layout 1 had none: they begin with the length of
/// a principal, at most 29.)
const VERSION: u8 = 0x82;

macro_rules! versioned {
    ($type:ty) => {
        versioned!($type, |_: &[u8]| None);
    };
    ($type:ty, $older:expr) => {
        impl Storable for $type {
            fn to_bytes(&self) -> Cow<'_, [u8]> {
                // Encoding plain data into a vector has no way to fail.
                Cow::Owned(postcard::to_extend(self, vec![VERSION]).unwrap_or_default())
            }
            fn into_bytes(self) -> Vec<u8> {
                self.to_bytes().into_owned()
            }
            fn from_bytes(bytes: Cow<'_, [u8]>) -> Self {
                match bytes.split_first() {
                    Some((&VERSION, rest)) => postcard::from_bytes(rest).ok(),
                    _ => $older(&bytes),
                }
                .unwrap_or_else(|| ic_cdk::trap(concat!("cannot be read: a ", stringify!($type))))
            }
            const BOUND: Bound = Bound::Unbounded;
        }
    };
}

versioned!(Record, |bytes: &[u8]| {
    postcard::from_bytes(bytes).ok().map(v1::Record::convert)
});
versioned!(ModelRecord);
versioned!(Chat);
versioned!(Turn);
versioned!(Account);
versioned!(Queued);
versioned!(LogEntry);

impl Storable for Control {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(postcard::to_allocvec(self).unwrap_or_default())
    }
    fn into_bytes(self) -> Vec<u8> {
        self.to_bytes().into_owned()
    }
    fn from_bytes(bytes: Cow<'_, [u8]>) -> Self {
        // Its first field, the layout, is one byte.
        match bytes.first() {
            Some(1) => postcard::from_bytes(&bytes).map(v1::Control::convert),
            Some(2) => postcard::from_bytes(&bytes).map(v2::Control::convert),
            _ => postcard::from_bytes(&bytes),
        }
        .unwrap_or_else(|_| ic_cdk::trap("the control record cannot be read"))
    }
    const BOUND: Bound = Bound::Unbounded;
}

/// A history's tokens as bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History(pub Vec<u32>);

impl Storable for History {
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

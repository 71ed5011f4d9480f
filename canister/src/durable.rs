//! What lasts besides bytes of weights and caches: the control record and a record for each
//! generation, in postcard encoding.

use crate::api::{Config, Error, Finish, ModelInfo, Phase};
use candid::Principal;
use engine::SamplerOptions;
use engine::forward::{Forward, Stage};
use engine::generation::{FinishReason, Generation, Request, Spent};
use engine::text::TextStream;
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
    pub model: ModelRecord,
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
}

/// Version of the stable layout this program writes.
pub const LAYOUT: u32 = 1;

impl Default for Control {
    fn default() -> Self {
        Self {
            layout: LAYOUT,
            config: Config {
                round_instructions: 1_900_000_000,
                max_context_tokens: 8_192,
                max_generations: 64,
            },
            model: ModelRecord::default(),
            mark: None,
            next_sequence: 1,
            next_id: 1,
            turn: 0,
            rounds: 0,
            max_message_instructions: 0,
            entropy: None,
            seeds_drawn: 0,
        }
    }
}

/// The model's way from an upload to ready.
#[derive(Serialize, Deserialize, Clone)]
pub struct ModelRecord {
    /// `Restoring` is never stored: it is `Ready` while the heap is not.
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
        let hash = weights::hash::Sha256State::default();
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
    Model,
    Generation(u64),
}

/// A round that was sent and has not ended.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub struct Mark {
    pub sequence: u64,
    pub job: Job,
    /// Times this job was tried before without an end.
    pub attempt: u32,
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
    /// Slots of the KV region, one for each block of positions.
    pub slots: Vec<u32>,
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

impl Record {
    /// Tokens drawn so far.
    pub fn generated(&self) -> &[u32] {
        self.tokens
            .get(self.prompt_tokens as usize..)
            .unwrap_or_default()
    }

    /// The engine's generation.
    pub fn to_generation(&self) -> Generation {
        let o = &self.options;
        Generation {
            id: self.id,
            request: Request {
                sampler: SamplerOptions {
                    temperature: o.temperature,
                    top_k: o.top_k,
                    top_p: o.top_p,
                    repetition_penalty: o.repetition_penalty,
                    seed: o.seed,
                },
                max_tokens: o.max_tokens as usize,
                max_context: o.max_context as usize,
                stops: o.stops.clone(),
            },
            tokens: self.tokens.clone(),
            prompt_tokens: self.prompt_tokens as usize,
            computed: self.computed as usize,
            forward: Forward {
                stage: match self.stage {
                    0 => Stage::Start,
                    u32::MAX => Stage::Head,
                    n => Stage::Layer(n - 1),
                },
                x: self.x.clone(),
            },
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
        self.stage = match g.forward.stage {
            Stage::Start => 0,
            Stage::Layer(n) => n + 1,
            Stage::Head | Stage::Done => u32::MAX,
        };
        self.x.clear();
        if self.stage != 0 {
            self.x.extend_from_slice(&g.forward.x);
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

macro_rules! storable {
    ($type:ty, $fallback:expr) => {
        impl Storable for $type {
            fn to_bytes(&self) -> Cow<'_, [u8]> {
                // Encoding plain data into a vector has no way to fail.
                Cow::Owned(postcard::to_allocvec(self).unwrap_or_default())
            }
            fn into_bytes(self) -> Vec<u8> {
                self.to_bytes().into_owned()
            }
            fn from_bytes(bytes: Cow<'_, [u8]>) -> Self {
                postcard::from_bytes(&bytes).unwrap_or_else(|_| $fallback)
            }
            const BOUND: Bound = Bound::Unbounded;
        }
    };
}

storable!(Control, Control::default());
storable!(Record, ic_cdk::trap("a generation's record cannot be read"));

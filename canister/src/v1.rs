//! Layout 1 of stable memory, as it was released: its control record and its generations. They are
//! read, and never written.
//!
//! | id | region | what lay there |
//! | --- | --- | --- |
//! | 0 | control | one cell: [`Control`] |
//! | 1, 2 | chunks, file | as on shelf 0 of this layout |
//! | 3 | packed | weights in another order: packed again from the file |
//! | 4 | generations | map: id → [`Record`] |
//! | 5 | KV | blocks in slots that only the records knew of |

use crate::api::{Error, Finish, Phase};
use crate::durable;
use candid::Principal;
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    round_instructions: u64,
    max_context_tokens: u32,
    max_generations: u32,
}

#[derive(Deserialize)]
struct Mark {
    _sequence: u64,
    _job: Job,
    _attempt: u32,
    _sent: u64,
}

#[derive(Deserialize)]
enum Job {
    _Model,
    _Generation(#[allow(dead_code)] u64),
}

#[derive(Deserialize)]
struct ModelInfo {
    architecture: String,
    parameters: u64,
    layers: u32,
    context_length: u32,
    vocabulary: u32,
    packed_bytes: u64,
    verify_instructions: u64,
    prepare_instructions: u64,
    restore_instructions: u64,
}

/// The model; layout 2 had it in the same form.
#[derive(Deserialize)]
pub struct ModelRecord {
    phase: Phase,
    name: String,
    size: u64,
    chunk_size: u32,
    sha256: [u8; 32],
    chunks: u32,
    chunks_received: u32,
    hash: ([u32; 8], u64),
    prepared: u64,
    info: ModelInfo,
    error: Option<Error>,
}

impl ModelRecord {
    /// As this layout has it.
    pub fn convert(self) -> durable::ModelRecord {
        durable::ModelRecord {
            phase: self.phase,
            name: self.name,
            size: self.size,
            chunk_size: self.chunk_size,
            sha256: self.sha256,
            chunks: self.chunks,
            chunks_received: self.chunks_received,
            hash: self.hash,
            prepared: self.prepared,
            info: crate::api::ModelInfo {
                architecture: self.info.architecture,
                parameters: self.info.parameters,
                layers: self.info.layers,
                context_length: self.info.context_length,
                vocabulary: self.info.vocabulary,
                packed_bytes: self.info.packed_bytes,
                verify_instructions: self.info.verify_instructions,
                prepare_instructions: self.info.prepare_instructions,
                restore_instructions: self.info.restore_instructions,
                page_bytes: 0,
            },
            error: self.error,
        }
    }
}

#[derive(Deserialize)]
struct StoredOptions {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    repetition_penalty: f32,
    seed: u64,
    max_tokens: u32,
    max_context: u32,
    stops: Vec<String>,
}

/// Everything the canister knew of itself.
#[derive(Deserialize)]
pub struct Control {
    layout: u32,
    config: Config,
    model: ModelRecord,
    _mark: Option<Mark>,
    next_sequence: u64,
    next_id: u64,
    turn: u64,
    rounds: u64,
    max_message_instructions: u64,
    entropy: Option<[u8; 32]>,
    seeds_drawn: u64,
}

impl Control {
    /// As this layout has it. Its `layout` stays 1 until the records are converted as well.
    pub fn convert(self) -> durable::Control {
        let new = durable::Control::default();
        let model = self.model.convert();
        durable::Control {
            layout: self.layout,
            config: crate::api::Config {
                round_instructions: self.config.round_instructions,
                max_context_tokens: self.config.max_context_tokens,
                max_generations: self.config.max_generations,
                ..new.config.clone()
            },
            aliases: crate::v2::aliases(&model),
            only_model: Some(model),
            next_sequence: self.next_sequence,
            next_id: self.next_id,
            turn: self.turn,
            rounds: self.rounds,
            max_message_instructions: self.max_message_instructions,
            entropy: self.entropy,
            seeds_drawn: self.seeds_drawn,
            engine: 1,
            ..new
        }
    }
}

/// A generation.
#[derive(Deserialize)]
pub struct Record {
    owner: Principal,
    id: u64,
    options: StoredOptions,
    tokens: Vec<u32>,
    prompt_tokens: u32,
    computed: u32,
    _stage: u32,
    _x: Vec<f32>,
    text: String,
    pending: Vec<u8>,
    prompt_instructions: u64,
    generate_instructions: u64,
    end: Option<Result<Finish, Error>>,
    rounds: u32,
    max_message_instructions: u64,
    _slots: Vec<u32>,
}

impl Record {
    /// As this layout has it. The cache of one that has not ended is computed again, from its tokens.
    pub fn convert(self) -> durable::Record {
        let ended = self.end.is_some();
        durable::Record {
            owner: self.owner,
            id: self.id,
            options: durable::StoredOptions {
                temperature: self.options.temperature,
                top_k: self.options.top_k,
                top_p: self.options.top_p,
                repetition_penalty: self.options.repetition_penalty,
                seed: self.options.seed,
                max_tokens: self.options.max_tokens,
                max_context: self.options.max_context,
                stops: self.options.stops,
            },
            tokens: self.tokens,
            prompt_tokens: self.prompt_tokens,
            computed: if ended { self.computed } else { 0 },
            stage: 0,
            x: Vec::new(),
            text: self.text,
            pending: self.pending,
            prompt_instructions: self.prompt_instructions,
            generate_instructions: self.generate_instructions,
            end: self.end,
            rounds: self.rounds,
            max_message_instructions: self.max_message_instructions,
            pages: Vec::new(),
            public: 0,
            cached: 0,
            chat: None,
            model: [0; 32],
            created: 0,
            recent: Vec::new(),
            reserved: 0,
            paid: 0,
            price: 0,
        }
    }
}

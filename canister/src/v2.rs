//! The control record of layout 2, which had room for one model. It is read, and never written.
//! Everything else of layout 2 is as in layout 3: that model lies on shelf 0.

use crate::api::{Config, Phase, Totals};
use crate::durable::{self, Alias};
use crate::v1::ModelRecord;
use serde::Deserialize;

#[derive(Deserialize)]
struct Mark {
    _sequence: u64,
    _job: Job,
    _attempt: u32,
    _went: bool,
    _sent: u64,
}

#[derive(Deserialize)]
enum Job {
    _Model,
    _Generation(#[allow(dead_code)] u64),
    _Migration,
}

/// Everything the canister knew of itself.
#[derive(Deserialize)]
pub struct Control {
    _layout: u32,
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
    next_chat: u64,
    uses: u64,
    served: u64,
    totals: Totals,
    paused: Option<String>,
    next_log: u64,
    _migrated: u64,
    engine: u32,
}

impl Control {
    /// As this layout has it.
    pub fn convert(self) -> durable::Control {
        let model = self.model.convert();
        durable::Control {
            config: self.config,
            aliases: aliases(&model),
            only_model: Some(model),
            next_sequence: self.next_sequence,
            next_id: self.next_id,
            turn: self.turn,
            rounds: self.rounds,
            max_message_instructions: self.max_message_instructions,
            entropy: self.entropy,
            seeds_drawn: self.seeds_drawn,
            next_chat: self.next_chat,
            uses: self.uses,
            served: self.served,
            totals: self.totals,
            paused: self.paused,
            next_log: self.next_log,
            engine: self.engine,
            ..durable::Control::default()
        }
    }
}

/// The aliases of a canister that had one model.
pub fn aliases(model: &durable::ModelRecord) -> Vec<Alias> {
    if model.phase == Phase::Empty {
        return Vec::new();
    }
    vec![Alias {
        name: crate::aliases::DEFAULT.into(),
        model: model.sha256,
        next: None,
        previous: Vec::new(),
    }]
}

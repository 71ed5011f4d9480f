//! The canister's state: what is in stable memory, and what the heap holds beside it. It knows of no
//! message: who calls and what follows is the business of the layers above.

pub(crate) mod accounts;
pub(crate) mod aliases;
pub(crate) mod billing;
pub(crate) mod chats;
pub(crate) mod control;
pub(crate) mod convert;
pub(crate) mod log;
pub(crate) mod models;
pub(crate) mod queue;
pub(crate) mod quota;
pub(crate) mod residency;

use crate::kv_cache::BlockPools;
use crate::stable::ids::GenerationId;
use crate::stable::records::{Control, GenerationRecord, LogLevel};
use crate::stable::regions::{self, Region};
use accounts::Accounts;
use chats::ChatStore;
use control::ControlCell;
use engine::Generation;
use engine::kv_cache::KvCache;
use ic_stable_structures::StableBTreeMap;
use interface::Error;
use log::Log;
use models::ModelStore;
use queue::Queue;
use residency::{ModelView, Residency};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A generation in the heap: its record is in stable memory at the end of every message.
pub(crate) struct Running {
    /// The engine's generation.
    pub generation: Generation,
    /// Its keys and values.
    pub kv: KvCache,
    /// KV blocks that have been read from stable memory (or computed).
    pub restored_blocks: usize,
    /// Positions whose keys and values are in stable memory.
    pub stored: usize,
    /// The slice in which it ran last.
    pub last_slice: u64,
}

/// Everything.
pub(crate) struct State {
    /// Settings, aliases, counts.
    pub control: ControlCell,
    /// The models in stable memory.
    pub models: ModelStore,
    /// The models in the heap.
    pub residency: Residency,
    /// Generations, ended ones included.
    pub generations: StableBTreeMap<GenerationId, GenerationRecord, Region>,
    /// Generations in the heap.
    pub running: BTreeMap<GenerationId, Running>,
    /// KV blocks.
    pub pools: BlockPools,
    /// Chats.
    pub chats: ChatStore,
    /// Roles, shares, quotas.
    pub accounts: Accounts,
    /// Generations that have not ended.
    pub queue: Queue,
    /// The log.
    pub log: Log,
    /// Whether the last slice was a model's.
    pub model_ran_last: bool,
    /// Whether randomness was requested and has not come.
    pub entropy_requested: bool,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State::open());
}

/// Runs `f` on the state.
pub(crate) fn read_state<T>(f: impl FnOnce(&State) -> T) -> T {
    STATE.with_borrow(f)
}

/// Runs `f` on the state, which it may change.
pub(crate) fn mutate_state<T>(f: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(f)
}

impl State {
    /// Opens what stable memory holds.
    pub(crate) fn open() -> Self {
        let control = ControlCell::open();
        let generations: StableBTreeMap<GenerationId, GenerationRecord, Region> =
            StableBTreeMap::init(regions::generations());
        let accounts = Accounts::open();
        let models = ModelStore::open();
        let mut pools = BlockPools::default();
        for (slot, model) in models.iter() {
            pools.open(slot, model.info.block_bytes);
        }
        let slot = |id| models.find(&generations.get(&id)?.model);
        Self {
            queue: Queue::open(&accounts, slot),
            control,
            models,
            residency: Residency::default(),
            generations,
            running: BTreeMap::new(),
            pools,
            chats: ChatStore::open(),
            accounts,
            log: Log::open(),
            model_ran_last: false,
            entropy_requested: false,
        }
    }

    /// Returns what says what the models are doing.
    pub(crate) fn model_view(&self) -> ModelView<'_> {
        ModelView {
            models: &self.models,
            residency: &self.residency,
            aliases: &self.control.aliases,
            queue: &self.queue,
        }
    }

    /// Switches aliases whose next model is ready; removes the models from the heap that nobody needs.
    pub(crate) fn apply_ready_switches(&mut self) {
        let residency = &self.residency;
        let lines =
            aliases::apply_ready_switches(&mut self.control.aliases, &self.models, |slot| {
                residency.is_loaded(slot)
            });
        for line in lines {
            self.log.add(LogLevel::Info, None, line);
        }
        self.unload_unused();
    }

    /// Removes the models from the heap that nobody needs.
    pub(crate) fn unload_unused(&mut self) {
        let aliases = &self.control.aliases;
        residency::unload_unused(&mut self.residency, &self.models, aliases, &self.queue);
    }

    /// Puts a generation back.
    pub(crate) fn put_generation(&mut self, record: GenerationRecord) {
        self.generations.insert(record.id, record);
    }
}

/// Returns `true` if everything in stable memory has the layout of this program.
pub(crate) fn is_migrated(control: &Control) -> bool {
    control.layout == crate::stable::records::LAYOUT
}

/// Checks that stable memory has the layout of this program.
///
/// # Errors
/// [`Error::Busy`] while an older layout is converted.
pub(crate) fn check_migrated(control: &Control) -> Result<(), Error> {
    if is_migrated(control) {
        return Ok(());
    }
    Err(Error::Busy(format!(
        "stable memory is being converted from layout {}; try again in a moment",
        control.layout
    )))
}

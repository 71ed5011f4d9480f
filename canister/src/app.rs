//! The canister's state: what is in stable memory, and the heap's cache of it.

use crate::accounts::Accounts;
use crate::api::{LogEntry, Phase};
use crate::chat_store::ChatStore;
use crate::durable::{Control, Record};
use crate::memory::{self, Region};
use crate::model_job::Loading;
use crate::pages::Pages;
use crate::queue::Queue;
use engine::forward::Workspace;
use engine::kv::KvCache;
use engine::pacer::Experience;
use engine::template::Template;
use engine::{Generation, Model, Tokenizer};
use ic_stable_structures::{StableBTreeMap, StableCell};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A model in the heap, ready to run.
pub struct Loaded {
    pub model: Model,
    pub tokenizer: Tokenizer,
    pub template: Template,
    pub workspace: Workspace,
}

/// A generation in the heap: its record is in stable memory at the end of every message.
pub struct Running {
    pub generation: Generation,
    pub kv: KvCache,
    /// Positions whose cache rows have been filled from stable memory (or computed).
    pub restored_blocks: usize,
    /// Positions whose cache rows are in stable memory.
    pub stored: usize,
    pub last_round: u64,
}

/// The heap's part; all of it can be made again from stable memory.
#[derive(Default)]
pub struct Heap {
    pub loading: Option<Loading>,
    pub loaded: Option<Loaded>,
    pub running: BTreeMap<u64, Running>,
    pub experience: Experience,
    pub entropy_asked: bool,
}

/// All of it.
pub struct App {
    pub control: Control,
    cell: StableCell<Control, Region>,
    pub records: StableBTreeMap<u64, Record, Region>,
    pub pages: Pages,
    pub chats: ChatStore,
    pub accounts: Accounts,
    pub queue: Queue,
    pub log: StableBTreeMap<u64, LogEntry, Region>,
    pub heap: Heap,
}

thread_local! {
    static APP: RefCell<App> = RefCell::new(App::open());
}

/// Runs `f` on the state.
pub fn with<T>(f: impl FnOnce(&mut App) -> T) -> T {
    APP.with_borrow_mut(f)
}

impl App {
    /// Opens what stable memory holds.
    fn open() -> Self {
        let cell = StableCell::init(memory::control(), Control::default());
        let records: StableBTreeMap<u64, Record, Region> =
            StableBTreeMap::init(memory::generations());
        let accounts = Accounts::open();
        Self {
            control: cell.get().clone(),
            cell,
            records,
            pages: Pages::open(memory::slots(), memory::blocks()),
            chats: ChatStore::open(),
            queue: Queue::open(&accounts),
            accounts,
            log: StableBTreeMap::init(memory::log()),
            heap: Heap::default(),
        }
    }

    /// Writes the control record through. To be called before the end of every message that
    /// changed it.
    pub fn save(&mut self) {
        self.cell.set(self.control.clone());
    }

    /// The phase as callers see it.
    pub fn phase(&self) -> Phase {
        match self.control.model.phase {
            Phase::Ready if self.heap.loaded.is_none() => Phase::Restoring,
            phase => phase,
        }
    }

    /// Puts a record back.
    pub fn put(&mut self, record: Record) {
        self.records.insert(record.id, record);
    }

    /// Bytes of a page of the KV cache; 0 without a model.
    pub fn page_bytes(&self) -> u64 {
        let shape = |l: &Loaded| engine::kv::KvShape::of(&l.model.config).block_bytes() as u64;
        self.heap.loaded.as_ref().map_or(0, shape)
    }
}

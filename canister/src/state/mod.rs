//! The canister's state: what is in stable memory, and the heap's cache of it.

use crate::accounts::Accounts;
use crate::api::{LogEntry, Phase};
use crate::chat_store::ChatStore;
use crate::durable::{Control, Record};
use crate::library::Library;
use crate::memory::{self, Region};
use crate::model_job::Loading;
use crate::pages::Pages;
use crate::queue::Queue;
use engine::inference::budget::CostModel;
use engine::inference::forward::Workspace;
use engine::kv_cache::KvCache;
use engine::template::Template;
use engine::{Generation, Model, Tokenizer};
use ic_stable_structures::{StableBTreeMap, StableCell};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// A model in the heap, ready to run.
pub struct Loaded {
    pub model: Model,
    pub tokenizer: Tokenizer,
    pub template: Template,
    pub workspace: Workspace,
    /// What its pieces of work have cost.
    pub experience: CostModel,
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
    /// By shelf.
    pub loading: BTreeMap<u8, Loading>,
    pub loaded: BTreeMap<u8, Loaded>,
    /// Shelves whose models did not fit beside others.
    pub blocked: BTreeSet<u8>,
    pub running: BTreeMap<u64, Running>,
    /// Whether the last round was a model's.
    pub model_had_turn: bool,
    pub entropy_asked: bool,
}

/// All of it.
pub struct App {
    pub control: Control,
    cell: StableCell<Control, Region>,
    pub library: Library,
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
        let mut control = cell.get().clone();
        let mut library = Library::open();
        if let Some(model) = control
            .only_model
            .take()
            .filter(|m| m.phase != Phase::Empty)
        {
            library.put(0, model);
        }
        let mut pages = Pages::default();
        for (shelf, model) in library.iter() {
            pages.open_shelf(shelf, model.info.page_bytes);
        }
        let shelf = |id| {
            let record = records.get(&id)?;
            library.find(&record.model)
        };
        Self {
            queue: Queue::open(&accounts, shelf),
            control,
            cell,
            library,
            records,
            pages,
            chats: ChatStore::open(),
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

    /// Puts a record back.
    pub fn put(&mut self, record: Record) {
        self.records.insert(record.id, record);
    }

    /// Bytes of a page of the default model's KV cache; 0 without a model.
    pub fn page_bytes(&self) -> u64 {
        let shelf = crate::aliases::default_shelf(self);
        let model = shelf.and_then(|shelf| self.library.get(shelf));
        model.map_or(0, |m| m.info.page_bytes)
    }
}

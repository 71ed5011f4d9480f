//! A canister.

use super::calls::{CallContext, Callback, Origin};
use super::history::{Change, ChangeDetails, ChangeOrigin, History, SnapshotSource};
use super::ids::canister_index;
use super::queues::Queues;
use crate::QueryResult;
use crate::committed::Pool;
use crate::cycles::Fees;
use crate::execution::Instance;
use crate::execution::api::Idle;
use crate::execution::instance::GlobalValue;
use crate::log::Log;
use crate::memory::heap::{Content, Heap};
use crate::memory::stable::Stable;
use crate::persist::FileStore;
use crate::wasm::{CompiledModule, Export};
use candid::Principal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Default heap limit, in bytes: 3 GiB.
pub const DEFAULT_HEAP_LIMIT: u64 = 3 << 30;
/// Default freezing threshold, in seconds: 30 days.
pub const DEFAULT_FREEZING_THRESHOLD: u64 = 2_592_000;
/// Default limit of reserved cycles.
pub const DEFAULT_RESERVED_LIMIT: u128 = 5_000_000_000_000;
/// Who may read a canister's log or its snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readers {
    #[default]
    Controllers,
    Public,
    Allowed(Vec<Principal>),
}

impl Readers {
    /// True when a principal that is not a controller may read.
    pub fn include(&self, who: &Principal) -> bool {
        match self {
            Readers::Controllers => false,
            Readers::Public => true,
            Readers::Allowed(allowed) => allowed.contains(who),
        }
    }
}

/// What controllers can set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    pub controllers: Vec<Principal>,
    pub compute_allocation: u64,
    pub memory_allocation: u64,
    pub freezing_threshold: u64,
    pub reserved_cycles_limit: u128,
    pub log_visibility: Readers,
    pub snapshot_visibility: Readers,
    pub wasm_memory_limit: Option<u64>,
    pub wasm_memory_threshold: u64,
    pub environment_variables: Vec<(String, String)>,
}

impl Settings {
    /// The settings of a new canister.
    pub fn new(controller: Principal) -> Settings {
        Settings {
            controllers: vec![controller],
            compute_allocation: 0,
            memory_allocation: 0,
            freezing_threshold: DEFAULT_FREEZING_THRESHOLD,
            reserved_cycles_limit: DEFAULT_RESERVED_LIMIT,
            log_visibility: Readers::Controllers,
            snapshot_visibility: Readers::Controllers,
            wasm_memory_limit: Some(DEFAULT_HEAP_LIMIT),
            wasm_memory_threshold: 0,
            environment_variables: Vec::new(),
        }
    }
}

/// A request to stop that waits for open calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StopRequest {
    pub origin: Origin,
    pub cycles: u128,
    pub since_ns: u64,
}

/// Whether a canister takes messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Status {
    Running,
    Stopping(Vec<StopRequest>),
    Stopped,
}

/// State of the low-memory hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LowMemoryHook {
    #[default]
    NotSatisfied,
    Ready,
    Executed,
}

/// What a canister does first in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirstInRound {
    #[default]
    Timer,
    Heartbeat,
    Message,
}

/// Installed code.
pub struct Code {
    pub module: Arc<CompiledModule>,
    pub heap: Arc<Heap>,
    pub globals: Vec<Option<GlobalValue>>,
    /// The instance that executes messages; made when needed.
    pub instance: Option<Instance>,
    /// Instances that execute queries.
    pub pool: Arc<Pool>,
}

impl Code {
    /// The instance that executes messages.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn instance(&mut self) -> Result<&mut Instance, String> {
        if self.instance.as_ref().is_none_or(Instance::is_spent) {
            let old = self
                .instance
                .as_ref()
                .map(|instance| instance.view().as_ref());
            let mut instance = Instance::new(
                &self.module,
                self.heap.clone(),
                Some(&self.globals),
                Content::Latest(old),
            )?;
            instance.set_memory64(self.module.memory64);
            self.instance = Some(instance);
        }
        self.instance
            .as_mut()
            .ok_or_else(|| "no instance".to_string())
    }
}

/// A canister's code and data at some time.
pub struct Snapshot {
    pub taken_ns: u64,
    /// Version of the canister then.
    pub version: u64,
    pub source: SnapshotSource,
    pub module: SnapshotModule,
    pub heap: Arc<Heap>,
    pub globals: Vec<Option<GlobalValue>>,
    pub stable: Stable,
    pub certified_data: Vec<u8>,
    pub chunks: BTreeMap<[u8; 32], Arc<Vec<u8>>>,
    /// When the timer was to go off, if it was set; none when an upload does not say.
    pub timer: Option<Option<u64>>,
    pub low_memory: Option<LowMemoryHook>,
}

/// The code in a snapshot.
#[derive(Clone)]
pub enum SnapshotModule {
    /// A canister's.
    Compiled(Arc<CompiledModule>),
    /// Uploaded, as installed: what it is worth is seen when it is loaded.
    Uploaded(Arc<Vec<u8>>),
}

impl SnapshotModule {
    /// The module as it is installed.
    pub fn bytes(&self) -> &[u8] {
        match self {
            SnapshotModule::Compiled(module) => &module.installed,
            SnapshotModule::Uploaded(bytes) => bytes,
        }
    }
}

impl Snapshot {
    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        let chunks: usize = self.chunks.values().map(|chunk| chunk.len()).sum();
        let module = match &self.module {
            SnapshotModule::Compiled(module) => module.wasm.len(),
            SnapshotModule::Uploaded(bytes) => bytes.len(),
        };
        let code = module + self.heap.stored_size();
        (code + chunks + self.certified_data.len()) as u64 + self.stable.bytes()
    }
}

/// Cycles consumed, by use.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Consumed {
    /// Executing messages, with what is held back for the answers of open calls.
    pub instructions: i128,
    pub burned: i128,
    pub ingress: i128,
    pub transmission: i128,
    pub storage: i128,
}

/// Why cycles were not put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReserved {
    /// The canister's limit, and by how much it would be exceeded.
    Limit { limit: u128, over: u128 },
    /// There are so many cycles too few.
    Cycles(u128),
}

/// Figures about what a canister has executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages executed (updates, callbacks, timers, heartbeats, replicated queries).
    pub messages: u64,
    /// Instructions of these messages.
    pub instructions: u64,
    /// Instructions of the largest.
    pub largest: u64,
    /// Rounds in which a message of the canister ran.
    pub rounds: u64,
}

/// A canister.
pub struct Canister {
    pub id: Principal,
    pub settings: Settings,
    pub cycles: u128,
    /// Cycles put aside for storage.
    pub reserved: u128,
    pub consumed: Consumed,
    pub status: Status,
    pub contexts: BTreeMap<u64, CallContext>,
    pub callbacks: BTreeMap<u64, Callback>,
    pub next_id: u64,
    pub queues: Queues,
    pub timer: Option<u64>,
    pub low_memory: LowMemoryHook,
    pub first: FirstInRound,
    pub version: u64,
    pub certified_data: Vec<u8>,
    pub code: Option<Code>,
    pub stable: Stable,
    pub log: Log,
    pub chunks: BTreeMap<[u8; 32], Arc<Vec<u8>>>,
    pub heap_delta_debit: u64,
    pub install_debit: u64,
    pub priority: i64,
    pub priority_credit: i64,
    pub long_prioritised: bool,
    /// A message longer than a slice that has not ended.
    pub paused: Option<Box<crate::scheduler::Paused>>,
    /// Rounds that an installation still takes.
    pub installing_rounds: u64,
    /// Timer, heartbeat or hook to run in this round.
    pub tasks: std::collections::VecDeque<Export>,
    pub totals: Totals,
    pub last_charge_ns: u64,
    pub created_ns: u64,
    /// Snapshots by id.
    pub snapshots: BTreeMap<Vec<u8>, Snapshot>,
    /// Number of the next snapshot.
    pub next_snapshot: u64,
    pub history: History,
    /// What queries have used.
    pub counters: Arc<QueryCounters>,
}

/// What a canister's queries have used, all together.
#[derive(Debug, Default)]
pub struct QueryCounters {
    pub calls: AtomicU64,
    pub instructions: AtomicU64,
    pub request_bytes: AtomicU64,
    pub response_bytes: AtomicU64,
}

impl QueryCounters {
    /// Counters that go on from calls, instructions, bytes of requests and of responses.
    pub fn new([calls, instructions, request_bytes, response_bytes]: [u64; 4]) -> QueryCounters {
        QueryCounters {
            calls: calls.into(),
            instructions: instructions.into(),
            request_bytes: request_bytes.into(),
            response_bytes: response_bytes.into(),
        }
    }

    /// Calls, instructions, bytes of requests and of responses.
    pub fn values(&self) -> [u64; 4] {
        [
            &self.calls,
            &self.instructions,
            &self.request_bytes,
            &self.response_bytes,
        ]
        .map(|counter| counter.load(Relaxed))
    }

    /// Counts a query.
    pub fn count(&self, instructions: u64, arg: &[u8], result: &QueryResult) {
        let response = match result {
            QueryResult::Replied(reply) => reply.len(),
            QueryResult::Rejected(reject) => reject.message.len(),
        };
        self.calls.fetch_add(1, Relaxed);
        self.instructions.fetch_add(instructions, Relaxed);
        self.request_bytes.fetch_add(arg.len() as u64, Relaxed);
        self.response_bytes.fetch_add(response as u64, Relaxed);
    }
}

/// The canisters of a subnet.
pub type Canisters = BTreeMap<Principal, Canister>;

impl Canister {
    /// A canister without code.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(
        id: Principal,
        controller: Principal,
        cycles: u128,
        now_ns: u64,
        store: &Arc<FileStore>,
    ) -> std::io::Result<Canister> {
        Ok(Canister {
            id,
            settings: Settings::new(controller),
            cycles,
            reserved: 0,
            consumed: Consumed::default(),
            status: Status::Running,
            contexts: BTreeMap::new(),
            callbacks: BTreeMap::new(),
            next_id: 1,
            queues: Queues::default(),
            timer: None,
            low_memory: LowMemoryHook::default(),
            first: FirstInRound::default(),
            version: 0,
            certified_data: Vec::new(),
            code: None,
            stable: Stable::new(store)?,
            log: Log::default(),
            chunks: BTreeMap::new(),
            heap_delta_debit: 0,
            install_debit: 0,
            priority: 0,
            priority_credit: 0,
            long_prioritised: false,
            paused: None,
            installing_rounds: 0,
            tasks: Default::default(),
            totals: Totals::default(),
            last_charge_ns: now_ns,
            created_ns: now_ns,
            snapshots: BTreeMap::new(),
            next_snapshot: 0,
            history: History::default(),
            counters: Arc::default(),
        })
    }

    /// Committed size of the stable memory, in pages of 64 KiB.
    pub fn stable_pages(&self) -> u64 {
        self.stable.committed_pages()
    }

    /// Bytes of heap.
    pub fn heap_bytes(&self) -> u64 {
        self.code.as_ref().map_or(0, |code| code.heap.size() as u64)
    }

    /// Bytes that are paid for.
    pub fn memory_usage(&self) -> u64 {
        let code = self.code.as_ref();
        let module = code.map_or(0, |code| {
            let metadata: usize = code
                .module
                .metadata
                .iter()
                .map(|(name, (_, data))| name.len() + data.len())
                .sum();
            // The counter of instructions is a global too.
            (code.module.wasm.len() + metadata + 8 * (code.globals.len() + 1)) as u64
        });
        let chunks: u64 = self.chunks.len() as u64 * (1 << 20);
        let memories = self.heap_bytes() + self.stable_pages() * 65_536;
        module + chunks + memories + self.snapshot_bytes() + self.history.bytes()
    }

    /// Bytes of all snapshots.
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshots.values().map(Snapshot::bytes).sum()
    }

    /// Notes a change in the history, made by a user or by a canister of that version.
    pub fn note_change(
        &mut self,
        timestamp_nanos: u64,
        who: Principal,
        canister_version: Option<u64>,
        details: ChangeDetails,
    ) {
        let origin = match canister_index(&who) {
            Some(_) => ChangeOrigin::from_canister {
                canister_id: who,
                canister_version,
            },
            None => ChangeOrigin::from_user { user_id: who },
        };
        self.history.push(Change {
            timestamp_nanos,
            canister_version: self.version,
            origin,
            details,
        });
    }

    /// True when messages changed memories that are not stored yet.
    pub fn has_unstored_changes(&self) -> bool {
        let instance = self.code.as_ref().and_then(|code| code.instance.as_ref());
        self.stable.has_unstored_changes()
            || instance.is_some_and(|instance| instance.view().has_unstored_changes())
    }

    /// What the canister costs that does nothing, and for how long it must be able to pay.
    pub fn idle(&self) -> Idle {
        Idle {
            memory: self.memory_usage(),
            allocation: self.settings.memory_allocation,
            compute: self.settings.compute_allocation,
            threshold: self.settings.freezing_threshold,
        }
    }

    /// Bytes that are paid for: those in use, or those that are reserved.
    pub fn paid_bytes(&self) -> u64 {
        self.memory_usage().max(self.settings.memory_allocation)
    }

    /// Cycles below which the canister is frozen.
    pub fn freezing_limit(&self, fees: Fees) -> u128 {
        let settings = &self.settings;
        let (compute, seconds) = (settings.compute_allocation, settings.freezing_threshold);
        fees.freezing(self.paid_bytes(), compute, seconds)
            .saturating_sub(self.reserved)
    }

    /// Moves cycles to those that are put aside for storage.
    ///
    /// # Errors
    /// When that would be more than the canister's limit, or than it has; nothing changes then.
    pub fn reserve(&mut self, cycles: u128) -> Result<(), NotReserved> {
        let all = self.reserved.saturating_add(cycles);
        let limit = self.settings.reserved_cycles_limit;
        if all > limit {
            return Err(NotReserved::Limit {
                limit,
                over: all - limit,
            });
        }
        if self.cycles < cycles {
            return Err(NotReserved::Cycles(cycles - self.cycles));
        }
        self.cycles -= cycles;
        self.reserved = all;
        Ok(())
    }

    /// Pays for storage and for reserved computing; false when there are not that many cycles.
    pub fn pay_for_storage(&mut self, cost: u128) -> bool {
        let all = self.cycles.saturating_add(self.reserved);
        if cost > all {
            return false;
        }
        let reserved = cost.min(self.reserved);
        self.reserved -= reserved;
        self.cycles -= cost - reserved;
        true
    }

    /// Takes cycles unless that would freeze the canister; else gives what is missing.
    pub fn withdraw(&mut self, cycles: u128, fees: Fees) -> Result<(), u128> {
        let needed = cycles.saturating_add(self.freezing_limit(fees));
        if cycles > 0 && self.cycles < needed {
            return Err(needed - self.cycles);
        }
        self.cycles -= cycles.min(self.cycles);
        Ok(())
    }

    /// Open calls of a context.
    pub fn open_calls(&self, context: u64) -> usize {
        self.callbacks
            .values()
            .filter(|callback| callback.context == context)
            .count()
    }

    /// True when a principal is one of the controllers.
    pub fn is_controller(&self, who: &Principal) -> bool {
        self.settings.controllers.contains(who)
    }

    /// True when a principal may read the log, and with it backtraces.
    pub fn may_read_log(&self, who: &Principal) -> bool {
        self.is_controller(who) || self.settings.log_visibility.include(who)
    }

    /// True when the module has that entry point.
    pub fn exports(&self, export: Export) -> bool {
        self.code
            .as_ref()
            .is_some_and(|code| code.module.exports(export))
    }

    /// True when the low-memory hook runs next.
    pub fn hook_is_due(&self) -> bool {
        self.low_memory == LowMemoryHook::Ready && self.code.is_some()
    }

    /// A new number for a call context or callback.
    pub fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}

//! A canister.

use super::calls::{CallContext, Callback};
use super::code::Code;
use super::figures::{Consumed, QueryCounters, Totals};
use super::history::{Change, ChangeDetails, ChangeOrigin, History};
use super::ids::canister_index;
use super::paused::Paused;
use super::queues::Queues;
use super::settings::Settings;
use super::snapshot::Snapshot;
use super::status::{FirstInRound, LowMemoryHook, Status};
use crate::cycles::Fees;
use crate::log::Log;
use crate::memory::stable::Stable;
use crate::runtime::module::Export;
use crate::runtime::system_api::state::Idle;
use crate::storage::FileStore;
use candid::Principal;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why cycles were not put aside.
#[expect(
    missing_docs,
    reason = "the descriptions of the variants cover their fields"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReserved {
    /// The canister's limit, and by how much it would be exceeded.
    Limit { limit: u128, over: u128 },
    /// There are so many cycles too few.
    Cycles(u128),
}

/// A canister.
pub struct Canister {
    /// The canister's id.
    pub id: Principal,
    /// What controllers can set.
    pub settings: Settings,
    /// Cycles, without those put aside.
    pub cycles: u128,
    /// Cycles put aside for storage.
    pub reserved: u128,
    /// Cycles consumed so far, by use.
    pub consumed: Consumed,
    /// Whether it takes messages.
    pub status: Status,
    /// Open call contexts, by number.
    pub contexts: BTreeMap<u64, CallContext>,
    /// Calls that it waits for, by number.
    pub callbacks: BTreeMap<u64, Callback>,
    /// Number of the next context or callback.
    pub next_id: u64,
    /// Messages that wait, in and out.
    pub queues: Queues,
    /// When the global timer goes off, in nanoseconds since 1970.
    pub timer: Option<u64>,
    /// State of the low-memory hook.
    pub low_memory: LowMemoryHook,
    /// What comes first in the next round.
    pub first: FirstInRound,
    /// Version that `canister_version` returns.
    pub version: u64,
    /// Certified data, at most 32 bytes.
    pub certified_data: Vec<u8>,
    /// Installed code.
    pub code: Option<Code>,
    /// Stable memory.
    pub stable: Stable,
    /// Log of what it printed and how it trapped.
    pub log: Log,
    /// The chunk store, by SHA-256.
    pub chunks: BTreeMap<[u8; 32], Arc<Vec<u8>>>,
    /// Bytes changed that later rounds still account for.
    pub heap_delta_debit: u64,
    /// Instructions of installations that later rounds still account for.
    pub install_debit: u64,
    /// Accumulated priority.
    pub priority: i64,
    /// Priority to be taken away when the long message ends.
    pub priority_credit: i64,
    /// Its long message is among those that run first.
    pub long_prioritised: bool,
    /// A message longer than a slice that has not ended.
    pub paused: Option<Box<Paused>>,
    /// Rounds that an installation still takes.
    pub installing_rounds: u64,
    /// Timer, heartbeat or hook to run in this round.
    pub tasks: std::collections::VecDeque<Export>,
    /// What it has executed.
    pub totals: Totals,
    /// When storage was last paid for, in nanoseconds since 1970.
    pub last_charge_ns: u64,
    /// When it was created, in nanoseconds since 1970.
    pub created_ns: u64,
    /// Snapshots by id.
    pub snapshots: BTreeMap<Vec<u8>, Snapshot>,
    /// Number of the next snapshot.
    pub next_snapshot: u64,
    /// Changes of code and controllers.
    pub history: History,
    /// What queries have used.
    pub counters: Arc<QueryCounters>,
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

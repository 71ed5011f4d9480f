//! A local replica of the Internet Computer: runs canister Wasm under the IC's rules.
//!
//! [`Replica`] is the deterministic state machine: canisters, messages, rounds, cycles and
//! instructions. The HTTP interface around it is in the `http` module.

mod checkpoint;
pub mod conformance;
pub mod cycles;
pub mod http;
mod ingress;
mod limits;
pub mod log;
pub mod management;
pub mod memory;
mod messages;
pub mod modules;
mod query_state;
pub mod replicated_state;
pub mod runtime;
mod scheduler;
pub mod storage;
mod types;

pub use candid::Principal;
pub use query_state::Committed;
pub use replicated_state::figures::Totals;
pub use runtime::module::enable_profile;
pub use scheduler::RoundReport;
pub use types::{
    CanisterInfo, Ingress, IngressStatus, Owner, QueryResult, Reject, ReplicaConfig, ReplicaError,
};

use cycles::{Fees, Saturation};
use modules::validate::Visibility;
use replicated_state::Canisters;
use replicated_state::paused::RoundContext;
use runtime::engine::Engine;
use runtime::instance::GlobalValue;
use runtime::module::Export;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use storage::FileStore;

/// First and last number of the canisters that the subnet hosts.
const CANISTER_RANGE: (u64, u64) = (0, 0xf_ffff);

/// Bytes for `ic0.data_certificate_copy` of a canister in a query, from its id and its certified
/// data.
pub type DataCertificate = Arc<dyn Fn(&Principal, &[u8]) -> Vec<u8> + Send + Sync>;

/// The state machine of one subnet.
pub struct Replica {
    config: ReplicaConfig,
    canisters: Canisters,
    next_canister: u64,
    time_ns: u64,
    last_round_ns: u64,
    last_charge_ns: u64,
    rounds: u64,
    pending: Vec<Ingress>,
    ingress: BTreeMap<[u8; 32], ingress::Tracked>,
    subnet_id: Principal,
    root_key: Arc<[u8]>,
    subnet_queue: VecDeque<management::call::Call>,
    subnet_outbox: Vec<replicated_state::Request>,
    random_requests: Vec<replicated_state::Origin>,
    delayed: Vec<replicated_state::calls::DelayedAnswer>,
    /// Modules that have been paid for being compiled.
    compiled: HashSet<[u8; 32]>,
    /// Instructions of all installations.
    install_instructions: u64,
    certificate: Option<DataCertificate>,
    last_query_instructions: u64,
    last_report: RoundReport,
    /// Instructions of a round.
    round_instructions: i64,
    store: Arc<FileStore>,
    /// What queries are answered from.
    committed: Committed,
    /// Something happened that is not committed yet.
    uncommitted: bool,
    /// Something happened that is not saved yet.
    unsaved: bool,
}

impl Replica {
    /// A replica with no canisters, or the one stored in `config.state_dir`.
    ///
    /// # Errors
    /// When the state directory cannot be read or the engine cannot be set up.
    pub fn new(config: ReplicaConfig) -> Result<Replica, ReplicaError> {
        Engine::get().map_err(ReplicaError::Engine)?;
        let time_ns = config.start_time_ns.unwrap_or_else(|| {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_nanos() as u64)
        });
        let mut replica = Replica {
            canisters: Canisters::new(),
            next_canister: CANISTER_RANGE.0,
            time_ns,
            last_round_ns: time_ns,
            last_charge_ns: time_ns,
            rounds: 0,
            pending: Vec::new(),
            ingress: BTreeMap::new(),
            subnet_id: Principal::self_authenticating(b"replica subnet"),
            root_key: Arc::from(&[][..]),
            subnet_queue: VecDeque::new(),
            subnet_outbox: Vec::new(),
            random_requests: Vec::new(),
            delayed: Vec::new(),
            compiled: HashSet::new(),
            install_instructions: 0,
            certificate: None,
            last_query_instructions: 0,
            last_report: RoundReport::default(),
            round_instructions: limits::ROUND,
            store: FileStore::open(config.state_dir.clone())?,
            committed: Committed::default(),
            uncommitted: true,
            unsaved: false,
            config,
        };
        replica.load()?;
        replica.commit(|| ());
        Ok(replica)
    }

    /// Checks an ingress message (induction rules, `canister_inspect_message`) and queues it for
    /// the next round. Submitting the same request id again changes nothing.
    ///
    /// # Errors
    /// The reject that the IC gives synchronously; no status is recorded then.
    pub fn submit(&mut self, message: Ingress) -> Result<(), Reject> {
        self.take_ingress(message, true).map_err(Reject::from)
    }

    /// Like [`Replica::submit`] without asking the canister: as a block of another node brings it.
    ///
    /// # Errors
    /// As [`Replica::submit`].
    pub fn submit_uninspected(&mut self, message: Ingress) -> Result<(), Reject> {
        self.take_ingress(message, false).map_err(Reject::from)
    }

    /// True when a round started now would execute something.
    pub fn has_work(&self) -> bool {
        !self.pending.is_empty()
            || !self.subnet_queue.is_empty()
            || !self.random_requests.is_empty()
            || !self.delayed.is_empty()
            || self
                .canisters
                .values()
                .any(|canister| self.has_work_for(canister))
    }

    fn has_work_for(&self, canister: &replicated_state::Canister) -> bool {
        let running = matches!(canister.status, replicated_state::Status::Running);
        let stopping = matches!(canister.status, replicated_state::Status::Stopping(_));
        let due = canister.timer.is_some_and(|time| time <= self.time_ns);
        scheduler::has_next(canister)
            || (running && due && canister.exports(Export::GlobalTimer))
            || (running && canister.exports(Export::Heartbeat))
            || (stopping && canister.callbacks.is_empty())
            || canister
                .callbacks
                .values()
                .any(|callback| scheduler::has_passed(callback.deadline_ns, self.time_ns))
    }

    /// The earliest global timer of all canisters, in nanoseconds since 1970.
    pub fn next_timer_ns(&self) -> Option<u64> {
        self.canisters
            .values()
            .filter(|canister| matches!(canister.status, replicated_state::Status::Running))
            .filter_map(|canister| canister.timer)
            .min()
    }

    /// Sets how many instructions a round may take, 2 billion at first as on the IC: with few, a test
    /// sees what happens between the messages of a chain.
    pub fn set_round_instructions(&mut self, instructions: u32) {
        self.round_instructions = i64::from(instructions);
    }

    /// Executes one consensus round.
    pub fn execute_round(&mut self) {
        self.run_round();
        self.commit(|| ());
    }

    /// Executes a round; nobody sees it before [`Replica::commit`].
    pub(crate) fn run_round(&mut self) {
        self.uncommitted = true;
        self.last_report = self.round();
    }

    /// The state after the last round, to answer queries from while another runs.
    pub fn committed(&self) -> Committed {
        self.committed.clone()
    }

    /// What the last round executed.
    pub fn last_round(&self) -> RoundReport {
        self.last_report
    }

    /// Sets the time that the next rounds and queries see, in nanoseconds since 1970. Time never
    /// goes back: an earlier value is ignored.
    pub fn set_time_ns(&mut self, time_ns: u64) {
        self.time_ns = self.time_ns.max(time_ns);
    }

    /// The time that canisters see now, in nanoseconds since 1970.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// Moves the time forward by `by_ns` nanoseconds.
    pub fn advance_ns(&mut self, by_ns: u64) {
        self.time_ns += by_ns;
    }

    /// State of an ingress message; kept for at least five minutes after the answer.
    pub fn ingress_status(&self, id: &[u8; 32]) -> IngressStatus {
        self.ingress
            .get(id)
            .map_or(IngressStatus::Unknown, |tracked| tracked.status.clone())
    }

    /// All ingress messages that are still remembered, in order of their request ids.
    pub fn ingress_statuses(&self) -> Vec<([u8; 32], IngressStatus)> {
        self.ingress
            .iter()
            .map(|(id, tracked)| (*id, tracked.status.clone()))
            .collect()
    }

    /// Runs a query (also a query of the management canister, such as `fetch_canister_logs`);
    /// changes are discarded.
    pub fn query(
        &mut self,
        sender: Principal,
        canister: Principal,
        method: &str,
        arg: &[u8],
    ) -> QueryResult {
        self.commit(|| ());
        let (committed, now) = (&self.committed, self.time_ns);
        let (result, instructions) = crate::runtime::stack::on_big_stack(|| {
            committed.query(sender, canister, method, arg, now)
        });
        self.last_query_instructions = instructions;
        result
    }

    /// Instructions of the last query, with all that it called.
    pub fn last_query_instructions(&self) -> u64 {
        self.last_query_instructions
    }

    /// Ids of all canisters, ascending.
    pub fn canisters(&self) -> Vec<Principal> {
        self.canisters.keys().copied().collect()
    }

    /// What the certified state tree and the gateway need to know of a canister.
    pub fn canister_info(&self, id: &Principal) -> Option<CanisterInfo> {
        let canister = self.canisters.get(id)?;
        let module = canister.code.as_ref().map(|code| &code.module);
        let sections = |wanted: Visibility| {
            module.map_or_else(Vec::new, |module| {
                module
                    .metadata
                    .iter()
                    .filter(|(_, (visibility, _))| *visibility == wanted)
                    .map(|(name, (_, data))| (name.clone(), data.clone()))
                    .collect()
            })
        };
        Some(CanisterInfo {
            controllers: canister.settings.controllers.clone(),
            module_hash: module.map(|module| module.hash),
            certified_data: canister.certified_data.clone(),
            public_metadata: sections(Visibility::Public),
            private_metadata: sections(Visibility::Private),
        })
    }

    /// A canister's state, to look at.
    pub fn canister(&self, id: &Principal) -> Option<&replicated_state::Canister> {
        self.canisters.get(id)
    }

    /// What a canister has executed so far; none when it does not exist.
    pub fn totals(&self, id: &Principal) -> Option<Totals> {
        self.canisters.get(id).map(|canister| canister.totals)
    }

    /// A canister's instructions by function since its code was installed, where
    /// [`enable_profile`] came before that: what its own operators cost, without the System API.
    pub fn profile(&self, id: &Principal) -> Vec<(String, u64)> {
        let Some(code) = self.canisters.get(id).and_then(|c| c.code.as_ref()) else {
            return Vec::new();
        };
        let names = &code.module.profiled;
        let counts = &code.globals[code.globals.len().saturating_sub(names.len())..];
        let count = |value: &Option<GlobalValue>| match value {
            Some(GlobalValue::I64(n)) => *n as u64,
            _ => 0,
        };
        names
            .iter()
            .cloned()
            .zip(counts.iter().map(count))
            .collect()
    }

    /// Instructions of all installations so far.
    pub fn install_instructions(&self) -> u64 {
        self.install_instructions
    }

    /// Sets where queries get their data certificate: called with the canister and its certified
    /// data.
    pub fn set_data_certificate(&mut self, source: DataCertificate) {
        self.certificate = Some(source);
        self.uncommitted = true;
    }

    /// Sets the subnet's id and the root key that canisters read, DER-encoded.
    pub fn set_identity(&mut self, subnet_id: Principal, root_key: Vec<u8>) {
        self.subnet_id = subnet_id;
        self.root_key = root_key.into();
        self.uncommitted = true;
    }

    /// First and last canister id that this subnet hosts.
    pub fn effective_range(&self) -> (Principal, Principal) {
        (
            replicated_state::ids::canister_id(CANISTER_RANGE.0),
            replicated_state::ids::canister_id(CANISTER_RANGE.1),
        )
    }

    /// The settings that this replica was made with.
    pub fn config(&self) -> &ReplicaConfig {
        &self.config
    }

    /// Adds cycles to a canister out of nothing; false when it does not exist.
    pub fn top_up(&mut self, id: &Principal, cycles: u128) -> bool {
        match self.canisters.get_mut(id) {
            Some(canister) => {
                canister.cycles += cycles;
                self.uncommitted = true;
                self.unsaved = true;
                true
            }
            None => false,
        }
    }

    pub(crate) fn fees(&self) -> Fees {
        Fees {
            free: self.config.free,
        }
    }

    /// How full the subnet is.
    pub(crate) fn saturation(&self) -> Saturation {
        let usage = self
            .canisters
            .values()
            .map(replicated_state::Canister::paid_bytes);
        let (threshold, capacity) = self
            .config
            .storage
            .unwrap_or((cycles::STORAGE_THRESHOLD, cycles::STORAGE_CAPACITY));
        let threads = limits::THREADS as u64;
        Saturation::of_thread(usage.sum(), threshold, capacity, threads)
    }

    pub(crate) fn round_context(&self) -> RoundContext {
        RoundContext {
            time_ns: self.time_ns,
            subnet: self.subnet_id,
            root_key: self.root_key.clone(),
            fees: self.fees(),
            saturation: self.saturation(),
            store: self.store.clone(),
        }
    }
}

//! The thread that owns the state machine: it runs rounds when there is something to do, answers
//! what it is asked in between, and publishes the certified state after each round.

use super::certified::{CertifiedState, Parts, canister_tree, subnet_trees};
use super::keys::Keys;
use super::requests::{Owner, RequestId, Requests};
use super::tree::Tree;
use crate::{CanisterInfo, Committed, Ingress, Principal, QueryResult, Reject, Replica};
use ic_transport_types::SubnetMetrics;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, oneshot};

/// How old the published time may be when the machine is idle.
const MAX_AGE: Duration = Duration::from_millis(500);
/// How often forgotten requests are looked for.
const SWEEP: Duration = Duration::from_secs(30);
/// Most queries at the same time; there are not more than cores.
const MAX_QUERIES: usize = 6;
/// How many commands are taken between two rounds.
const MAX_COMMANDS: usize = 1_024;

type Command = Box<dyn FnOnce(&mut Machine) + Send>;

/// The machine has stopped, or the command failed in it.
#[derive(Debug, thiserror::Error)]
#[error("the replica has stopped or failed")]
pub struct Stopped;

/// What others see of the machine without waiting for it.
pub struct Published {
    snapshot: RwLock<Arc<Snapshot>>,
    owners: Mutex<BTreeMap<RequestId, Owner>>,
    executing: AtomicBool,
    running: AtomicBool,
    round: AtomicU64,
    /// Replica time minus wall clock, in nanoseconds: time travel.
    offset_ns: AtomicI64,
    committed: Committed,
    /// Queries that may run at the same time.
    queries: Semaphore,
}

/// The state after the last round.
pub struct Snapshot {
    /// The certified part of it.
    pub certified: CertifiedState,
    /// Per canister, who may read what.
    pub canisters: Arc<BTreeMap<Principal, Access>>,
    /// Per canister, what it has executed so far.
    pub metrics: Vec<(Principal, Metrics)>,
}

/// What a canister has executed so far.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Metrics {
    /// Messages executed.
    pub messages: u64,
    /// Their instructions.
    pub instructions: u64,
    /// Instructions of the largest.
    pub largest_message: u64,
    /// Rounds in which the canister executed something.
    pub rounds: u64,
    /// Its balance.
    pub cycles: u128,
}

/// Who may read a canister's metadata.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Its controllers.
    pub controllers: Vec<Principal>,
    /// Names of the sections that only controllers may read.
    pub private_metadata: Vec<String>,
}

impl Published {
    /// The state after the last round.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sender and receiver of a request, when they are known.
    pub fn owner(&self, id: &RequestId) -> Option<Owner> {
        self.owners().get(id).copied()
    }

    /// Whether a round is being executed.
    pub fn is_executing(&self) -> bool {
        self.executing.load(Ordering::Acquire)
    }

    /// Whether the machine runs.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// How many rounds were executed since the start.
    pub fn round(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    /// Now by the replica's clock, in nanoseconds since 1970.
    fn now_ns(&self) -> u64 {
        let offset = self.offset_ns.load(Ordering::Acquire);
        wall_ns().saturating_add_signed(offset)
    }

    fn set_snapshot(&self, snapshot: Snapshot) {
        let mut published = self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *published = Arc::new(snapshot);
    }

    fn owners(&self) -> std::sync::MutexGuard<'_, BTreeMap<RequestId, Owner>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the machine.
#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
    published: Arc<Published>,
}

impl Handle {
    /// What is known without waiting.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Runs `f` between two rounds.
    ///
    /// # Errors
    /// When the machine has stopped, or `f` panics.
    pub async fn run<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Machine) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (send, receive) = oneshot::channel();
        self.send(f, move |answer| drop(send.send(answer)))?;
        receive.await.map_err(|_| Stopped)
    }

    /// Runs `f` between two rounds, on a thread that may block.
    ///
    /// # Errors
    /// When the machine has stopped, or `f` panics.
    pub fn run_blocking<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Machine) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (send, receive) = channel();
        self.send(f, move |answer| drop(send.send(answer)))?;
        receive.recv().map_err(|_| Stopped)
    }

    /// Answers a query from the state after the last round, also while a round runs. Gives the
    /// time of the answer too, in nanoseconds since 1970.
    ///
    /// # Errors
    /// When the machine has stopped.
    pub async fn query(
        &self,
        sender: Principal,
        canister: Principal,
        method: String,
        arg: Vec<u8>,
    ) -> Result<(QueryResult, u64), Stopped> {
        let published = self.published.clone();
        if !published.is_running() {
            return Err(Stopped);
        }
        let _turn = self
            .published
            .queries
            .acquire()
            .await
            .map_err(|_| Stopped)?;
        let answered = tokio::task::spawn_blocking(move || {
            let now = published.now_ns();
            let (result, _) = published
                .committed
                .query(sender, canister, &method, &arg, now);
            (result, now)
        });
        answered.await.map_err(|_| Stopped)
    }

    /// The state to certify from: a fresh one, or while a round runs the last one.
    pub async fn fresh_snapshot(&self) -> Arc<Snapshot> {
        if !self.published.is_executing() {
            let refresh = self.run(Machine::publish_when_old);
            // When a round has begun meanwhile, its end is not waited for.
            let _ = tokio::time::timeout(Duration::from_millis(200), refresh).await;
        }
        self.published.snapshot()
    }

    fn send<R>(
        &self,
        f: impl FnOnce(&mut Machine) -> R + Send + 'static,
        answer: impl FnOnce(R) + Send + 'static,
    ) -> Result<(), Stopped> {
        self.commands
            .send(Box::new(move |machine| answer(f(machine))))
            .map_err(|_| Stopped)
    }
}

/// The state machine with what is needed around it.
pub struct Machine {
    /// The canisters.
    pub replica: Replica,
    keys: Arc<Keys>,
    published: Arc<Published>,
    published_at: Instant,
    requests: Requests,
    canisters: BTreeMap<Principal, Certifiable>,
    canister_tree: Tree,
    access: Arc<BTreeMap<Principal, Access>>,
    wake: Vec<oneshot::Sender<()>>,
    changed: bool,
    stop: bool,
    round_interval: Duration,
    next_round: Instant,
    next_sweep: Instant,
}

struct Certifiable {
    info: CanisterInfo,
    tree: Tree,
}

/// Starts the machine's thread. `round_interval` is the shortest time between two rounds.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(
    replica: Replica,
    keys: Arc<Keys>,
    round_interval: Duration,
) -> std::io::Result<(Handle, JoinHandle<()>)> {
    let (commands, receiver) = channel();
    let mut machine = Machine::new(replica, keys, round_interval);
    let published = machine.published.clone();
    let thread = std::thread::Builder::new()
        .name("machine".into())
        .spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| machine.work(&receiver)));
            machine.published.running.store(false, Ordering::Release);
            machine.published.executing.store(false, Ordering::Release);
            if result.is_err() {
                eprintln!("replica: a round failed; nothing more is executed");
            }
        })?;
    Ok((
        Handle {
            commands,
            published,
        },
        thread,
    ))
}

impl Machine {
    fn new(mut replica: Replica, keys: Arc<Keys>, round_interval: Duration) -> Machine {
        let (wall, start) = (wall_ns(), replica.time_ns());
        let offset_ns = match replica.config().start_time_ns {
            Some(_) => i128::from(start) - i128::from(wall),
            // A stored state may be ahead of the clock.
            None => i128::from(start.saturating_sub(wall)),
        };
        let offset_ns = i64::try_from(offset_ns).unwrap_or(0);
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let parts = Parts {
            canisters: Tree::empty(),
            requests: Tree::empty(),
            subnet: Tree::empty(),
            ranges: Tree::empty(),
        };
        let published = Arc::new(Published {
            snapshot: RwLock::new(Arc::new(Snapshot {
                certified: CertifiedState::new(start, parts, keys.clone()),
                canisters: Arc::default(),
                metrics: Vec::new(),
            })),
            owners: Mutex::default(),
            executing: AtomicBool::new(false),
            running: AtomicBool::new(true),
            round: AtomicU64::new(0),
            offset_ns: AtomicI64::new(offset_ns),
            committed: replica.committed(),
            queries: Semaphore::new(cores.clamp(2, MAX_QUERIES)),
        });
        replica.set_identity(keys.subnet_id(), keys.root_key_der().to_vec());
        let source = published.clone();
        replica.set_data_certificate(Arc::new(move |canister, _certified_data| {
            source.snapshot().certified.data_certificate(canister)
        }));
        let now = Instant::now();
        for (id, _) in replica.ingress_statuses() {
            if let Some(owner) = replica.ingress_owner(&id) {
                published.owners().insert(id, owner);
            }
        }
        let mut machine = Machine {
            replica,
            keys,
            published,
            published_at: now,
            requests: Requests::default(),
            canisters: BTreeMap::new(),
            canister_tree: Tree::empty(),
            access: Arc::default(),
            wake: Vec::new(),
            changed: true,
            stop: false,
            round_interval,
            next_round: now,
            next_sweep: now + SWEEP,
        };
        machine.adopt_changes();
        machine
    }

    /// Submits a checked call. With `waiter`, tells it when the call is answered.
    ///
    /// # Errors
    /// The reject that the IC gives without executing the call.
    pub fn submit(
        &mut self,
        mut ingress: Ingress,
        waiter: Option<oneshot::Sender<()>>,
    ) -> Result<(), Reject> {
        let id = ingress.request_id;
        if !self.requests.contains(&id) {
            let owner = Owner {
                sender: ingress.sender,
                receiver: ingress.canister_id,
            };
            // Clients go by the wall clock, canisters by the replica's time.
            let offset = self.published.offset_ns.load(Ordering::Acquire);
            ingress.ingress_expiry_ns = ingress.ingress_expiry_ns.saturating_add_signed(offset);
            self.replica.submit(ingress)?;
            self.requests.insert(id, Some(owner));
            self.published.owners().insert(id, owner);
            self.changed |= self.requests.update(&id, &self.replica, &mut self.wake);
        }
        if let Some(waiter) = waiter {
            self.requests.wait(&id, waiter);
        }
        Ok(())
    }

    /// Runs `f` on the replica and takes over whatever it changed, the time included.
    pub fn with_replica<R>(&mut self, f: impl FnOnce(&mut Replica) -> R) -> R {
        let before = self.replica.time_ns();
        let answer = f(&mut self.replica);
        let travelled = self.replica.time_ns().saturating_sub(before);
        let travelled = i64::try_from(travelled).unwrap_or(i64::MAX);
        self.published
            .offset_ns
            .fetch_add(travelled, Ordering::AcqRel);
        self.adopt_changes();
        answer
    }

    /// Publishes again when the published time is old.
    pub fn publish_when_old(&mut self) {
        if self.changed || self.published_at.elapsed() > MAX_AGE {
            self.publish();
        }
    }

    /// Ends the machine's thread after the commands that are already waiting.
    pub fn stop(&mut self) {
        self.stop = true;
    }

    fn work(&mut self, commands: &Receiver<Command>) {
        while !self.stop {
            match commands.recv_timeout(self.idle_time()) {
                Ok(command) => {
                    self.set_time();
                    self.execute(command);
                    for command in commands.try_iter().take(MAX_COMMANDS) {
                        self.execute(command);
                    }
                    // A waiting request is to be seen as received while a long round runs.
                    if self.changed {
                        self.publish();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.set_time();
            if !self.stop && Instant::now() >= self.next_round && self.replica.has_work() {
                self.round();
            }
            if Instant::now() >= self.next_sweep {
                self.sweep();
            }
        }
    }

    /// How long there is nothing to do but to wait for commands.
    fn idle_time(&self) -> Duration {
        let longest = Duration::from_secs(1);
        if self.replica.has_work() {
            return self.next_round.saturating_duration_since(Instant::now());
        }
        match self.replica.next_timer_ns() {
            Some(timer) => longest.min(Duration::from_nanos(
                timer.saturating_sub(self.published.now_ns()),
            )),
            None => longest,
        }
    }

    fn execute(&mut self, command: Command) {
        if self.published_at.elapsed() > MAX_AGE {
            self.publish();
        }
        // A panic is this command's failure: its sender learns it from the dropped channel.
        let _ = catch_unwind(AssertUnwindSafe(|| command(self)));
    }

    fn round(&mut self) {
        let start = Instant::now();
        self.published.executing.store(true, Ordering::Release);
        self.replica.run_round();
        self.requests.update_pending(&self.replica, &mut self.wake);
        self.refresh_canisters();
        self.publish();
        self.published.round.fetch_add(1, Ordering::AcqRel);
        self.published.executing.store(false, Ordering::Release);
        self.next_round = start + self.round_interval;
    }

    fn adopt_changes(&mut self) {
        self.requests.adopt(&self.replica, &mut self.wake);
        self.refresh_canisters();
        self.publish();
    }

    fn refresh_canisters(&mut self) {
        let ids = self.replica.canisters();
        let before = self.canisters.len();
        self.canisters.retain(|id, _| ids.binary_search(id).is_ok());
        let mut changed = self.canisters.len() != before;
        for id in ids {
            let Some(info) = self.replica.canister_info(&id) else {
                continue;
            };
            if self
                .canisters
                .get(&id)
                .is_some_and(|known| same(&known.info, &info))
            {
                continue;
            }
            changed = true;
            let tree = canister_tree(&info);
            self.canisters.insert(id, Certifiable { info, tree });
        }
        if changed {
            self.canister_tree = Tree::map(
                self.canisters
                    .iter()
                    .map(|(id, known)| (id.as_slice(), known.tree.clone())),
            );
            self.access = Arc::new(
                self.canisters
                    .iter()
                    .map(|(id, known)| (*id, access(&known.info)))
                    .collect(),
            );
        }
    }

    fn publish(&mut self) {
        let range = self.replica.effective_range();
        let (subnet, ranges) = subnet_trees(&self.keys, range, &self.subnet_metrics());
        let parts = Parts {
            canisters: self.canister_tree.clone(),
            requests: self.requests.tree(),
            subnet,
            ranges,
        };
        let snapshot = Snapshot {
            certified: CertifiedState::new(self.replica.time_ns(), parts, self.keys.clone()),
            canisters: self.access.clone(),
            metrics: self.metrics(),
        };
        let published = self.published.clone();
        self.replica.commit(|| published.set_snapshot(snapshot));
        self.published_at = Instant::now();
        self.changed = false;
        for waiter in self.wake.drain(..) {
            // Nobody may be listening any more.
            let _ = waiter.send(());
        }
    }

    fn subnet_metrics(&self) -> SubnetMetrics {
        let mut metrics = SubnetMetrics {
            num_canisters: 0,
            canister_state_bytes: 0,
            consumed_cycles_total: 0,
            update_transactions_total: 0,
        };
        for id in self.canisters.keys() {
            let Some(canister) = self.replica.canister(id) else {
                continue;
            };
            let used = canister.consumed;
            let cycles =
                used.instructions + used.burned + used.ingress + used.transmission + used.storage;
            metrics.num_canisters += 1;
            metrics.canister_state_bytes += canister.memory_usage();
            metrics.consumed_cycles_total += u128::try_from(cycles).unwrap_or(0);
            metrics.update_transactions_total += canister.totals.messages;
        }
        metrics
    }

    fn metrics(&self) -> Vec<(Principal, Metrics)> {
        let ids = self.canisters.keys();
        ids.filter_map(|id| {
            let totals = self.replica.totals(id)?;
            let metrics = Metrics {
                messages: totals.messages,
                instructions: totals.instructions,
                largest_message: totals.largest,
                rounds: totals.rounds,
                cycles: self.replica.canister(id)?.cycles,
            };
            Some((*id, metrics))
        })
        .collect()
    }

    fn sweep(&mut self) {
        for id in self.requests.forget(&self.replica) {
            self.published.owners().remove(&id);
        }
        self.changed = true;
        self.next_sweep = Instant::now() + SWEEP;
    }

    fn set_time(&mut self) {
        let now = self.published.now_ns();
        self.replica.set_time_ns(now);
    }
}

/// Now by the wall clock, in nanoseconds since 1970.
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// Whether two states of a canister are certified the same. The metadata is part of the module.
fn same(a: &CanisterInfo, b: &CanisterInfo) -> bool {
    a.module_hash == b.module_hash
        && a.certified_data == b.certified_data
        && a.controllers == b.controllers
}

fn access(info: &CanisterInfo) -> Access {
    let names = info.private_metadata.iter().map(|(name, _)| name.clone());
    Access {
        controllers: info.controllers.clone(),
        private_metadata: names.collect(),
    }
}

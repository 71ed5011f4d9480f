//! Rounds: which canister executes what, by the IC's rules.
//!
//! A round goes in inner rounds. In each, the canisters with input are dealt to four threads; a
//! thread executes its canisters' messages while it has instructions left. Then messages are
//! delivered, and the next inner round begins with what the busiest thread left over.

mod priority;
mod thread;

use crate::cycles::SLICE;
use crate::limits::{
    CHARGE_EVERY_NS, HEAP_DELTA_ITERATION, HEAP_DELTA_RATE, PER_CANISTER_FINALIZATION,
    SUBNET_MESSAGES,
};
use crate::management::call::{self, Ended};
use crate::management::lifecycle::uninstall;
use crate::messages::execution::Effects;
use crate::replicated_state::paused::RoundContext;
use crate::replicated_state::queues::Letter;
use crate::replicated_state::status::FirstInRound;
use crate::replicated_state::{Canister, Origin, Status};
use crate::runtime::failure::{ErrorCode, UserError};
use crate::runtime::module::Export;
use crate::{IngressStatus, Replica};
use candid::Principal;
use priority::Schedule;
use std::collections::BTreeSet;

/// What one round executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundReport {
    /// Messages that ended.
    pub messages: u64,
    /// Their instructions.
    pub instructions: u64,
}

/// True when a canister has something to execute.
pub(crate) fn has_next(canister: &Canister) -> bool {
    priority::next(canister) != priority::Next::Nothing || canister.installing_rounds > 0
}

/// True when a best-effort call's deadline has passed: deadlines are whole seconds, and so is the time
/// that they are compared with.
pub(crate) fn has_passed(deadline_ns: u64, now_ns: u64) -> bool {
    const SECOND: u64 = 1_000_000_000;
    deadline_ns != 0 && deadline_ns / SECOND < now_ns / SECOND
}

impl Replica {
    /// Executes one consensus round.
    pub(crate) fn round(&mut self) -> RoundReport {
        self.rounds += 1;
        self.time_ns = self.time_ns.max(self.last_round_ns + 1);
        self.last_round_ns = self.time_ns;
        let mut report = RoundReport::default();
        let mut effects = Effects::default();
        let schedule = Schedule::new(&mut self.canisters, self.rounds);
        self.time_out_calls();
        self.answer_random(&mut effects);
        self.answer_delayed(&mut effects);
        self.induct_ingress(&mut effects);
        self.expire_ingress(&mut effects);
        self.drain_subnet_queue(&mut effects);
        self.settle(effects, &mut report);

        let fully_executed = self.inner_rounds(&schedule, &mut report);
        schedule.finish(&mut self.canisters, &fully_executed);

        let mut effects = Effects::default();
        self.route_outside();
        self.process_stopping(&mut effects);
        self.charge_for_storage(&mut effects);
        self.settle(effects, &mut report);
        for canister in self.canisters.values_mut() {
            canister.heap_delta_debit = canister.heap_delta_debit.saturating_sub(HEAP_DELTA_RATE);
            canister.install_debit = canister.install_debit.saturating_sub(SLICE);
            canister.tasks.clear();
            canister.installing_rounds = canister.installing_rounds.saturating_sub(1);
        }
        self.prune_ingress();
        report
    }

    /// Takes over what executions brought.
    fn settle(&mut self, effects: Effects, report: &mut RoundReport) {
        self.unsaved |= effects.messages > 0 || !effects.ingress.is_empty();
        report.messages += effects.messages;
        report.instructions += effects.instructions;
        for (id, status) in effects.ingress {
            self.set_ingress(id, status);
        }
    }

    fn inner_rounds(
        &mut self,
        schedule: &Schedule,
        report: &mut RoundReport,
    ) -> BTreeSet<Principal> {
        let mut budget = self.round_instructions;
        let mut fully_executed = BTreeSet::new();
        let mut first = true;
        let mut heap_delta = 0;
        let round = self.round_context();
        for canister in self.canisters.values_mut() {
            add_tasks(canister, &round);
        }
        loop {
            let (active, prioritised) = schedule.active(&self.canisters, HEAP_DELTA_RATE);
            schedule.charge_idle(&mut self.canisters, &mut fully_executed);
            if active.is_empty() {
                break;
            }
            let threads = priority::deal(&active, prioritised);
            let results = thread::execute(
                &mut self.canisters,
                threads,
                budget,
                &round,
                first,
                HEAP_DELTA_ITERATION,
            );
            let mut used = 0;
            for result in results {
                used = used.max(result.used);
                heap_delta += result.effects.heap_delta;
                fully_executed.extend(result.fully_executed);
                self.settle(result.effects, report);
            }
            budget -= used;
            if used == 0 || budget <= 0 || heap_delta >= HEAP_DELTA_ITERATION {
                break;
            }
            self.deliver();
            budget -= PER_CANISTER_FINALIZATION * self.canisters.len() as i64;
            if budget <= 0 {
                break;
            }
            first = false;
        }
        fully_executed
    }

    /// Delivers messages among the canisters of the subnet; what is for nobody here stays.
    fn deliver(&mut self) {
        let ids: Vec<Principal> = self.canisters.keys().copied().collect();
        for id in ids {
            while let Some(letter) = self
                .canisters
                .get_mut(&id)
                .and_then(|canister| canister.queues.pop_output())
            {
                self.deliver_letter(letter);
            }
        }
    }

    fn deliver_letter(&mut self, letter: Letter) {
        let reject =
            |this: &mut Replica, request: crate::replicated_state::Request, code, text: String| {
                if let Some(sender) = this.canisters.get_mut(&request.sender) {
                    let answer = crate::runtime::system_api::state::Answer::Reject(code, text);
                    sender
                        .queues
                        .push_input(Letter::Response(crate::replicated_state::Response {
                            receiver: request.sender,
                            respondent: request.receiver,
                            callback: request.callback,
                            answer,
                            refund: request.cycles,
                        }));
                }
            };
        match letter {
            Letter::Response(response) => {
                if let Some(receiver) = self.canisters.get_mut(&response.receiver) {
                    if receiver.callbacks.contains_key(&response.callback) {
                        receiver.queues.push_input(Letter::Response(response));
                    } else {
                        // The caller waits no more; its cycles come back all the same.
                        receiver.cycles += response.refund;
                    }
                }
            }
            Letter::Request(request)
                if request.receiver == Principal::management_canister()
                    || request.receiver == self.subnet_id =>
            {
                self.subnet_outbox.push(request);
            }
            Letter::Request(request) => {
                let id = request.receiver;
                match self.canisters.get_mut(&id) {
                    Some(receiver) => match receiver.status {
                        Status::Running => receiver.queues.push_input(Letter::Request(request)),
                        Status::Stopping(_) => {
                            reject(self, request, 5, format!("Canister {id} is stopping"));
                        }
                        Status::Stopped => {
                            reject(self, request, 5, format!("Canister {id} is stopped"));
                        }
                    },
                    None => {
                        let (first, last) = self.effective_range();
                        let text = if first <= id && id <= last {
                            format!("Canister {id} not found")
                        } else {
                            format!("No route to canister {id}")
                        };
                        reject(self, request, 3, text);
                    }
                }
            }
        }
    }

    /// Delivers what is left at the end of a round, and takes calls of the management canister.
    fn route_outside(&mut self) {
        self.deliver();
        for request in std::mem::take(&mut self.subnet_outbox) {
            self.subnet_queue.push_back(call::Call {
                origin: Origin::Canister {
                    sender: request.sender,
                    callback: request.callback,
                    deadline_ns: request.deadline_ns,
                },
                method: request.method,
                arg: request.arg,
                cycles: request.cycles,
            });
        }
    }

    /// Executes calls of the management canister, but not those about a canister that is busy.
    fn drain_subnet_queue(&mut self, effects: &mut Effects) {
        let before = self.install_instructions;
        let mut waiting = std::collections::VecDeque::new();
        self.unsaved |= !self.subnet_queue.is_empty();
        while let Some(call) = self.subnet_queue.pop_front() {
            let used = self.install_instructions - before;
            if used >= SUBNET_MESSAGES || self.is_busy(&call) {
                waiting.push_back(call);
                continue;
            }
            match self.manage(&call, effects) {
                Ended::Now(result, refund) => {
                    self.answer(&call.origin, result, refund, effects);
                }
                Ended::Later => {
                    if let Origin::Ingress { id, .. } = &call.origin {
                        effects.ingress.push((*id, IngressStatus::Processing));
                    }
                }
            }
        }
        self.subnet_queue = waiting;
    }

    fn is_busy(&self, call: &call::Call) -> bool {
        let changes = matches!(
            call.method.as_str(),
            "install_code"
                | "install_chunked_code"
                | "stop_canister"
                | "uninstall_code"
                | "delete_canister"
                | "take_canister_snapshot"
                | "load_canister_snapshot"
        );
        if !changes {
            return false;
        }
        let installs = call.method.starts_with("install");
        let target = call::target(&call.method, &call.arg).ok().flatten();
        let canister = target.and_then(|id| self.canisters.get(&id));
        let snapshot = call.method.ends_with("_canister_snapshot");
        canister.is_some_and(|c| {
            c.paused.is_some()
                || c.installing_rounds > 0
                // Snapshots are made of what is stored.
                || (snapshot && c.has_unstored_changes())
        }) || (installs && !self.delayed.is_empty())
    }

    fn answer_delayed(&mut self, effects: &mut Effects) {
        for mut delayed in std::mem::take(&mut self.delayed) {
            delayed.rounds -= 1;
            if delayed.rounds == 0 {
                self.answer(&delayed.origin, delayed.result, delayed.cycles, effects);
            } else {
                self.delayed.push(delayed);
            }
        }
    }

    /// Answers `raw_rand` of the round before.
    fn answer_random(&mut self, effects: &mut Effects) {
        use sha2::{Digest, Sha256};
        for (index, origin) in std::mem::take(&mut self.random_requests)
            .into_iter()
            .enumerate()
        {
            let mut hash = Sha256::new();
            hash.update(b"raw_rand");
            hash.update(self.config.seed.to_le_bytes());
            hash.update(self.rounds.to_le_bytes());
            hash.update((index as u64).to_le_bytes());
            let bytes = serde_bytes::ByteBuf::from(hash.finalize().to_vec());
            let result = candid::encode_one(bytes).map_err(|error| {
                UserError::new(ErrorCode::InvalidManagementPayload, error.to_string())
            });
            self.answer(&origin, result, 0, effects);
        }
    }

    /// Rejects best-effort calls whose deadline has passed; late answers are dropped, and so are calls
    /// that have not begun.
    fn time_out_calls(&mut self) {
        let now = self.time_ns;
        let mut dropped = Vec::new();
        for canister in self.canisters.values_mut() {
            dropped.extend(
                canister
                    .queues
                    .take_late(|deadline| has_passed(deadline, now)),
            );
        }
        for request in dropped {
            if let Some(sender) = self.canisters.get_mut(&request.sender) {
                sender.cycles += request.cycles;
            }
        }
        for canister in self.canisters.values_mut() {
            let late: Vec<(u64, Principal)> = canister
                .callbacks
                .iter()
                .filter(|(_, callback)| has_passed(callback.deadline_ns, now))
                .filter(|(_, callback)| !callback.timed_out)
                .map(|(id, callback)| (*id, callback.callee))
                .collect();
            for (id, callee) in late {
                if let Some(callback) = canister.callbacks.get_mut(&id) {
                    callback.timed_out = true;
                }
                let answer = crate::runtime::system_api::state::Answer::Reject(
                    6,
                    "Call deadline has expired.".into(),
                );
                let receiver = canister.id;
                canister
                    .queues
                    .push_input(Letter::Response(crate::replicated_state::Response {
                        receiver,
                        respondent: callee,
                        callback: id,
                        answer,
                        refund: 0,
                    }));
            }
        }
    }

    fn charge_for_storage(&mut self, effects: &mut Effects) {
        let now = self.time_ns;
        let fees = self.fees();
        if fees.free || now < self.last_charge_ns + CHARGE_EVERY_NS {
            return;
        }
        let elapsed = now - self.last_charge_ns;
        let store = self.store.clone();
        self.last_charge_ns = now;
        for canister in self.canisters.values_mut() {
            let cost = fees.storage(canister.paid_bytes(), elapsed)
                + fees.compute(
                    canister.settings.compute_allocation,
                    elapsed / 1_000_000_000,
                );
            let empty = canister.cycles == 0 && canister.reserved == 0 && canister.code.is_some();
            if empty || !canister.pay_for_storage(cost) {
                canister.cycles = 0;
                canister.reserved = 0;
                uninstall(canister, &store, effects);
                canister.settings.compute_allocation = 0;
                canister.settings.memory_allocation = 0;
            }
            canister.consumed.storage += cost as i128;
        }
    }
}

/// Queues the timer and heartbeat that run first in this round.
fn add_tasks(canister: &mut Canister, round: &RoundContext) {
    canister.tasks.clear();
    if !matches!(canister.status, Status::Running)
        || canister.paused.is_some()
        || canister.installing_rounds > 0
    {
        return;
    }
    let heartbeat = canister.exports(Export::Heartbeat);
    let timer = canister.timer.is_some_and(|time| time <= round.time_ns)
        && canister.exports(Export::GlobalTimer);
    if !heartbeat && !timer {
        return;
    }
    for _ in 0..3 {
        let first = canister.first;
        canister.first = match first {
            FirstInRound::Timer => FirstInRound::Heartbeat,
            FirstInRound::Heartbeat => FirstInRound::Message,
            FirstInRound::Message => FirstInRound::Timer,
        };
        match first {
            FirstInRound::Timer if timer => {
                canister.tasks.push_back(Export::GlobalTimer);
                if heartbeat {
                    canister.tasks.push_back(Export::Heartbeat);
                }
                return;
            }
            FirstInRound::Heartbeat if heartbeat => {
                canister.tasks.push_back(Export::Heartbeat);
                if timer {
                    canister.tasks.push_back(Export::GlobalTimer);
                }
                return;
            }
            FirstInRound::Message if canister.queues.has_input() => return,
            _ => {}
        }
    }
}

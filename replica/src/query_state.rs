//! The state after the last round, which queries are answered from while the next round runs.
//!
//! Messages change memories only privately until their round ends ([`crate::memory`]). At the end of
//! the round the changes are stored and this state is replaced, both at once for queries: they hold
//! the lock while they run, and a query that runs long delays the end of the round.

use crate::management::answers::{canister_logs, canister_status};
use crate::management::types::CanisterStatus;
use crate::messages::execution::environment;
use crate::messages::view::{CanisterView, CodeView, Views};
use crate::messages::{inspect, query};
use crate::replicated_state::canister::Canister;
use crate::replicated_state::paused::RoundContext;
use crate::runtime::failure::{ErrorCode, UserError};
use crate::runtime::system_api::state::Response;
use crate::{DataCertificate, QueryResult, Reject, Replica};
use candid::Principal;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The committed state. Clones are the same state.
#[derive(Clone, Default)]
pub struct Committed(Arc<RwLock<State>>);

#[derive(Default)]
struct State {
    canisters: Views,
    statuses: BTreeMap<Principal, CanisterStatus>,
    time_ns: u64,
    certificate: Option<DataCertificate>,
}

impl Committed {
    /// The time of the last round, in nanoseconds since 1970.
    pub fn time_ns(&self) -> u64 {
        self.read().time_ns
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a query as of `time_ns`, or of the last round if that is later; gives its
    /// instructions too. Needs a stack of [`crate::runtime::stack::THREAD_STACK`] bytes.
    pub fn query(
        &self,
        sender: Principal,
        canister: Principal,
        method: &str,
        arg: &[u8],
        time_ns: u64,
    ) -> (QueryResult, u64) {
        let state = self.read();
        if canister == Principal::management_canister() {
            return (state.management(sender, method, arg), 0);
        }
        let answered = query::query(
            &state.canisters,
            query::Query {
                sender,
                canister,
                method,
                arg,
                certificate: state.certificate.clone(),
                time_ns: time_ns.max(state.time_ns),
            },
        );
        let result = match answered.result {
            Ok(Response::Reply(reply)) => QueryResult::Replied(reply),
            Ok(Response::Reject(text)) => QueryResult::Rejected(Reject {
                code: 4,
                message: text,
                error_code: Some("IC0406".into()),
            }),
            Ok(Response::None) => QueryResult::Rejected(Reject {
                code: 5,
                message: format!("Canister {canister} did not produce a response"),
                error_code: Some("IC0506".into()),
            }),
            Err(error) => QueryResult::Rejected(error.into()),
        };
        if let Some(view) = state.canisters.get(&canister) {
            view.counters.count(answered.instructions, arg, &result);
        }
        (result, answered.instructions)
    }

    /// Asks a canister whether it takes a user's message. Needs a stack like a query.
    ///
    /// # Errors
    /// The reject that the user gets.
    pub fn inspect(
        &self,
        sender: Principal,
        canister: &Principal,
        method: &str,
        arg: &[u8],
        time_ns: u64,
    ) -> Result<(), UserError> {
        let state = self.read();
        match state.canisters.get(canister) {
            Some(view) => inspect::inspect(view, sender, method, arg, time_ns.max(state.time_ns)),
            None => Err(query::not_found(canister)),
        }
    }
}

impl State {
    fn management(&self, sender: Principal, method: &str, arg: &[u8]) -> QueryResult {
        let view = |id: &Principal| self.canisters.get(id).ok_or_else(|| query::not_found(id));
        let result = match method {
            "fetch_canister_logs" => canister_logs(sender, arg, |id| {
                let view = view(id)?;
                Ok((view.may_read_log(&sender), &view.log))
            }),
            "canister_status" => canister_status(sender, arg, |id| {
                self.statuses.get(id).ok_or_else(|| query::not_found(id))
            }),
            _ => Err(UserError::new(
                ErrorCode::CanisterMethodNotFound,
                format!("Query method {method} not found."),
            )),
        };
        match result {
            Ok(reply) => QueryResult::Replied(reply),
            Err(error) => QueryResult::Rejected(error.into()),
        }
    }
}

impl Replica {
    /// Makes the present state the committed one: stores memories, saves the state, and lets
    /// queries see it. `publish` runs at the same moment for queries.
    pub(crate) fn commit(&mut self, publish: impl FnOnce()) {
        if !self.uncommitted {
            return publish();
        }
        let committed = self.committed.clone();
        let mut state = committed.0.write().unwrap_or_else(PoisonError::into_inner);
        self.flush();
        self.save();
        let round = self.round_context();
        state.canisters = self
            .canisters
            .iter()
            .map(|(id, canister)| (*id, self.view(canister, &round)))
            .collect();
        state.statuses = self
            .canisters
            .iter()
            .map(|(id, canister)| (*id, self.status(canister)))
            .collect();
        state.time_ns = self.last_round_ns;
        state.certificate = self.certificate.clone();
        publish();
        self.uncommitted = false;
    }

    /// Stores what messages changed in memories.
    fn flush(&mut self) {
        for canister in self.canisters.values_mut() {
            canister.stable.flush();
            let code = canister.code.as_ref();
            if let Some(instance) = code.and_then(|code| code.instance.as_ref()) {
                instance.view().flush();
            }
        }
    }

    fn view(&self, canister: &Canister, round: &RoundContext) -> CanisterView {
        CanisterView {
            id: canister.id,
            env: environment(canister, round),
            frozen: canister.cycles < canister.freezing_limit(round.fees),
            readers: canister.settings.log_visibility.clone(),
            cycles: canister.cycles,
            stable: canister.stable.fork(),
            log: canister.log.clone(),
            certified_data: canister.certified_data.clone(),
            code: canister.code.as_ref().map(|code| CodeView {
                module: code.module.clone(),
                heap: code.heap.clone(),
                globals: code.globals.clone(),
                pool: code.pool.clone(),
            }),
            counters: canister.counters.clone(),
        }
    }
}

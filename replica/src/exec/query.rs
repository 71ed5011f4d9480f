//! Queries, which change nothing, and composite queries, which call other queries.

use super::{RoundContext, dirty_pages_cost, new_api};
use crate::cycles::QUERY_LIMIT;
use crate::execution::api::{Answer, Api, Call, Closure, Response};
use crate::execution::failure::{ErrorCode, Failure, UserError};
use crate::execution::mode::Mode;
use crate::execution::{Entry, Outcome};
use crate::state::{Canister, Status};
use crate::wasm::{CompiledModule, MethodKind};
use candid::Principal;
use std::collections::BTreeMap;

/// Depth of calls among composite queries.
const MAX_DEPTH: usize = 6;
/// Instructions of a composite query with all that it calls.
const GRAPH_LIMIT: u64 = 5_000_000_000;

/// A query to answer.
pub struct Query<'a> {
    pub sender: Principal,
    pub canister: Principal,
    pub method: &'a str,
    pub arg: &'a [u8],
    pub certificate: Option<Vec<u8>>,
}

/// The canisters that queries run on.
pub type Canisters = BTreeMap<Principal, Canister>;

/// How a query ended.
pub struct Answered {
    pub result: Result<Response, UserError>,
    /// Instructions of all executions.
    pub instructions: u64,
}

/// Answers a query from the committed state.
pub fn query(canisters: &mut Canisters, query: Query<'_>, round: &RoundContext) -> Answered {
    let mut graph = Graph {
        canisters,
        round,
        instructions: 0,
        certificate: query.certificate,
        active: Vec::new(),
    };
    let result = graph.entry(query.sender, query.canister, query.method, query.arg);
    Answered {
        result,
        instructions: graph.instructions,
    }
}

struct Graph<'a> {
    canisters: &'a mut Canisters,
    round: &'a RoundContext,
    instructions: u64,
    certificate: Option<Vec<u8>>,
    /// Canisters with an open composite query.
    active: Vec<Principal>,
}

impl Graph<'_> {
    fn entry(
        &mut self,
        sender: Principal,
        id: Principal,
        method: &str,
        arg: &[u8],
    ) -> Result<Response, UserError> {
        let canister = self.canisters.get(&id).ok_or_else(|| not_found(&id))?;
        let backtraces = canister.may_read_log(&sender);
        let kind = check(canister, method, self.round, false)?;
        let caller = sender.as_slice().to_vec();
        let response = match kind {
            MethodKind::CompositeQuery => self.composite(id, caller, method, arg),
            _ => self.simple(id, caller, method, arg, true),
        };
        match response {
            Ok(Response::None) => Err(UserError::new(
                ErrorCode::CanisterDidNotReply,
                format!("Canister {id} did not produce a response"),
            )),
            Ok(response) => Ok(response),
            Err(failure) => Err(failure.user_error(&id, backtraces)),
        }
    }

    /// Runs an entry point on a canister's query instance; one that `continues` sees what the
    /// query did so far.
    fn run(
        &mut self,
        id: Principal,
        entry: &Entry,
        mode: Mode,
        continues: bool,
        set: impl FnOnce(&mut Api),
    ) -> Result<Outcome, Failure> {
        let canister = self.canisters.get_mut(&id).ok_or(Failure::NoModule)?;
        let limit = QUERY_LIMIT.min(GRAPH_LIMIT.saturating_sub(self.instructions));
        let mut api = new_api(canister, self.round, mode, QUERY_LIMIT);
        set(&mut api);
        let code = canister.code.as_mut().ok_or(Failure::NoModule)?;
        let instance = match code.query_instance.as_mut() {
            Some(instance) if continues => instance,
            _ => code.query_instance().map_err(|_| Failure::OutOfMemory)?,
        };
        let before = instance.view().snapshot();
        let mut outcome = instance.run_within(entry, api, limit);
        if mode != Mode::Query || !self.active.is_empty() {
            let pages = instance.view().changed_since(&before);
            outcome.instructions += dirty_pages_cost(pages, outcome.api.wide);
            if continues && outcome.result.is_err() {
                instance.view().restore(&before);
            }
        }
        self.instructions += outcome.instructions;
        Ok(outcome)
    }

    /// Undoes what a canister's query instance did.
    fn clean(&mut self, id: &Principal) {
        if let Some(code) = self.canisters.get_mut(id).and_then(|c| c.code.as_mut()) {
            let single_use = code.module.single_use;
            if let Some(instance) = code.query_instance.as_mut() {
                instance.roll_back();
                if single_use {
                    instance.set_spent();
                }
            }
        }
    }

    fn simple(
        &mut self,
        id: Principal,
        caller: Vec<u8>,
        method: &str,
        arg: &[u8],
        entry_point: bool,
    ) -> Result<Response, Failure> {
        let certificate = self.certificate.clone().filter(|_| entry_point);
        let entry = Entry::Export(CompiledModule::method_export(MethodKind::Query, method));
        let outcome = self.run(id, &entry, Mode::Query, false, |api| {
            api.caller = caller;
            api.arg = arg.to_vec();
            api.env.certificate = certificate;
        });
        self.clean(&id);
        let outcome = outcome?;
        outcome.result?;
        Ok(outcome.api.response)
    }

    /// Runs a composite query with its calls and callbacks, one after the other.
    fn composite(
        &mut self,
        id: Principal,
        caller: Vec<u8>,
        method: &str,
        arg: &[u8],
    ) -> Result<Response, Failure> {
        let entry_point = self.active.is_empty();
        let certificate = self.certificate.clone().filter(|_| entry_point);
        self.active.push(id);
        let result = self.composite_calls(id, &caller, method, arg, certificate);
        self.clean(&id);
        self.active.pop();
        result
    }

    fn composite_calls(
        &mut self,
        id: Principal,
        caller: &[u8],
        method: &str,
        arg: &[u8],
        certificate: Option<Vec<u8>>,
    ) -> Result<Response, Failure> {
        let entry = Entry::Export(CompiledModule::method_export(
            MethodKind::CompositeQuery,
            method,
        ));
        let outcome = self.run(id, &entry, Mode::CompositeQuery, false, |api| {
            api.caller = caller.to_vec();
            api.arg = arg.to_vec();
            api.env.certificate = certificate;
        })?;
        let mut instructions = outcome.instructions;
        outcome.result?;
        let mut response = outcome.api.response;
        let mut open: std::collections::VecDeque<Call> = outcome.api.calls.into();
        while let Some(call) = open.pop_front() {
            let answer = self.call(id, &call);
            let (mode, closure) = match &answer {
                Answer::Reply(_) => (Mode::CompositeReplyCallback, call.on_reply),
                Answer::Reject(..) => (Mode::CompositeRejectCallback, call.on_reject),
            };
            let set = |api: &mut Api| {
                api.caller = caller.to_vec();
                api.answer = Some(answer);
                api.answerable = response == Response::None;
                api.context_instructions = instructions;
            };
            let outcome = self.run(id, &Entry::Closure(closure), mode, true, set)?;
            instructions += outcome.instructions;
            match outcome.result {
                Ok(()) => {
                    if outcome.api.response != Response::None {
                        response = outcome.api.response;
                    }
                    open.extend(outcome.api.calls);
                }
                Err(failure) => {
                    let failure = self.cleanup(id, caller, call.on_cleanup, failure);
                    if open.is_empty() && response == Response::None {
                        return Err(failure);
                    }
                }
            }
        }
        Ok(response)
    }

    fn cleanup(
        &mut self,
        id: Principal,
        caller: &[u8],
        closure: Option<Closure>,
        failure: Failure,
    ) -> Failure {
        let Some(closure) = closure else {
            return failure;
        };
        let set = |api: &mut Api| api.caller = caller.to_vec();
        let outcome = self.run(
            id,
            &Entry::Closure(closure),
            Mode::CompositeCleanup,
            true,
            set,
        );
        match outcome.and_then(|outcome| outcome.result) {
            Ok(()) => failure,
            Err(second) => Failure::Cleanup(Box::new(failure), Box::new(second)),
        }
    }

    /// The answer to a call from a composite query; reject texts carry no code.
    fn call(&mut self, caller: Principal, call: &Call) -> Answer {
        let rejected = |error: UserError| Answer::Reject(error.code.reject_code(), error.text);
        if self.active.len() >= MAX_DEPTH {
            return rejected(UserError::new(
                ErrorCode::QueryCallGraphTooDeep,
                "Call exceeds call graph depth limit",
            ));
        }
        let Some(canister) = self.canisters.get(&call.callee) else {
            return Answer::Reject(3, format!("Canister {} not found", call.callee));
        };
        let kind = match check(canister, &call.method, self.round, true) {
            Ok(kind) => kind,
            Err(error) => return rejected(error),
        };
        let sender = caller.as_slice().to_vec();
        let result = match kind {
            MethodKind::CompositeQuery if self.active.contains(&call.callee) => {
                return rejected(UserError::new(
                    ErrorCode::QueryCallGraphTooDeep,
                    "Call graph loop",
                ));
            }
            MethodKind::CompositeQuery => {
                self.composite(call.callee, sender, &call.method, &call.arg)
            }
            _ if self.active.contains(&call.callee) => {
                // The caller's own uncommitted changes must survive: it is asked on a fresh
                // instance of the committed state.
                self.aside(call.callee, sender, &call.method, &call.arg)
            }
            _ => self.simple(call.callee, sender, &call.method, &call.arg, false),
        };
        match result {
            Ok(Response::Reply(reply)) => Answer::Reply(reply),
            Ok(Response::Reject(text)) => Answer::Reject(4, text),
            Ok(Response::None) => Answer::Reject(
                5,
                format!("Canister {} did not produce a response", call.callee),
            ),
            Err(failure) => rejected(failure.user_error(&call.callee, false)),
        }
    }

    /// Like [`Graph::simple`] on a canister whose query instance is in use.
    fn aside(
        &mut self,
        id: Principal,
        caller: Vec<u8>,
        method: &str,
        arg: &[u8],
    ) -> Result<Response, Failure> {
        let mut kept = None;
        if let Some(code) = self.canisters.get_mut(&id).and_then(|c| c.code.as_mut()) {
            kept = code.query_instance.take();
        }
        let result = self.simple(id, caller, method, arg, false);
        if let Some(code) = self.canisters.get_mut(&id).and_then(|c| c.code.as_mut()) {
            code.query_instance = kept;
        }
        result
    }
}

fn not_found(id: &Principal) -> UserError {
    UserError::new(
        ErrorCode::CanisterNotFound,
        format!("Canister {id} not found"),
    )
}

/// Checks that a canister can answer that query.
fn check(
    canister: &Canister,
    method: &str,
    round: &RoundContext,
    nested: bool,
) -> Result<MethodKind, UserError> {
    let id = canister.id;
    match canister.status {
        Status::Running => {}
        Status::Stopping(_) => {
            return Err(UserError::new(
                ErrorCode::CanisterStopping,
                format!("Canister {id} is not running"),
            ));
        }
        Status::Stopped => {
            return Err(UserError::new(
                ErrorCode::CanisterStopped,
                format!(
                    "Canister {id} is stopped and therefore does not have a CallContextManager"
                ),
            ));
        }
    }
    let _ = nested;
    if canister.cycles < canister.freezing_limit(round.fees) {
        return Err(UserError::new(
            ErrorCode::CanisterOutOfCycles,
            format!(
                "Canister {id} is unable to process query calls because it's frozen. Please top up \
                 the canister with cycles and try again."
            ),
        ));
    }
    let Some(code) = &canister.code else {
        return Err(Failure::NoModule.user_error(&id, false));
    };
    match code.module.methods.get(method) {
        Some(kind @ (MethodKind::Query | MethodKind::CompositeQuery)) => Ok(*kind),
        _ => {
            Err(Failure::MethodNotFound(format!("query method '{method}'")).user_error(&id, false))
        }
    }
}

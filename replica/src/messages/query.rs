//! Queries, which change nothing, and composite queries, which call other queries.

use super::view::{CanisterView, CodeView, Views};
use crate::DataCertificate;
use crate::cycles::QUERY_LIMIT;
use crate::memory::stable::Stable;
use crate::messages::execution::dirty_pages_cost;
use crate::runtime::failure::{ErrorCode, Failure, UserError};
use crate::runtime::instance::{Entry, Instance, Outcome};
use crate::runtime::mode::Mode;
use crate::runtime::module::{CompiledModule, MethodKind};
use crate::runtime::system_api::state::{Answer, Api, Call, Certificate, Closure, Response};
use candid::Principal;

/// Composite queries that may wait for each other.
const MAX_DEPTH: usize = 6;
/// Instructions of a composite query with all that it calls, and what each call counts besides.
const GRAPH_LIMIT: i64 = 5_000_000_000;
const PER_CALL: i64 = 50_000_000;

/// A query to answer.
pub(crate) struct Query<'a> {
    pub sender: Principal,
    pub canister: Principal,
    pub method: &'a str,
    pub arg: &'a [u8],
    pub certificate: Option<DataCertificate>,
    pub time_ns: u64,
}

/// How a query ended.
pub(crate) struct Answered {
    pub result: Result<Response, UserError>,
    /// Instructions of all executions.
    pub instructions: u64,
}

/// Answers a query from the committed state.
pub(crate) fn query(canisters: &Views, query: Query<'_>) -> Answered {
    let mut graph = Graph {
        canisters,
        time_ns: query.time_ns,
        instructions: 0,
        left: GRAPH_LIMIT,
        asked: query.canister,
        certificate: query.certificate,
        depth: 0,
        aborted: None,
    };
    let result = graph.entry(query.sender, query.canister, query.method, query.arg);
    Answered {
        result: graph.aborted.map_or(result, Err),
        instructions: graph.instructions,
    }
}

struct Graph<'a> {
    canisters: &'a Views,
    time_ns: u64,
    instructions: u64,
    /// Instructions that the graph has left.
    left: i64,
    /// The canister that the user asked: its queries see the certificate.
    asked: Principal,
    certificate: Option<DataCertificate>,
    /// Composite queries that wait for their calls.
    depth: usize,
    /// A limit of the graph was exceeded: that is the user's answer, whoever could handle it.
    aborted: Option<UserError>,
}

/// One query and its callbacks: what they change is seen by them alone.
struct Frame<'a> {
    canister: &'a CanisterView,
    code: &'a CodeView,
    instance: Instance,
    stable: Stable,
}

impl<'a> Frame<'a> {
    fn new(canister: &'a CanisterView) -> Result<Frame<'a>, Failure> {
        let code = canister.code.as_ref().ok_or(Failure::NoModule)?;
        Ok(Frame {
            canister,
            code,
            instance: code.instance().map_err(|_| Failure::OutOfMemory)?,
            stable: canister.stable.fork(),
        })
    }

    fn end(self) {
        self.code.give_back(self.instance);
    }
}

impl<'a> Graph<'a> {
    fn entry(
        &mut self,
        sender: Principal,
        id: Principal,
        method: &str,
        arg: &[u8],
    ) -> Result<Response, UserError> {
        let canister = self.canisters.get(&id).ok_or_else(|| not_found(&id))?;
        let backtraces = canister.may_read_log(&sender);
        let kind = check(canister, method)?;
        let caller = sender.as_slice().to_vec();
        let response = match kind {
            MethodKind::CompositeQuery => self.composite(canister, caller, method, arg),
            _ => self.simple(canister, caller, method, arg),
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

    /// Runs an entry point, which sees what the frame did so far; when it fails, its changes are
    /// undone.
    fn run(
        &mut self,
        frame: &mut Frame<'_>,
        entry: &Entry,
        mode: Mode,
        set: impl FnOnce(&mut Api),
    ) -> Outcome {
        let limit = QUERY_LIMIT.min(self.left.max(0) as u64);
        let mut api = frame.canister.api(mode, limit, self.time_ns);
        api.stable = frame.stable.fork();
        set(&mut api);
        let instance = &mut frame.instance;
        let before = instance.view().snapshot();
        let globals = instance.current_globals();
        let mut outcome = instance.run(entry, api);
        if mode != Mode::Query || self.depth > 0 {
            let pages = instance.view().changed_since(&before);
            outcome.instructions += dirty_pages_cost(pages, outcome.api.wide);
        }
        if outcome.result.is_ok() {
            let stable = std::mem::replace(&mut outcome.api.stable, frame.stable.fork());
            frame.stable = stable;
            frame.stable.commit();
        } else {
            instance.view().restore(&before);
            instance.put_globals(&globals);
        }
        self.instructions += outcome.instructions;
        self.left = self.left.saturating_sub_unsigned(outcome.instructions);
        outcome
    }

    /// Whether the graph may go on.
    fn goes_on(&mut self) -> bool {
        let exceeded = if self.depth > MAX_DEPTH {
            Some((
                ErrorCode::QueryCallGraphTooDeep,
                "Composite query calls exceeded the maximum call depth.",
            ))
        } else if self.left <= 0 {
            Some((
                ErrorCode::QueryCallGraphTotalInstructionLimitExceeded,
                "Composite query calls exceeded the instruction limit.",
            ))
        } else {
            None
        };
        if let Some((code, text)) = exceeded {
            self.aborted.get_or_insert(UserError::new(code, text));
        }
        self.aborted.is_none()
    }

    fn certificate(&self, canister: &CanisterView) -> Option<Certificate> {
        let source = self
            .certificate
            .clone()
            .filter(|_| canister.id == self.asked)?;
        let (id, data) = (canister.id, canister.certified_data.clone());
        Some(Certificate::new(move || source(&id, &data)))
    }

    fn simple(
        &mut self,
        canister: &CanisterView,
        caller: Vec<u8>,
        method: &str,
        arg: &[u8],
    ) -> Result<Response, Failure> {
        let certificate = self.certificate(canister);
        let entry = Entry::Export(CompiledModule::method_export(MethodKind::Query, method));
        let mut frame = Frame::new(canister)?;
        let outcome = self.run(&mut frame, &entry, Mode::Query, |api| {
            api.caller = caller;
            api.arg = arg.to_vec();
            api.env.certificate = certificate;
        });
        frame.end();
        self.count_call();
        outcome.result?;
        Ok(outcome.api.response)
    }

    /// Counts a method that another canister has called.
    fn count_call(&mut self) {
        if self.depth > 0 {
            self.left -= PER_CALL;
        }
    }

    /// Runs a composite query with its calls and callbacks, one after the other, until it answers.
    fn composite(
        &mut self,
        canister: &CanisterView,
        caller: Vec<u8>,
        method: &str,
        arg: &[u8],
    ) -> Result<Response, Failure> {
        let mut frame = Frame::new(canister)?;
        let result = self.composite_calls(&mut frame, &caller, method, arg);
        frame.end();
        result
    }

    fn composite_calls(
        &mut self,
        frame: &mut Frame<'_>,
        caller: &[u8],
        method: &str,
        arg: &[u8],
    ) -> Result<Response, Failure> {
        let certificate = self.certificate(frame.canister);
        let entry = Entry::Export(CompiledModule::method_export(
            MethodKind::CompositeQuery,
            method,
        ));
        let outcome = self.run(frame, &entry, Mode::CompositeQuery, |api| {
            api.caller = caller.to_vec();
            api.arg = arg.to_vec();
            api.env.certificate = certificate;
        });
        self.count_call();
        outcome.result?;
        // Who has answered waits for nothing.
        if outcome.api.response != Response::None {
            return Ok(outcome.api.response);
        }
        self.depth += 1;
        let (calls, instructions) = (outcome.api.calls, outcome.instructions);
        let result = self.callbacks(frame, caller, calls, instructions);
        self.depth -= 1;
        result
    }

    /// Makes a composite query's calls and runs its callbacks until it answers.
    fn callbacks(
        &mut self,
        frame: &mut Frame<'_>,
        caller: &[u8],
        calls: Vec<Call>,
        mut instructions: u64,
    ) -> Result<Response, Failure> {
        let id = frame.canister.id;
        let mut open = std::collections::VecDeque::from(calls);
        while self.goes_on()
            && let Some(call) = open.pop_front()
        {
            let answer = self.call(id, &call);
            if !self.goes_on() {
                break;
            }
            let (mode, closure) = match &answer {
                Answer::Reply(_) => (Mode::CompositeReplyCallback, call.on_reply),
                Answer::Reject(..) => (Mode::CompositeRejectCallback, call.on_reject),
            };
            let set = |api: &mut Api| {
                api.caller = caller.to_vec();
                api.answer = Some(answer);
                api.context_instructions = instructions;
            };
            let outcome = self.run(frame, &Entry::Closure(closure), mode, set);
            instructions += outcome.instructions;
            match outcome.result {
                Ok(()) => {
                    if outcome.api.response != Response::None {
                        return Ok(outcome.api.response);
                    }
                    open.extend(outcome.api.calls);
                }
                Err(failure) => {
                    let failure = self.cleanup(frame, caller, call.on_cleanup, failure);
                    if open.is_empty() {
                        return Err(failure);
                    }
                }
            }
        }
        Ok(Response::None)
    }

    fn cleanup(
        &mut self,
        frame: &mut Frame<'_>,
        caller: &[u8],
        closure: Option<Closure>,
        failure: Failure,
    ) -> Failure {
        let Some(closure) = closure else {
            return failure;
        };
        let set = |api: &mut Api| api.caller = caller.to_vec();
        let entry = Entry::Closure(closure);
        match self.run(frame, &entry, Mode::CompositeCleanup, set).result {
            Ok(()) => failure,
            Err(second) => Failure::Cleanup(Box::new(failure), Box::new(second)),
        }
    }

    /// The answer to a call from a composite query; reject texts carry no code.
    fn call(&mut self, caller: Principal, call: &Call) -> Answer {
        let rejected = |error: UserError| Answer::Reject(error.code.reject_code(), error.text);
        let Some(canister) = self.canisters.get(&call.callee) else {
            return Answer::Reject(3, format!("Canister {} not found", call.callee));
        };
        let kind = match check(canister, &call.method) {
            Ok(kind) => kind,
            Err(error) => return rejected(error),
        };
        let sender = caller.as_slice().to_vec();
        let result = match kind {
            MethodKind::CompositeQuery => self.composite(canister, sender, &call.method, &call.arg),
            _ => self.simple(canister, sender, &call.method, &call.arg),
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
}

/// The error for a canister that is not there.
pub(crate) fn not_found(id: &Principal) -> UserError {
    UserError::new(
        ErrorCode::CanisterNotFound,
        format!("Canister {id} not found"),
    )
}

/// Checks that a canister can answer that query.
fn check(canister: &CanisterView, method: &str) -> Result<MethodKind, UserError> {
    let id = canister.id;
    match canister.env.status {
        1 => {}
        2 => {
            return Err(UserError::new(
                ErrorCode::CanisterStopping,
                format!("Canister {id} is not running"),
            ));
        }
        _ => {
            return Err(UserError::new(
                ErrorCode::CanisterStopped,
                format!(
                    "Canister {id} is stopped and therefore does not have a CallContextManager"
                ),
            ));
        }
    }
    let Some(code) = &canister.code else {
        return Err(Failure::NoModule.user_error(&id, false));
    };
    let kind = match code.module.methods.get(method) {
        Some(kind @ (MethodKind::Query | MethodKind::CompositeQuery)) => *kind,
        _ => {
            let missing = Failure::MethodNotFound(format!("query method '{method}'"));
            return Err(missing.user_error(&id, false));
        }
    };
    if canister.frozen {
        return Err(UserError::new(
            ErrorCode::CanisterOutOfCycles,
            format!(
                "Canister {id} is unable to process query calls because it's frozen. Please top up \
                 the canister with cycles and try again."
            ),
        ));
    }
    Ok(kind)
}

//! Updates, replicated queries, callbacks, timers, heartbeats and hooks.

use super::respond::{Verdict, respond};
use crate::cycles::{Amount, UPDATE_LIMIT};
use crate::messages::execution::{
    Effects, PAGE, dirty_pages_cost, new_api, update_low_memory_hook,
};
use crate::replicated_state::paused::RoundContext;
use crate::replicated_state::paused::{Kind, Ran};
use crate::replicated_state::queues::Letter;
use crate::replicated_state::status::LowMemoryHook;
use crate::replicated_state::{CallContext, Callback, Canister, Input, Origin, Request, Response};
use crate::runtime::failure::{ErrorCode, Failure, UserError};
use crate::runtime::instance::{Entry, Outcome};
use crate::runtime::mode::Mode;
use crate::runtime::module::{CompiledModule, Export, MethodKind};
use crate::runtime::system_api::state::{Answer, Response as Said};

/// Instructions of a callback that are kept for its cleanup.
const CLEANUP_RESERVE: u64 = UPDATE_LIMIT / 20;

/// Runs a task or the next input of a canister. None when the message ended before it ran.
pub(crate) fn start(
    canister: &mut Canister,
    round: &RoundContext,
    effects: &mut Effects,
) -> Option<Ran> {
    if canister.hook_is_due() {
        canister.low_memory = LowMemoryHook::Executed;
        return start_task(canister, Export::OnLowWasmMemory, round, effects);
    }
    if let Some(task) = canister.tasks.pop_front() {
        return start_task(canister, task, round, effects);
    }
    let input = canister.queues.pop_input()?;
    let kept = round.store.dir().is_some().then(|| input.clone());
    let mut ran = start_input(canister, input, round, effects)?;
    ran.input = kept;
    Some(ran)
}

fn start_input(
    canister: &mut Canister,
    input: Input,
    round: &RoundContext,
    effects: &mut Effects,
) -> Option<Ran> {
    match input {
        Input::Ingress(message) => {
            effects
                .ingress
                .push((message.id, crate::IngressStatus::Processing));
            let origin = Origin::Ingress {
                id: message.id,
                sender: message.sender,
            };
            start_call(
                canister,
                origin,
                &message.method,
                message.arg,
                0,
                round,
                effects,
            )
        }
        Input::Request(request) => start_request(canister, request, round, effects),
        Input::Response(response) => start_callback(canister, response, round, effects),
    }
}

fn start_request(
    canister: &mut Canister,
    request: Request,
    round: &RoundContext,
    effects: &mut Effects,
) -> Option<Ran> {
    let origin = Origin::Canister {
        sender: request.sender,
        callback: request.callback,
        deadline_ns: request.deadline_ns,
    };
    let cycles = request.cycles;
    start_call(
        canister,
        origin,
        &request.method,
        request.arg,
        cycles,
        round,
        effects,
    )
}

/// Takes the cycles for the longest possible execution.
fn prepay(
    canister: &mut Canister,
    round: &RoundContext,
    caller: &candid::Principal,
) -> Result<u128, UserError> {
    let wide = canister
        .code
        .as_ref()
        .is_some_and(|code| code.module.memory64);
    let prepaid = round.fees.execution(UPDATE_LIMIT, wide);
    canister.withdraw(prepaid, round.fees).map_err(|missing| {
        // Only controllers learn how much is missing.
        let advice = if canister.is_controller(caller) {
            format!(
                ": please top up the canister with at least {} additional cycles",
                Amount(missing)
            )
        } else {
            String::new()
        };
        UserError::new(
            ErrorCode::CanisterOutOfCycles,
            format!("Canister {} is out of cycles{advice}", canister.id),
        )
    })?;
    canister.consumed.instructions += prepaid as i128;
    Ok(prepaid)
}

fn start_call(
    canister: &mut Canister,
    origin: Origin,
    method: &str,
    arg: Vec<u8>,
    cycles: u128,
    round: &RoundContext,
    effects: &mut Effects,
) -> Option<Ran> {
    let refuse = |canister: &mut Canister, error: UserError, effects: &mut Effects| {
        effects.messages += 1;
        canister.totals.messages += 1;
        respond(canister, &origin, cycles, Verdict::Failed(error), effects);
    };
    let prepaid = match prepay(canister, round, &origin.caller()) {
        Ok(prepaid) => prepaid,
        Err(error) => {
            refuse(canister, error, effects);
            return None;
        }
    };
    let found = match &canister.code {
        None => Err(Failure::NoModule.user_error(&canister.id, false)),
        Some(code) => match code.module.methods.get(method) {
            Some(MethodKind::CompositeQuery) => Err(UserError::new(
                ErrorCode::CompositeQueryCalledInReplicatedMode,
                "Composite query cannot be called in replicated mode",
            )),
            Some(kind) => Ok(*kind),
            None => Err(Failure::MethodNotFound(format!("update method '{method}'"))
                .user_error(&canister.id, false)),
        },
    };
    let kind = match found {
        Ok(kind) => kind,
        Err(error) => {
            // The message is paid for although nothing ran.
            let wide = canister
                .code
                .as_ref()
                .is_some_and(|code| code.module.memory64);
            refund(canister, prepaid, round.fees.execution(0, wide));
            refuse(canister, error, effects);
            return None;
        }
    };
    let mode = match kind {
        MethodKind::Update => Mode::Update,
        _ => Mode::ReplicatedQuery,
    };
    let mut api = new_api(canister, round, mode, UPDATE_LIMIT);
    api.caller = origin.caller().as_slice().to_vec();
    api.deadline = origin.deadline_ns();
    api.arg = arg;
    api.cycles_available = cycles;
    let balance = canister.cycles;
    let entry = Entry::Export(CompiledModule::method_export(kind, method));
    let outcome = run(canister, &entry, api);
    let kind = Kind::Call { origin };
    Some(ran(
        canister,
        outcome,
        kind,
        prepaid,
        balance,
        mode == Mode::Update,
    ))
}

/// Gives back what is left of cycles held back for execution.
fn refund(canister: &mut Canister, prepaid: u128, cost: u128) {
    let back = prepaid.saturating_sub(cost);
    canister.cycles += back;
    canister.consumed.instructions -= back as i128;
}

fn start_task(
    canister: &mut Canister,
    task: Export,
    round: &RoundContext,
    effects: &mut Effects,
) -> Option<Ran> {
    let prepaid = match prepay(canister, round, &Origin::Task.caller()) {
        Ok(prepaid) => prepaid,
        Err(_) => {
            effects.messages += 1;
            canister.totals.messages += 1;
            return None;
        }
    };
    if task == Export::GlobalTimer {
        canister.timer = None;
    }
    let mut api = new_api(canister, round, Mode::SystemTask, UPDATE_LIMIT);
    api.caller = Origin::Task.caller().as_slice().to_vec();
    let balance = canister.cycles;
    let outcome = run(canister, &Entry::Export(task.name().into()), api);
    let kind = Kind::Call {
        origin: Origin::Task,
    };
    Some(ran(canister, outcome, kind, prepaid, balance, true))
}

fn start_callback(
    canister: &mut Canister,
    response: Response,
    round: &RoundContext,
    effects: &mut Effects,
) -> Option<Ran> {
    let callback = canister.callbacks.remove(&response.callback)?;
    canister.cycles += response.refund;
    let transmission = round.fees.answer(response.bytes());
    let unused = callback.prepaid_transmission.saturating_sub(transmission);
    canister.cycles += unused;
    canister.consumed.transmission -= unused as i128;
    let prepaid = callback.prepaid_execution;
    let context = match canister.contexts.get(&callback.context) {
        Some(context) if !context.deleted && canister.code.is_some() => context.clone(),
        _ => {
            // The callback is paid for although nothing runs.
            refund(canister, prepaid, round.fees.execution(0, false));
            effects.messages += 1;
            canister.totals.messages += 1;
            if canister.open_calls(callback.context) == 0 {
                canister.contexts.remove(&callback.context);
            }
            return None;
        }
    };
    let (mode, closure) = match &response.answer {
        Answer::Reply(_) => (Mode::ReplyCallback, callback.on_reply),
        Answer::Reject(..) => (Mode::RejectCallback, callback.on_reject),
    };
    let callback_limit = UPDATE_LIMIT - CLEANUP_RESERVE;
    let mut api = new_api(canister, round, mode, UPDATE_LIMIT);
    api.caller = context.origin.caller().as_slice().to_vec();
    api.deadline = context.origin.deadline_ns();
    api.answer = Some(response.answer);
    api.answerable = !context.responded && context.origin != Origin::Task;
    api.cycles_available = context.cycles;
    api.cycles_refunded = response.refund;
    api.context_instructions = context.instructions;
    let balance = canister.cycles;
    let mut outcome = run_within(canister, &Entry::Closure(closure), api, callback_limit);
    let mut cleaned = false;
    if outcome.result.is_err()
        && let Some(closure) = callback.on_cleanup
    {
        cleaned = true;
        outcome = run_cleanup(canister, closure, outcome, &context, round);
    }
    let kind = Kind::Callback {
        context: callback.context,
    };
    let most = if cleaned {
        UPDATE_LIMIT
    } else {
        callback_limit
    };
    let mut ran = ran(canister, outcome, kind, prepaid, balance, true);
    ran.instructions = ran.instructions.min(most);
    ran.callback = Some((response.callback, callback));
    ran.keeps |= cleaned && ran.outcome.cleanup_succeeded();
    Some(ran)
}

impl Outcome {
    /// True when a callback failed and its cleanup did not.
    fn cleanup_succeeded(&self) -> bool {
        self.api.mode == Mode::Cleanup && !matches!(self.result, Ok(()) | Err(Failure::Cleanup(..)))
    }
}

/// Undoes a failed callback and runs its cleanup; the outcome's failure stays the callback's.
fn run_cleanup(
    canister: &mut Canister,
    closure: crate::runtime::system_api::state::Closure,
    failed: Outcome,
    context: &CallContext,
    round: &RoundContext,
) -> Outcome {
    let first = match failed.result {
        Err(failure) => failure,
        Ok(()) => return failed,
    };
    let mut used = failed.instructions;
    if let Some(instance) = canister
        .code
        .as_mut()
        .and_then(|code| code.instance.as_mut())
    {
        used += dirty_pages_cost(instance.view().changed_pages(), failed.api.wide);
        used = used.min(UPDATE_LIMIT - CLEANUP_RESERVE);
        instance.roll_back();
    }
    let left = UPDATE_LIMIT.saturating_sub(used);
    let mut api = new_api(canister, round, Mode::Cleanup, UPDATE_LIMIT);
    api.caller = context.origin.caller().as_slice().to_vec();
    api.context_instructions = context.instructions;
    api.log = failed.api.log;
    api.answerable = false;
    let cleanup = run_within(canister, &Entry::Closure(closure), api, left);
    let result = match cleanup.result {
        Ok(()) => Err(first),
        Err(second) => Err(Failure::Cleanup(Box::new(first), Box::new(second))),
    };
    Outcome {
        result,
        instructions: used + cleanup.instructions,
        api: cleanup.api,
    }
}

fn run(
    canister: &mut Canister,
    entry: &Entry,
    api: crate::runtime::system_api::state::Api,
) -> Outcome {
    run_within(canister, entry, api, UPDATE_LIMIT)
}

fn run_within(
    canister: &mut Canister,
    entry: &Entry,
    api: crate::runtime::system_api::state::Api,
    left: u64,
) -> Outcome {
    let failed = |api, failure| Outcome {
        result: Err(failure),
        instructions: 0,
        api,
    };
    let Some(code) = canister.code.as_mut() else {
        return failed(api, Failure::NoModule);
    };
    let single_use = code.module.single_use;
    let used = code.heap.size() as u64;
    if let Some(limit) = api.env.heap_limit
        && matches!(api.mode, Mode::Update | Mode::SystemTask)
        && used > limit
    {
        return failed(api, Failure::WasmMemoryLimit { used, limit });
    }
    if let Entry::Export(name) = entry
        && name == Export::OnLowWasmMemory.name()
        && !code.module.exports(Export::OnLowWasmMemory)
    {
        // A canister without the hook pays for it being due all the same.
        return Outcome {
            result: Ok(()),
            instructions: 0,
            api,
        };
    }
    match code.instance() {
        Ok(instance) => {
            let outcome = instance.run_within(entry, api, left);
            if single_use {
                instance.set_spent();
            }
            outcome
        }
        Err(_) => failed(api, Failure::OutOfMemory),
    }
}

/// Counts changed pages.
fn ran(
    canister: &mut Canister,
    outcome: Outcome,
    kind: Kind,
    prepaid: u128,
    balance: u128,
    keeps: bool,
) -> Ran {
    let view = canister
        .code
        .as_ref()
        .and_then(|code| code.instance.as_ref())
        .map(|instance| instance.view().clone());
    let mut instructions = outcome.instructions;
    let mut heap_delta = 0;
    let applies = outcome.result.is_ok() || outcome.cleanup_succeeded();
    if keeps {
        // Also a message that fails pays for the pages it has changed.
        let pages = view.map_or(0, |view| view.changed_pages());
        instructions = (instructions + dirty_pages_cost(pages, outcome.api.wide)).min(UPDATE_LIMIT);
        if applies {
            heap_delta = (pages + outcome.api.stable.dirty_pages()) * PAGE;
        }
    }
    let context_cycles = outcome.api.cycles_available;
    Ran {
        keeps: keeps && applies,
        outcome,
        kind,
        prepaid,
        balance,
        instructions,
        heap_delta,
        context_cycles,
        input: None,
        callback: None,
    }
}

/// Brings the effects of a message that ran.
pub(crate) fn finish(
    canister: &mut Canister,
    ran: Ran,
    round: &RoundContext,
    effects: &mut Effects,
) {
    let Ran {
        outcome,
        kind,
        prepaid,
        balance,
        instructions,
        keeps,
        heap_delta,
        context_cycles,
        ..
    } = ran;
    let Outcome {
        result, mut api, ..
    } = outcome;
    let wide = canister
        .code
        .as_ref()
        .is_some_and(|code| code.module.memory64);
    effects.messages += 1;
    effects.instructions += instructions;
    effects.heap_delta += heap_delta;
    canister.heap_delta_debit += heap_delta;
    let totals = &mut canister.totals;
    totals.messages += 1;
    totals.instructions += instructions;
    totals.largest = totals.largest.max(instructions);

    refund(canister, prepaid, round.fees.execution(instructions, wide));
    let log = std::mem::take(&mut api.log);
    canister.log.append(log);

    if let Some(code) = canister.code.as_mut()
        && let Some(instance) = code.instance.as_mut()
    {
        if keeps {
            instance.commit();
            code.globals = instance.globals().to_vec();
        } else {
            instance.roll_back();
        }
    }

    let succeeded = result.is_ok();
    if succeeded || keeps {
        canister.version += 1;
        if let Some(timer) = api.new_timer {
            canister.timer = timer;
        }
        if keeps {
            let mut stable = api.stable;
            stable.commit();
            canister.stable = stable;
        }
        if let Some(data) = api.new_certified_data {
            canister.certified_data = data;
        }
        // A call that was never performed gives its cycles back.
        let pending = api.call.as_ref().map_or(0, |call| call.cycles);
        let spent = balance.saturating_sub(api.balance + pending);
        let gained = (api.balance + pending).saturating_sub(balance);
        canister.cycles = (canister.cycles + gained).saturating_sub(spent);
        canister.reserved += api.reserved;
        canister.consumed.burned += api.cycles_burnt as i128;
        canister.consumed.transmission += api.spent_on_calls as i128;
    }

    let responded = match api.response {
        Said::None => None,
        Said::Reply(reply) => Some(Verdict::Reply(reply)),
        Said::Reject(text) => Some(Verdict::Reject(text)),
    };
    match kind {
        Kind::Call { origin } => {
            let id = canister.new_id();
            let cycles = if succeeded {
                context_cycles
            } else {
                context_cycles + api.cycles_accepted
            };
            canister.contexts.insert(
                id,
                CallContext {
                    responded: origin == Origin::Task,
                    origin,
                    deleted: false,
                    cycles,
                    instructions,
                },
            );
            conclude(canister, id, result, responded, api.calls, round, effects);
        }
        Kind::Callback { context } => {
            if let Some(context) = canister.contexts.get_mut(&context) {
                context.instructions += instructions;
                if succeeded {
                    context.cycles = context_cycles;
                }
            }
            conclude(
                canister, context, result, responded, api.calls, round, effects,
            );
        }
    }
    update_low_memory_hook(canister);
}

/// Sends a context's calls and its answer, and closes it when nothing is open any more.
fn conclude(
    canister: &mut Canister,
    id: u64,
    result: Result<(), Failure>,
    responded: Option<Verdict>,
    calls: Vec<crate::runtime::system_api::state::Call>,
    round: &RoundContext,
    effects: &mut Effects,
) {
    if result.is_ok() {
        for call in calls {
            send(canister, id, call, round);
        }
    }
    let open = canister.open_calls(id);
    let Some(context) = canister.contexts.get_mut(&id) else {
        return;
    };
    let verdict = match (result, responded) {
        (Ok(()), Some(verdict)) => Some(verdict),
        (Ok(()), None) => (open == 0).then_some(Verdict::NoResponse),
        (Err(failure), _) if open == 0 && !context.responded => {
            let caller = match &context.origin {
                Origin::Ingress { sender, .. } | Origin::Canister { sender, .. } => *sender,
                Origin::Task => candid::Principal::management_canister(),
            };
            let error = failure.user_error(&canister.id, false);
            let backtraces = canister.settings.controllers.contains(&caller);
            let error = if backtraces {
                failure.user_error(&canister.id, true)
            } else {
                error
            };
            Some(Verdict::Failed(error))
        }
        (Err(_), _) => None,
    };
    if let Some(verdict) = verdict
        && !context.responded
    {
        context.responded = true;
        let refund = std::mem::take(&mut context.cycles);
        let origin = context.origin.clone();
        respond(canister, &origin, refund, verdict, effects);
    }
    if open == 0 {
        canister.contexts.remove(&id);
    }
}

fn send(
    canister: &mut Canister,
    context: u64,
    call: crate::runtime::system_api::state::Call,
    round: &RoundContext,
) {
    let callback = canister.new_id();
    let deadline_ns = call.timeout.map_or(0, |seconds| {
        let whole = round.time_ns / 1_000_000_000 + u64::from(seconds);
        whole * 1_000_000_000
    });
    canister.consumed.instructions += call.prepaid_execution as i128;
    canister.consumed.transmission += call.prepaid_transmission as i128;
    canister.callbacks.insert(
        callback,
        Callback {
            context,
            callee: call.callee,
            on_reply: call.on_reply,
            on_reject: call.on_reject,
            on_cleanup: call.on_cleanup,
            prepaid_execution: call.prepaid_execution,
            prepaid_transmission: call.prepaid_transmission,
            deadline_ns,
            timed_out: false,
        },
    );
    canister.queues.push_output(Letter::Request(Request {
        sender: canister.id,
        receiver: call.callee,
        callback,
        method: call.method,
        arg: call.arg,
        cycles: call.cycles,
        deadline_ns,
    }));
}

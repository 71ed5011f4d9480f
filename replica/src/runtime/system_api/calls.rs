//! Calls to other canisters.

use super::context::{Address, BYTE_SENT, Context, Host, Result, api, cycles, principal};
use super::state::{Call, Closure, violation};
use crate::cycles::{MAX_CALL_ANSWER, UPDATE_LIMIT};
use crate::runtime::failure::{Failure, HostTrap};
use crate::runtime::mode;
use wasmtime::Linker;

/// Largest call to a canister of the same subnet, in bytes of method name and argument.
const MAX_CALL: usize = 10 << 20;
const MAX_METHOD_NAME: usize = 20_000;
/// Open calls from one canister to another.
const MAX_OPEN_CALLS: usize = 500;
/// Longest wait of a best-effort call, in seconds.
const MAX_TIMEOUT: u32 = 300;

impl Context<'_, '_> {
    fn call(&mut self) -> Result<&mut Call> {
        let prefix = match self.name {
            "call_cycles_add" | "call_cycles_add128" => "ic0_",
            _ => "ic0.",
        };
        let name = self.name;
        self.api().call.as_mut().ok_or_else(|| {
            violation(format!(
                "{prefix}{name} called when no call is under construction."
            ))
        })
    }

    fn add_cycles(&mut self, cycles: u128) -> Result<()> {
        self.call()?;
        let api = self.api();
        if cycles > api.liquid() {
            return Err(HostTrap(Failure::OutOfCycles));
        }
        api.balance -= cycles;
        self.call()?.cycles += cycles;
        Ok(())
    }

    /// Sends the call under construction: 0, or 2 when it cannot be sent.
    fn perform(&mut self) -> Result<i32> {
        self.call()?;
        let api = self.api();
        let Some(mut call) = api.call.take() else {
            return Ok(2);
        };
        let open = api.env.open_calls.get(&call.callee).copied().unwrap_or(0)
            + api.calls.iter().filter(|c| c.callee == call.callee).count();
        if api.mode.is_replicated() {
            let fees = api.env.fees;
            let bytes = (call.method.len() + call.arg.len()) as u64;
            call.prepaid_execution = fees.execution(UPDATE_LIMIT, api.memory64());
            call.prepaid_transmission = fees.answer(MAX_CALL_ANSWER);
            let fee = fees.call(bytes) + call.prepaid_execution + call.prepaid_transmission;
            if open >= MAX_OPEN_CALLS || fee > api.liquid() {
                api.balance = api.balance.saturating_add(call.cycles);
                return Ok(2);
            }
            api.balance -= fee;
            api.spent_on_calls += fees.call(bytes);
        } else if open >= MAX_OPEN_CALLS {
            return Ok(2);
        }
        api.calls.push(call);
        Ok(0)
    }
}

pub(super) fn define<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    api!(
        linker,
        call_new(
            callee: A, callee_size: A, name: A, name_size: A,
            reply_fun: A, reply_env: A, reject_fun: A, reject_env: A
        ) -> (),
        |c| {
            c.charge(callee_size.to_u64().saturating_add(name_size.to_u64()))?;
            c.allow(mode::CALL)?;
            if let Some(dropped) = c.api().call.take() {
                let api = c.api();
                api.balance = api.balance.saturating_add(dropped.cycles);
            }
            if name_size.to_u64() > MAX_METHOD_NAME as u64 {
                return Err(violation(format!(
                    "Size of method_name {} exceeds the allowed limit of {MAX_METHOD_NAME}.",
                    name_size.to_u64()
                )));
            }
            let callee = principal(&c.heap(callee.to_u64(), callee_size.to_u64())?)?;
            let method = String::from_utf8(c.heap(name.to_u64(), name_size.to_u64())?)
                .map_err(|_| violation("ic0.call_new: method name is not UTF-8."))?;
            let closure = |function: A, env: A| Closure {
                function: function.to_u64() as u32,
                env: env.to_u64(),
            };
            c.api().call = Some(Call {
                callee,
                method,
                arg: Vec::new(),
                cycles: 0,
                on_reply: closure(reply_fun, reply_env),
                on_reject: closure(reject_fun, reject_env),
                on_cleanup: None,
                timeout: None,
                prepaid_execution: 0,
                prepaid_transmission: 0,
            });
            Ok(())
        }
    );
    api!(linker, call_data_append(src: A, size: A) -> (), |c| {
        c.charge(BYTE_SENT.saturating_mul(size.to_u64()))?;
        c.allow(mode::CALL)?;
        let call = c.call()?;
        let total = (call.arg.len() + call.method.len()).saturating_add(size.to_u64() as usize);
        if total > MAX_CALL {
            let text = format!(
                "Request to {}:{} has a payload size of {total}, which exceeds the allowed limit \
                 of {MAX_CALL}.",
                call.callee, call.method
            );
            return Err(violation(text));
        }
        let bytes = c.heap(src.to_u64(), size.to_u64())?;
        c.call()?.arg.extend(bytes);
        Ok(())
    });
    api!(linker, call_on_cleanup(function: A, env: A) -> (), |c| {
        c.allow(mode::CALL)?;
        let call = c.call()?;
        if call.on_cleanup.is_some() {
            return Err(violation(
                "ic0.call_on_cleanup can be called at most once between `ic0.call_new` and \
                 `ic0.call_perform`",
            ));
        }
        call.on_cleanup = Some(Closure {
            function: function.to_u64() as u32,
            env: env.to_u64(),
        });
        Ok(())
    });
    api!(linker, call_cycles_add(amount: i64) -> (), |c| {
        c.allow(mode::CALL_CYCLES)?;
        c.add_cycles(u128::from(amount as u64))
    });
    api!(linker, call_cycles_add128(high: i64, low: i64) -> (), |c| {
        c.allow(mode::CALL_CYCLES)?;
        c.add_cycles(cycles(high as u64, low as u64))
    });
    api!(linker, call_with_best_effort_response(timeout: i32) -> (), |c| {
        c.allow(mode::CALL)?;
        let call = c.call()?;
        if call.timeout.is_some() {
            return Err(violation(
                "ic0_call_with_best_effort_response failed because a timeout is already set.",
            ));
        }
        call.timeout = Some((timeout as u32).min(MAX_TIMEOUT));
        Ok(())
    });
    api!(linker, call_perform() -> i32, |c| {
        c.allow(mode::CALL)?;
        c.perform()
    });
    Ok(())
}

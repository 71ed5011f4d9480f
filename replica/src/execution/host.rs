//! The System API: the functions that a canister imports from `ic0`.

use super::api::{Answer, Api, Call, Closure, MAX_QUERY_REPLY, MAX_REPLY, Response, violation};
use super::failure::{Failure, HostTrap};
use super::mode::{self, Mode};
use crate::cycles::{MAX_CALL_ANSWER, UPDATE_LIMIT};
use crate::log::Log;
use crate::memory::heap::View;
use crate::memory::stable::STABLE_PAGE;
use crate::wasm::imports;
use candid::Principal;
use std::sync::Arc;
use wasmtime::{AsContextMut, Caller, Global, Linker, ResourceLimiter, Val, WasmTy};

/// Instructions for each byte of a reply or of a call's argument.
const BYTE_SENT: u64 = 50;
/// Instructions for each page of stable memory first written in a message.
const STABLE_PAGE_WRITTEN: u64 = 1_000;
/// Largest call to a canister of the same subnet, in bytes of method name and argument.
const MAX_CALL: usize = 10 << 20;
const MAX_METHOD_NAME: usize = 20_000;
/// Open calls from one canister to another.
const MAX_OPEN_CALLS: usize = 500;
/// Bytes of a trap's message that are kept.
const MAX_TRAP_MESSAGE: u64 = 16 << 10;
const MAX_CERTIFIED_DATA: u64 = 32;
/// Longest wait of a best-effort call, in seconds.
const MAX_TIMEOUT: u32 = 300;

type Result<T> = std::result::Result<T, HostTrap>;

/// What the System API works on; the store's data.
#[derive(Default)]
pub struct Host {
    pub api: Option<Box<Api>>,
    pub counter: Option<Global>,
    pub view: Option<Arc<View>>,
    pub left_at_start: u64,
    pub memory64: bool,
}

impl Host {
    /// Takes the state of the execution that has ended.
    pub fn take_api(&mut self) -> Api {
        *self.api.take().expect("set when the execution began")
    }

    fn api(&mut self) -> &mut Api {
        self.api.as_mut().expect("only called in an execution")
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let (Some(api), Some(view)) = (&mut self.api, &self.view) else {
            return Ok(true);
        };
        if desired > view.heap().capacity() || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if let (true, Some(limit)) = (api.mode.is_in(mode::HEAP_LIMIT), api.env.heap_limit)
            && desired as u64 > limit
        {
            return Err(HostTrap(Failure::WasmMemoryLimit {
                used: desired as u64,
                limit,
            })
            .into());
        }
        api.grow((desired - current) as u64)?;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

impl Api {
    /// Accounts for memory growing by some bytes.
    fn grow(&mut self, bytes: u64) -> Result<()> {
        if !self.mode.is_replicated() || bytes == 0 {
            return Ok(());
        }
        let grown = self.grown.saturating_add(bytes);
        match self.env.allocation_left {
            Some(left) if grown > left => return Err(HostTrap(Failure::OutOfMemory)),
            Some(_) => {}
            None => {
                if self.mode.is_in(mode::FREEZING) {
                    self.check_balance(self.freezing_limit(bytes), bytes)?;
                }
                if self.mode.is_in(mode::RESERVE) {
                    self.reserve(bytes)?;
                }
            }
        }
        self.grown = grown;
        Ok(())
    }

    /// Puts cycles aside for bytes of memory.
    fn reserve(&mut self, bytes: u64) -> Result<()> {
        let at = self.env.saturation.with(self.grown);
        let cycles = self.env.fees.reservation(at, bytes);
        let all = self.env.reserved + self.reserved + cycles;
        let limit = self.env.reserved_limit;
        if all > limit {
            let over = all - limit;
            return Err(HostTrap(Failure::ReservedLimit { bytes, limit, over }));
        }
        self.check_balance(cycles, bytes)?;
        self.balance -= cycles;
        self.reserved += cycles;
        Ok(())
    }

    /// Checks that the balance allows for more bytes of memory.
    fn check_balance(&self, needed: u128, bytes: u64) -> Result<()> {
        if self.balance >= needed {
            return Ok(());
        }
        let missing = self.caller_controls().then_some(needed - self.balance);
        Err(HostTrap(Failure::CyclesForMemory { bytes, missing }))
    }
}

/// An address or size, 32 or 64 bits wide as the module's memory is.
pub trait Address: WasmTy + Copy + Send + Sync {
    fn to_u64(self) -> u64;
    fn from_u64(value: u64) -> Self;
}

impl Address for u32 {
    fn to_u64(self) -> u64 {
        self.into()
    }

    fn from_u64(value: u64) -> Self {
        value as u32
    }
}

impl Address for u64 {
    fn to_u64(self) -> u64 {
        self
    }

    fn from_u64(value: u64) -> Self {
        value
    }
}

/// The context of one System API call.
struct Context<'a, 'b> {
    caller: &'a mut Caller<'b, Host>,
    name: &'static str,
}

impl Context<'_, '_> {
    fn api(&mut self) -> &mut Api {
        self.caller.data_mut().api()
    }

    fn counter(&mut self) -> i64 {
        let counter = self.caller.data().counter.expect("set with the instance");
        match counter.get(self.caller.as_context_mut()) {
            Val::I64(left) => left,
            _ => 0,
        }
    }

    /// Takes instructions; stops the message when there are not that many left.
    fn charge(&mut self, instructions: u64) -> Result<()> {
        let left = self
            .counter()
            .saturating_sub(i64::try_from(instructions).unwrap_or(i64::MAX));
        let counter = self.caller.data().counter.expect("set with the instance");
        let set = counter.set(self.caller.as_context_mut(), Val::I64(left));
        debug_assert!(set.is_ok());
        if left < 0 {
            let limit = self.api().limit;
            return Err(HostTrap(Failure::InstructionLimit(limit)));
        }
        Ok(())
    }

    fn allow(&mut self, modes: u32) -> Result<()> {
        let name = format!("ic0_{}", self.name);
        self.allow_as(modes, &name)
    }

    fn allow_as(&mut self, modes: u32, name: &str) -> Result<()> {
        self.api().allow(modes, name)
    }

    fn view(&self) -> Arc<View> {
        let view = self.caller.data().view.clone();
        view.expect("set with the instance")
    }

    fn out_of_heap(&self, start: u64, len: u64, size: usize) -> HostTrap {
        violation(format!(
            "ic0.{} heap: src={start} + length={len} exceeds the slice size={size}",
            self.name
        ))
    }

    /// Bytes of the heap.
    fn heap(&self, start: u64, len: u64) -> Result<Vec<u8>> {
        let view = self.view();
        let size = view.size();
        if start.checked_add(len).is_none_or(|end| end > size as u64) {
            return Err(self.out_of_heap(start, len, size));
        }
        // SAFETY: in range, readable, and nothing writes to the heap meanwhile.
        let bytes =
            unsafe { std::slice::from_raw_parts(view.start().add(start as usize), len as usize) };
        Ok(bytes.to_vec())
    }

    /// Lets `fill` write to a part of the heap.
    fn fill_heap(
        &mut self,
        start: u64,
        len: u64,
        fill: impl FnOnce(&mut Api, &mut [u8]),
    ) -> Result<()> {
        let view = self.view();
        let size = view.size();
        if start.checked_add(len).is_none_or(|end| end > size as u64) {
            return Err(self.out_of_heap(start, len, size));
        }
        if !view.prepare_write(start as usize, len as usize) {
            return Err(HostTrap(Failure::OutOfMemory));
        }
        // SAFETY: in range, writable, and nothing else uses the heap meanwhile.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(view.start().add(start as usize), len as usize)
        };
        fill(self.api(), bytes);
        Ok(())
    }

    /// Copies a part of what `source` gives to the heap.
    fn copy_out(
        &mut self,
        target: u64,
        offset: u64,
        len: u64,
        source: impl FnOnce(&Api) -> &[u8],
    ) -> Result<()> {
        let available = source(self.api());
        let size = available.len() as u64;
        let part = match offset.checked_add(len) {
            Some(end) if end <= size => available[offset as usize..end as usize].to_vec(),
            _ => return Err(self.out_of_payload(offset, len, size)),
        };
        self.fill_heap(target, len, |_, heap| heap.copy_from_slice(&part))
    }

    /// Copies a part of some bytes to the heap.
    fn copy_bytes(&mut self, target: u64, offset: u64, len: u64, source: &[u8]) -> Result<()> {
        let size = source.len() as u64;
        match offset.checked_add(len) {
            Some(end) if end <= size => self.fill_heap(target, len, |_, heap| {
                heap.copy_from_slice(&source[offset as usize..end as usize]);
            }),
            _ => Err(self.out_of_payload(offset, len, size)),
        }
    }

    fn out_of_payload(&self, offset: u64, len: u64, size: u64) -> HostTrap {
        violation(format!(
            "ic0.{} payload: src={offset} + length={len} exceeds the slice size={size}",
            self.name
        ))
    }

    fn write_u128(&mut self, target: u64, value: u128) -> Result<()> {
        self.fill_heap(target, 16, |_, heap| {
            heap.copy_from_slice(&value.to_le_bytes());
        })
    }

    fn executed(&mut self) -> u64 {
        let left = self.counter();
        (self.caller.data().left_at_start as i64 - left).max(0) as u64
    }

    fn text(&self, start: u64, len: u64) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.heap(start, len)?).into_owned())
    }

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

    fn log_cost(&mut self, len: u64) -> u64 {
        let len = len as usize;
        let room = self.api().log.room_for(len);
        2 * Log::considered(len) as u64 + BYTE_SENT * room as u64
    }

    fn check_stable(&mut self, offset: u64, len: u64) -> Result<()> {
        if self.api().stable.contains(offset, len) {
            Ok(())
        } else {
            Err(trapped("stable memory out of bounds"))
        }
    }

    fn check_stable32(&mut self) -> Result<()> {
        if self.api().stable.pages() > 65_536 {
            Err(trapped(
                "32 bit stable memory api used on a memory larger than 4GB",
            ))
        } else {
            Ok(())
        }
    }

    fn access_stable(&mut self, offset: u64, len: u64, written: u64) -> Result<()> {
        let api = self.api();
        api.stable.access(offset, len);
        let (accessed, dirty) = api.stable_access_limit;
        if api.stable.accessed_pages() > accessed {
            return Err(HostTrap(Failure::MemoryAccessLimit(format!(
                "Exceeded the limit for the number of accessed pages in the stable memory in a \
                 single message execution: limit {} KB.",
                accessed * 4
            ))));
        }
        if api.stable.dirty_pages() + written > dirty {
            return Err(HostTrap(Failure::MemoryAccessLimit(format!(
                "Exceeded the limit for the number of modified pages in the stable memory in a \
                 single message execution: limit {} KB.",
                dirty * 4
            ))));
        }
        Ok(())
    }

    fn stable_read(&mut self, target: u64, offset: u64, len: u64) -> Result<()> {
        self.charge(len)?;
        self.check_stable(offset, len)?;
        self.access_stable(offset, len, 0)?;
        self.fill_heap(target, len, |api, heap| api.stable.read(offset, heap))
    }

    fn stable_write(&mut self, offset: u64, source: u64, len: u64) -> Result<()> {
        self.charge(len)?;
        self.check_stable(offset, len)?;
        let pages = self.api().stable.clean_pages(offset, len);
        self.charge(pages * STABLE_PAGE_WRITTEN)?;
        self.access_stable(offset, len, pages)?;
        let view = self.view();
        let size = view.size();
        if source.checked_add(len).is_none_or(|end| end > size as u64) {
            return Err(self.out_of_heap(source, len, size));
        }
        // SAFETY: in range, readable, and nothing writes to the heap meanwhile.
        let bytes =
            unsafe { std::slice::from_raw_parts(view.start().add(source as usize), len as usize) };
        self.api().stable.write(offset, bytes);
        Ok(())
    }

    fn stable_grow(&mut self, pages: u64) -> Result<Option<u64>> {
        let Some(old) = self.api().stable.grow(pages) else {
            return Ok(None);
        };
        self.api().grow(pages * STABLE_PAGE)?;
        Ok(Some(old))
    }

    fn reply_limit(&mut self) -> usize {
        match self.api().mode {
            Mode::Query | Mode::CompositeQuery => MAX_QUERY_REPLY,
            Mode::CompositeReplyCallback | Mode::CompositeRejectCallback => MAX_QUERY_REPLY,
            _ => MAX_REPLY,
        }
    }

    /// Refuses a second answer to the caller.
    fn check_unanswered(&mut self) -> Result<()> {
        let name = self.name;
        let api = self.api();
        if api.answerable && api.response == Response::None {
            Ok(())
        } else {
            let end = if name == "msg_reply_data_append" {
                "."
            } else {
                ""
            };
            Err(violation(format!(
                "ic0.{name}: the call is already replied{end}"
            )))
        }
    }

    fn check_reply_size(&mut self, size: usize) -> Result<()> {
        let limit = self.reply_limit();
        if size > limit {
            return Err(violation(format!(
                "ic0.{}: application payload size ({size}) cannot be larger than {limit}.",
                self.name
            )));
        }
        Ok(())
    }

    fn accept_cycles(&mut self, most: u128) -> u128 {
        let api = self.api();
        let accepted = most.min(api.cycles_available);
        api.cycles_available -= accepted;
        api.cycles_accepted += accepted;
        api.balance = api.balance.saturating_add(accepted);
        accepted
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

fn trapped(text: &str) -> HostTrap {
    HostTrap(Failure::Trapped {
        trap: text.into(),
        backtrace: String::new(),
    })
}

fn cycles(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

fn principal(bytes: &[u8]) -> Result<Principal> {
    Principal::try_from_slice(bytes).map_err(|_| HostTrap(Failure::InvalidPrincipal))
}

/// Defines one function: charges its fixed cost, then runs the body.
macro_rules! api {
    ($linker:ident, $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty, |$context:ident| $body:expr) => {
        let cost = imports::find(stringify!($name)).map_or(0, |import| import.cost);
        $linker.func_wrap(
            "ic0",
            stringify!($name),
            move |mut caller: Caller<'_, Host> $(, $arg: $ty)*| -> wasmtime::Result<$ret> {
                #[allow(unused_mut)]
                let mut body = |$context: &mut Context<'_, '_>| -> Result<$ret> { $body };
                let mut context = Context { caller: &mut caller, name: stringify!($name) };
                context.charge(cost)?;
                Ok(body(&mut context)?)
            },
        )?;
    };
}

/// Defines the System API for a module whose addresses are of type `A`.
///
/// # Errors
/// When a name is defined twice.
pub fn define<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    define_message::<A>(linker)?;
    define_calls::<A>(linker)?;
    define_canister::<A>(linker)?;
    define_cycles::<A>(linker)?;
    define_memory(linker)?;
    define_debugging::<A>(linker)
}

fn define_message<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    api!(linker, msg_arg_data_size() -> A, |c| {
        c.allow(mode::ARGUMENT)?;
        Ok(A::from_u64(argument(c.api()).len() as u64))
    });
    api!(linker, msg_arg_data_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::ARGUMENT)?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), argument)
    });
    api!(linker, msg_caller_size() -> A, |c| {
        c.allow(mode::NOT_START)?;
        Ok(A::from_u64(c.api().caller.len() as u64))
    });
    api!(linker, msg_caller_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::NOT_START)?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| &api.caller)
    });
    api!(linker, msg_reject_code() -> i32, |c| {
        c.allow(mode::CALL_ANSWER)?;
        Ok(match &c.api().answer {
            Some(Answer::Reject(code, _)) => *code as i32,
            _ => 0,
        })
    });
    api!(linker, msg_reject_msg_size() -> A, |c| {
        c.allow(mode::REJECT_TEXT)?;
        Ok(A::from_u64(reject_text(c.api()).len() as u64))
    });
    api!(linker, msg_reject_msg_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::REJECT_TEXT)?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), reject_text)
    });
    api!(linker, msg_deadline() -> i64, |c| {
        c.allow(mode::ANSWER)?;
        Ok(c.api().deadline as i64)
    });
    api!(linker, msg_reply_data_append(src: A, size: A) -> (), |c| {
        c.charge(BYTE_SENT.saturating_mul(size.to_u64()))?;
        c.allow(mode::ANSWER)?;
        c.check_unanswered()?;
        let total = c.api().reply.len().saturating_add(size.to_u64() as usize);
        c.check_reply_size(total)?;
        let bytes = c.heap(src.to_u64(), size.to_u64())?;
        c.api().reply.extend(bytes);
        Ok(())
    });
    api!(linker, msg_reply() -> (), |c| {
        c.allow(mode::ANSWER)?;
        c.check_unanswered()?;
        let reply = std::mem::take(&mut c.api().reply);
        c.api().response = Response::Reply(reply);
        Ok(())
    });
    api!(linker, msg_reject(src: A, size: A) -> (), |c| {
        c.charge(BYTE_SENT.saturating_mul(size.to_u64()))?;
        c.allow(mode::ANSWER)?;
        c.check_unanswered()?;
        c.check_reply_size(size.to_u64() as usize)?;
        let text = c.heap(src.to_u64(), size.to_u64())?;
        let text = String::from_utf8(text)
            .map_err(|_| violation("ic0.msg_reject: invalid UTF-8 string provided"))?;
        c.api().reply.clear();
        c.api().response = Response::Reject(text);
        Ok(())
    });
    api!(linker, msg_method_name_size() -> A, |c| {
        c.allow(mode::INSPECT)?;
        Ok(A::from_u64(c.api().method.len() as u64))
    });
    api!(linker, msg_method_name_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::INSPECT)?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| api.method.as_bytes())
    });
    api!(linker, accept_message() -> (), |c| {
        c.allow(mode::INSPECT)?;
        if c.api().accepted {
            return Err(violation("ic0.accept_message: the function was already called."));
        }
        c.api().accepted = true;
        Ok(())
    });
    Ok(())
}

fn argument(api: &Api) -> &[u8] {
    match (&api.answer, api.mode) {
        (Some(Answer::Reply(reply)), Mode::ReplyCallback | Mode::CompositeReplyCallback) => reply,
        _ => &api.arg,
    }
}

fn reject_text(api: &Api) -> &[u8] {
    match &api.answer {
        Some(Answer::Reject(_, text)) => text.as_bytes(),
        _ => &[],
    }
}

fn define_calls<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
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

fn define_canister<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    api!(linker, canister_self_size() -> A, |c| {
        c.allow(mode::NOT_START)?;
        Ok(A::from_u64(c.api().env.canister.as_slice().len() as u64))
    });
    api!(linker, canister_self_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::NOT_START)?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| api.env.canister.as_slice())
    });
    api!(linker, canister_status() -> i32, |c| {
        c.allow(mode::NOT_START)?;
        Ok(c.api().env.status as i32)
    });
    api!(linker, canister_version() -> i64, |c| {
        c.allow(mode::NOT_START)?;
        Ok(c.api().env.version as i64)
    });
    api!(linker, subnet_self_size() -> A, |c| {
        c.allow_as(mode::NOT_START, "ic0_subnet_self_size")?;
        Ok(A::from_u64(c.api().env.subnet.as_slice().len() as u64))
    });
    api!(linker, subnet_self_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow_as(mode::NOT_START, "ic0.subnet_self_copy")?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| api.env.subnet.as_slice())
    });
    api!(linker, root_key_size() -> A, |c| {
        c.allow_as(mode::BURN, "ic0_root_key_size")?;
        Ok(A::from_u64(c.api().env.root_key.len() as u64))
    });
    api!(linker, root_key_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow_as(mode::BURN, "ic0.root_key_copy")?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| &api.env.root_key)
    });
    api!(linker, certified_data_set(src: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::CHANGE)?;
        if size.to_u64() > MAX_CERTIFIED_DATA {
            return Err(violation(format!(
                "ic0_certified_data_set failed because the passed data must be no larger than 32 \
                 bytes. Found {} bytes",
                size.to_u64()
            )));
        }
        let data = c.heap(src.to_u64(), size.to_u64())?;
        c.api().new_certified_data = Some(data);
        Ok(())
    });
    api!(linker, data_certificate_present() -> i32, |c| {
        c.allow(mode::NOT_START)?;
        let api = c.api();
        Ok((api.mode.is_in(mode::CERTIFICATE) && api.env.certificate.is_some()).into())
    });
    api!(linker, data_certificate_size() -> A, |c| {
        c.allow(mode::CERTIFICATE)?;
        Ok(A::from_u64(certificate(c.api())?.len() as u64))
    });
    api!(linker, data_certificate_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::CERTIFICATE)?;
        certificate(c.api())?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| {
            api.env.certificate.as_ref().map_or(&[], |certificate| certificate.bytes())
        })
    });
    api!(linker, time() -> i64, |c| {
        c.allow(mode::NOT_START)?;
        Ok(c.api().env.time_ns as i64)
    });
    api!(linker, global_timer_set(time: i64) -> i64, |c| {
        c.allow(mode::TIMER)?;
        let api = c.api();
        let old = api.new_timer.unwrap_or(api.env.global_timer);
        api.new_timer = Some((time != 0).then_some(time as u64));
        Ok(old.unwrap_or(0) as i64)
    });
    api!(linker, is_controller(src: A, size: A) -> i32, |c| {
        c.charge(size.to_u64())?;
        let who = principal(&c.heap(src.to_u64(), size.to_u64())?)?;
        Ok(c.api().env.controllers.contains(&who).into())
    });
    api!(linker, in_replicated_execution() -> i32, |c| {
        Ok(c.api().mode.is_replicated().into())
    });
    define_variables::<A>(linker)
}

fn certificate(api: &Api) -> Result<&[u8]> {
    api.env
        .certificate
        .as_ref()
        .map(|certificate| certificate.bytes())
        .ok_or_else(|| violation("ic0_data_certificate_size called without a certificate"))
}

fn define_variables<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    fn variable(api: &Api, index: u64) -> Result<&str> {
        let found = api.env.variables.get(index as usize);
        found
            .map(|(name, _)| name.as_str())
            .ok_or(HostTrap(Failure::VariableIndex {
                index,
                count: api.env.variables.len(),
            }))
    }
    fn value<'a>(api: &'a Api, name: &str) -> Result<&'a str> {
        let found = api.env.variables.iter().find(|(n, _)| n == name);
        found
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| HostTrap(Failure::VariableNotFound(name.into())))
    }
    api!(linker, env_var_count() -> A, |c| {
        c.allow(mode::NOT_START)?;
        Ok(A::from_u64(c.api().env.variables.len() as u64))
    });
    api!(linker, env_var_name_size(index: A) -> A, |c| {
        c.allow(mode::NOT_START)?;
        Ok(A::from_u64(variable(c.api(), index.to_u64())?.len() as u64))
    });
    api!(linker, env_var_name_copy(index: A, dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::NOT_START)?;
        let name = variable(c.api(), index.to_u64())?.to_owned();
        c.copy_bytes(dst.to_u64(), offset.to_u64(), size.to_u64(), name.as_bytes())
    });
    api!(linker, env_var_name_exists(src: A, size: A) -> i32, |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::NOT_START)?;
        let name = c.text(src.to_u64(), size.to_u64())?;
        Ok(value(c.api(), &name).is_ok().into())
    });
    api!(linker, env_var_value_size(src: A, size: A) -> A, |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::NOT_START)?;
        let name = c.text(src.to_u64(), size.to_u64())?;
        Ok(A::from_u64(value(c.api(), &name)?.len() as u64))
    });
    api!(
        linker,
        env_var_value_copy(src: A, name_size: A, dst: A, offset: A, size: A) -> (),
        |c| {
            c.charge(name_size.to_u64().saturating_add(size.to_u64()))?;
            c.allow(mode::NOT_START)?;
            let name = c.text(src.to_u64(), name_size.to_u64())?;
            let value = value(c.api(), &name)?.to_owned();
            c.copy_bytes(dst.to_u64(), offset.to_u64(), size.to_u64(), value.as_bytes())
        }
    );
    Ok(())
}

fn narrow(cycles: u128, name: &str) -> Result<i64> {
    u64::try_from(cycles)
        .map(|cycles| cycles as i64)
        .map_err(|_| violation(format!("ic0_{name}: the amount does not fit in 64 bits")))
}

fn define_cycles<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    api!(linker, canister_cycle_balance() -> i64, |c| {
        c.allow(mode::NOT_START)?;
        narrow(c.api().balance, "canister_cycle_balance")
    });
    api!(linker, canister_cycle_balance128(dst: A) -> (), |c| {
        c.allow(mode::NOT_START)?;
        let balance = c.api().balance;
        c.write_u128(dst.to_u64(), balance)
    });
    api!(linker, canister_liquid_cycle_balance128(dst: A) -> (), |c| {
        c.allow(mode::NOT_START)?;
        let liquid = c.api().liquid();
        c.write_u128(dst.to_u64(), liquid)
    });
    api!(linker, msg_cycles_available() -> i64, |c| {
        c.allow(mode::CYCLES)?;
        narrow(c.api().cycles_available, "msg_cycles_available")
    });
    api!(linker, msg_cycles_available128(dst: A) -> (), |c| {
        c.allow(mode::CYCLES)?;
        let available = c.api().cycles_available;
        c.write_u128(dst.to_u64(), available)
    });
    api!(linker, msg_cycles_refunded() -> i64, |c| {
        c.allow(mode::REFUND)?;
        narrow(c.api().cycles_refunded, "msg_cycles_refunded")
    });
    api!(linker, msg_cycles_refunded128(dst: A) -> (), |c| {
        c.allow(mode::REFUND)?;
        let refunded = c.api().cycles_refunded;
        c.write_u128(dst.to_u64(), refunded)
    });
    api!(linker, msg_cycles_accept(most: i64) -> i64, |c| {
        c.allow(mode::CYCLES)?;
        Ok(c.accept_cycles(u128::from(most as u64)) as i64)
    });
    api!(linker, msg_cycles_accept128(high: i64, low: i64, dst: A) -> (), |c| {
        c.allow(mode::CYCLES)?;
        let accepted = c.accept_cycles(cycles(high as u64, low as u64));
        c.write_u128(dst.to_u64(), accepted)
    });
    api!(linker, cycles_burn128(high: i64, low: i64, dst: A) -> (), |c| {
        c.allow(mode::BURN)?;
        let api = c.api();
        let burnt = cycles(high as u64, low as u64).min(api.liquid());
        api.balance -= burnt;
        api.cycles_burnt += burnt;
        c.write_u128(dst.to_u64(), burnt)
    });
    api!(linker, mint_cycles(_amount: i64) -> i64, |c| {
        Err(mint(c))
    });
    api!(linker, mint_cycles128(_high: i64, _low: i64, _dst: A) -> (), |c| {
        Err(mint(c))
    });
    api!(linker, cost_call(name_size: i64, payload_size: i64, dst: A) -> (), |c| {
        let fees = c.api().env.fees;
        let memory64 = c.api().memory64();
        let bytes = (name_size as u64).saturating_add(payload_size as u64);
        let cost = fees.call(bytes)
            + fees.answer(MAX_CALL_ANSWER)
            + fees.execution(UPDATE_LIMIT, memory64);
        c.write_u128(dst.to_u64(), cost)
    });
    api!(linker, cost_create_canister(dst: A) -> (), |c| {
        let cost = c.api().env.fees.create();
        c.write_u128(dst.to_u64(), cost)
    });
    api!(linker, cost_http_request(request: i64, answer: i64, dst: A) -> (), |c| {
        let cost = c.api().env.fees.http_request(request as u64, answer as u64);
        c.write_u128(dst.to_u64(), cost)
    });
    // There are no threshold keys here: known algorithms have no key of any name (2), others are
    // unknown (1).
    api!(linker, cost_sign_with_ecdsa(src: A, size: A, curve: i32, _dst: A) -> i32, |c| {
        c.heap(src.to_u64(), size.to_u64())?;
        Ok(if curve == 0 { 2 } else { 1 })
    });
    api!(linker, cost_sign_with_schnorr(src: A, size: A, algorithm: i32, _dst: A) -> i32, |c| {
        c.heap(src.to_u64(), size.to_u64())?;
        Ok(if algorithm == 0 || algorithm == 1 { 2 } else { 1 })
    });
    api!(linker, cost_vetkd_derive_key(src: A, size: A, curve: i32, _dst: A) -> i32, |c| {
        c.heap(src.to_u64(), size.to_u64())?;
        Ok(if curve == 0 { 2 } else { 1 })
    });
    Ok(())
}

fn mint(c: &mut Context<'_, '_>) -> HostTrap {
    if let Err(refused) = c.allow(mode::MINT) {
        return refused;
    }
    let name = c.name;
    violation(format!(
        "ic0.{name} cannot be executed on non Cycles Minting Canister: {} != \
         rkp4c-7iaaa-aaaaa-aaaca-cai",
        c.api().env.canister
    ))
}

fn define_memory(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    api!(linker, stable64_size() -> i64, |c| {
        Ok(c.api().stable.pages() as i64)
    });
    api!(linker, stable64_grow(pages: i64) -> i64, |c| {
        Ok(c.stable_grow(pages as u64)?.map_or(-1, |old| old as i64))
    });
    api!(linker, stable64_read(dst: i64, offset: i64, size: i64) -> (), |c| {
        c.stable_read(dst as u64, offset as u64, size as u64)
    });
    api!(linker, stable64_write(offset: i64, src: i64, size: i64) -> (), |c| {
        c.stable_write(offset as u64, src as u64, size as u64)
    });
    api!(linker, stable_size() -> i32, |c| {
        c.check_stable32()?;
        Ok(c.api().stable.pages() as i32)
    });
    api!(linker, stable_grow(pages: i32) -> i32, |c| {
        c.check_stable32()?;
        let pages = u64::from(pages as u32);
        if c.api().stable.pages() + pages > 65_536 {
            return Ok(-1);
        }
        Ok(c.stable_grow(pages)?.map_or(-1, |old| old as i32))
    });
    api!(linker, stable_read(dst: i32, offset: i32, size: i32) -> (), |c| {
        c.check_stable32()?;
        c.stable_read((dst as u32).into(), (offset as u32).into(), (size as u32).into())
    });
    api!(linker, stable_write(offset: i32, src: i32, size: i32) -> (), |c| {
        c.check_stable32()?;
        c.stable_write((offset as u32).into(), (src as u32).into(), (size as u32).into())
    });
    Ok(())
}

fn define_debugging<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    api!(linker, performance_counter(kind: i32) -> i64, |c| {
        let executed = c.executed();
        match kind {
            0 => Ok(executed as i64),
            1 => Ok((c.api().context_instructions + executed) as i64),
            _ => Err(violation(format!("Error getting performance counter type {kind}"))),
        }
    });
    api!(linker, debug_print(src: A, size: A) -> (), |c| {
        let cost = c.log_cost(size.to_u64());
        c.charge(cost)?;
        let line = c.heap(src.to_u64(), size.to_u64().min(1 << 16))?;
        let api = c.api();
        if api.mode.is_replicated() {
            api.log.push(api.env.time_ns, &line);
        }
        Ok(())
    });
    api!(linker, trap(src: A, size: A) -> (), |c| {
        let cost = c.log_cost(size.to_u64());
        c.charge(size.to_u64().saturating_add(cost))?;
        let message = c.text(src.to_u64(), size.to_u64().min(MAX_TRAP_MESSAGE))?;
        Err(HostTrap(Failure::CalledTrap { message, backtrace: String::new() }))
    });
    Ok(())
}

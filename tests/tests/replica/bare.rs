//! The same metered module in bare wasmtime: the engine's own memory, and of the System API only what
//! a generation's rounds call, in its simplest form. Costs are taken as the replica takes them, so
//! that the canister, which goes by what is left, does the same work.

use candid::Principal;
use replica::modules::instrument::{COUNTER, GLOBAL, MEMORY, instrument};
use replica::modules::{imports, validate};
use replica::replicated_state::Canister;
use replica::runtime::instance::GlobalValue;
use std::collections::HashSet;
use wasmtime::error::Context as _;
use wasmtime::{Caller, Config, Engine, Extern, Global, Instance, Linker, Memory, Module};
use wasmtime::{OptLevel, Result, Store, Val, WasmParams, WasmResults, bail, ensure};

/// Instructions of a message.
const LIMIT: i64 = 40_000_000_000;
const PAGE: u64 = 4096;

/// A call of the canister to itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    pub method: String,
    pub arg: Vec<u8>,
}

#[derive(Default)]
struct Host {
    canister: Vec<u8>,
    caller: Vec<u8>,
    time_ns: u64,
    arg: Vec<u8>,
    reply: Vec<u8>,
    stable: Vec<u8>,
    /// Stable pages written in this message.
    written: HashSet<u64>,
    call: Call,
    next: Option<Call>,
    memory: Option<Memory>,
    counter: Option<Global>,
}

/// A canister's copy.
pub(crate) struct Bare {
    store: Store<Host>,
    instance: Instance,
    counter: Global,
}

fn charge(caller: &mut Caller<'_, Host>, cost: u64) -> Result<()> {
    let counter = caller.data().counter.context("no counter")?;
    let left = counter.get(&mut *caller).i64().context("no number")? - cost as i64;
    counter.set(&mut *caller, Val::I64(left))?;
    ensure!(left >= 0, "out of instructions");
    Ok(())
}

fn memory(caller: &Caller<'_, Host>) -> Result<Memory> {
    caller.data().memory.context("no memory")
}

/// Copies bytes of the host to the heap.
fn put(
    caller: &mut Caller<'_, Host>,
    target: u32,
    offset: u32,
    size: u32,
    source: impl Fn(&Host) -> &[u8],
) -> Result<()> {
    charge(caller, u64::from(size))?;
    let (heap, host) = memory(caller)?.data_and_store_mut(&mut *caller);
    let (target, offset, size) = (target as usize, offset as usize, size as usize);
    heap[target..target + size].copy_from_slice(&source(host)[offset..offset + size]);
    Ok(())
}

/// Bytes of the heap.
fn get(caller: &Caller<'_, Host>, start: u32, size: u32) -> Result<Vec<u8>> {
    let heap = memory(caller)?.data(caller);
    Ok(heap[start as usize..][..size as usize].to_vec())
}

/// Defines a function that charges its fixed cost first.
macro_rules! define {
    ($linker:ident, $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty, |$c:ident| $body:expr) => {
        let cost = imports::find(stringify!($name)).context(stringify!($name))?.cost;
        $linker.func_wrap("ic0", stringify!($name), move |mut caller: Caller<'_, Host> $(, $arg: $ty)*| -> Result<$ret> {
            let $c = &mut caller;
            charge($c, cost)?;
            $body
        })?;
    };
}

fn system_api(linker: &mut Linker<Host>) -> Result<()> {
    define!(linker, msg_arg_data_size() -> u32, |c| Ok(c.data().arg.len() as u32));
    define!(linker, msg_arg_data_copy(to: u32, from: u32, size: u32) -> (), |c| {
        put(c, to, from, size, |host| &host.arg)
    });
    define!(linker, msg_caller_size() -> u32, |c| Ok(c.data().caller.len() as u32));
    define!(linker, msg_caller_copy(to: u32, from: u32, size: u32) -> (), |c| {
        put(c, to, from, size, |host| &host.caller)
    });
    define!(linker, canister_self_size() -> u32, |c| Ok(c.data().canister.len() as u32));
    define!(linker, canister_self_copy(to: u32, from: u32, size: u32) -> (), |c| {
        put(c, to, from, size, |host| &host.canister)
    });
    define!(linker, canister_status() -> u32, |c| {
        let _ = c;
        Ok(1)
    });
    define!(linker, is_controller(at: u32, size: u32) -> u32, |c| {
        charge(c, u64::from(size))?;
        let _ = at;
        Ok(0)
    });
    define!(linker, in_replicated_execution() -> u32, |c| {
        let _ = c;
        Ok(1)
    });
    define!(linker, msg_reply_data_append(at: u32, size: u32) -> (), |c| {
        charge(c, 50 * u64::from(size))?;
        let bytes = get(c, at, size)?;
        c.data_mut().reply.extend(bytes);
        Ok(())
    });
    define!(linker, msg_reply() -> (), |c| {
        let _ = c;
        Ok(())
    });
    define!(linker, time() -> u64, |c| Ok(c.data().time_ns));
    define!(linker, global_timer_set(time: u64) -> u64, |c| {
        let _ = (&c, time);
        Ok(0)
    });
    define!(linker, performance_counter(kind: u32) -> u64, |c| {
        ensure!(kind == 0, "another counter");
        let counter = c.data().counter.context("no counter")?;
        let left = counter.get(&mut *c).i64().context("no number")?;
        Ok((LIMIT - left) as u64)
    });
    define!(linker, canister_cycle_balance128(to: u32) -> (), |c| {
        let heap = memory(c)?.data_mut(&mut *c);
        heap[to as usize..][..16].copy_from_slice(&(1u128 << 60).to_le_bytes());
        Ok(())
    });
    define!(linker, certified_data_set(at: u32, size: u32) -> (), |c| {
        charge(c, u64::from(size))?;
        let _ = at;
        Ok(())
    });
    define!(linker, canister_liquid_cycle_balance128(to: u32) -> (), |c| {
        let heap = memory(c)?.data_mut(&mut *c);
        heap[to as usize..][..16].copy_from_slice(&(1u128 << 60).to_le_bytes());
        Ok(())
    });
    calls(linker)?;
    stable_memory(linker)
}

fn calls(linker: &mut Linker<Host>) -> Result<()> {
    define!(
        linker,
        call_new(
            callee: u32, callee_size: u32, name: u32, name_size: u32,
            reply: u32, reply_env: u32, reject: u32, reject_env: u32
        ) -> (),
        |c| {
            charge(c, u64::from(callee_size) + u64::from(name_size))?;
            let _ = (reply, reply_env, reject, reject_env);
            let callee = get(c, callee, callee_size)?;
            ensure!(callee == c.data().canister, "a call to somebody else");
            let method = String::from_utf8(get(c, name, name_size)?)?;
            c.data_mut().call = Call { method, arg: Vec::new() };
            Ok(())
        }
    );
    define!(linker, call_data_append(at: u32, size: u32) -> (), |c| {
        charge(c, 50 * u64::from(size))?;
        let bytes = get(c, at, size)?;
        c.data_mut().call.arg.extend(bytes);
        Ok(())
    });
    define!(linker, call_with_best_effort_response(seconds: u32) -> (), |c| {
        let _ = (&c, seconds);
        Ok(())
    });
    define!(linker, call_perform() -> u32, |c| {
        let call = std::mem::take(&mut c.data_mut().call);
        c.data_mut().next = Some(call);
        Ok(0)
    });
    Ok(())
}

fn stable_memory(linker: &mut Linker<Host>) -> Result<()> {
    define!(linker, stable64_size() -> u64, |c| Ok(c.data().stable.len() as u64 >> 16));
    define!(linker, stable64_grow(pages: u64) -> u64, |c| {
        let old = c.data().stable.len();
        c.data_mut().stable.resize(old + ((pages as usize) << 16), 0);
        Ok(old as u64 >> 16)
    });
    define!(linker, stable64_read(to: u64, from: u64, size: u64) -> (), |c| {
        charge(c, size)?;
        let (heap, host) = memory(c)?.data_and_store_mut(&mut *c);
        let (to, from, size) = (to as usize, from as usize, size as usize);
        heap[to..to + size].copy_from_slice(&host.stable[from..from + size]);
        Ok(())
    });
    define!(linker, stable64_write(to: u64, from: u64, size: u64) -> (), |c| {
        charge(c, size)?;
        if size == 0 {
            return Ok(());
        }
        let mut new = 0;
        for page in to / PAGE..(to + size).div_ceil(PAGE) {
            new += u64::from(c.data_mut().written.insert(page));
        }
        charge(c, 1_000 * new)?;
        let (heap, host) = memory(c)?.data_and_store_mut(&mut *c);
        let (to, from, size) = (to as usize, from as usize, size as usize);
        host.stable[to..to + size].copy_from_slice(&heap[from..from + size]);
        Ok(())
    });
    Ok(())
}

fn value(value: &GlobalValue) -> Val {
    match *value {
        GlobalValue::I32(value) => Val::I32(value),
        GlobalValue::I64(value) => Val::I64(value),
        GlobalValue::F32(bits) => Val::F32(bits),
        GlobalValue::F64(bits) => Val::F64(bits),
        GlobalValue::V128(value) => Val::V128(value.into()),
    }
}

impl Bare {
    /// A copy of a canister as it is between two messages.
    pub(crate) fn copy(canister: &Canister, time_ns: u64) -> Result<Bare> {
        let code = canister.code.as_ref().context("no code")?;
        let parsed = validate::validate(&code.module.wasm)?;
        let instrumented = instrument(&parsed, false)?;
        let mut config = Config::new();
        config
            .cranelift_nan_canonicalization(true)
            .cranelift_opt_level(OptLevel::Speed)
            .max_wasm_stack(5 << 20)
            .async_stack_size(8 << 20);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, &instrumented.wasm)?;
        let mut linker = Linker::new(&engine);
        system_api(&mut linker)?;
        linker.define_unknown_imports_as_traps(&module)?;
        let mut stable = vec![0; canister.stable.bytes() as usize];
        canister.stable.fork().read(0, &mut stable);
        let mut store = Store::new(
            &engine,
            Host {
                canister: canister.id.as_slice().to_vec(),
                time_ns,
                stable,
                ..Host::default()
            },
        );
        let instance = linker.instantiate(&mut store, &module)?;
        let counter = instance
            .get_global(&mut store, COUNTER)
            .context("no counter")?;
        let memory = instance.get_memory(&mut store, MEMORY);
        let memory = memory.context("no memory")?;
        let heap = code.heap.bytes();
        let missing = (heap.len() - memory.data_size(&store)) as u64 >> 16;
        memory.grow(&mut store, missing)?;
        memory.data_mut(&mut store).copy_from_slice(heap);
        for (index, content) in instrumented.mutable_globals.iter().zip(&code.globals) {
            let name = format!("{GLOBAL}{index}");
            let global = instance.get_export(&mut store, &name);
            if let (Some(Extern::Global(global)), Some(content)) = (global, content) {
                global.set(&mut store, value(content))?;
            }
        }
        store.data_mut().memory = Some(memory);
        store.data_mut().counter = Some(counter);
        Ok(Bare {
            store,
            instance,
            counter,
        })
    }

    fn call<P: WasmParams, R: WasmResults>(&mut self, name: &str, params: P) -> Result<R> {
        let function = self
            .instance
            .get_typed_func::<P, R>(&mut self.store, name)?;
        function.call(&mut self.store, params)
    }

    /// Runs an update; gives its instructions, and the call to itself that it made.
    pub(crate) fn update(&mut self, call: &Call) -> Result<(u64, Option<Call>)> {
        self.counter.set(&mut self.store, Val::I64(LIMIT))?;
        let host = self.store.data_mut();
        host.caller.clone_from(&host.canister);
        host.arg.clone_from(&call.arg);
        host.written.clear();
        host.reply.clear();
        self.call::<(), ()>(&format!("canister_update {}", call.method), ())?;
        let left = self.counter.get(&mut self.store).i64();
        let left = left.context("no number")?;
        Ok(((LIMIT - left) as u64, self.store.data_mut().next.take()))
    }

    /// Runs a query.
    pub(crate) fn query(&mut self, method: &str, arg: Vec<u8>) -> Result<Vec<u8>> {
        self.counter.set(&mut self.store, Val::I64(LIMIT))?;
        let host = self.store.data_mut();
        host.caller = Principal::anonymous().as_slice().to_vec();
        host.arg = arg;
        host.reply.clear();
        self.call::<(), ()>(&format!("canister_query {method}"), ())?;
        Ok(std::mem::take(&mut self.store.data_mut().reply))
    }
}

/// The call to itself that waits for a canister.
pub(crate) fn waiting(canister: &Canister) -> Result<Call> {
    use replica::replicated_state::Input;
    let mut queues = canister.queues.clone();
    while let Some(input) = queues.pop_input() {
        if let Input::Request(request) = input {
            ensure!(request.sender == canister.id, "somebody else's call");
            return Ok(Call {
                method: request.method,
                arg: request.arg,
            });
        }
    }
    bail!("nothing waits for {}", Principal::to_text(&canister.id))
}

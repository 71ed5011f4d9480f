//! An instance of a canister's module, kept from message to message.

use super::engine::{self, InstancePre, set_next_heap};
use super::failure::{Failure, HostTrap};
use super::module::CompiledModule;
use super::system_api::context::Host;
use super::system_api::state::{Api, Closure};
use crate::memory::heap::{Content, Heap, MAX_HEAP32, MAX_HEAP64, View};
use crate::modules::instrument::{COUNTER, GLOBAL, START, TABLE};
use crate::storage::FileStore;
use std::sync::Arc;
use wasmtime::unix::StoreExt;
use wasmtime::{Global, Ref, Store, Trap, Val, WasmBacktrace};

/// What an execution starts with.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The module's start function.
    Start,
    /// An exported function without parameters.
    Export(String),
    /// A function of table 0.
    Closure(Closure),
}

/// How an execution went.
pub struct Outcome {
    /// Whether it ended well.
    pub result: Result<(), Failure>,
    /// Instructions executed, at most the limit.
    pub instructions: u64,
    /// Everything that it did through the System API.
    pub api: Api,
}

/// A value of a global.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum GlobalValue {
    /// An `i32`.
    I32(i32),
    /// An `i64`.
    I64(i64),
    /// The bits of an `f32`.
    F32(u32),
    /// The bits of an `f64`.
    F64(u64),
    /// A `v128`.
    V128(u128),
}

impl GlobalValue {
    fn from_val(val: &Val) -> Option<GlobalValue> {
        Some(match val {
            Val::I32(value) => GlobalValue::I32(*value),
            Val::I64(value) => GlobalValue::I64(*value),
            Val::F32(bits) => GlobalValue::F32(*bits),
            Val::F64(bits) => GlobalValue::F64(*bits),
            Val::V128(value) => GlobalValue::V128(value.as_u128()),
            _ => return None,
        })
    }

    fn to_val(self) -> Val {
        match self {
            GlobalValue::I32(value) => Val::I32(value),
            GlobalValue::I64(value) => Val::I64(value),
            GlobalValue::F32(bits) => Val::F32(bits),
            GlobalValue::F64(bits) => Val::F64(bits),
            GlobalValue::V128(value) => Val::V128(value.into()),
        }
    }
}

/// An instance, with its heap and globals.
pub struct Instance {
    store: Store<Host>,
    instance: wasmtime::Instance,
    counter: Global,
    globals: Vec<Global>,
    committed: Vec<Option<GlobalValue>>,
    view: Arc<View>,
    spent: bool,
}

fn failed(error: impl std::fmt::Display) -> String {
    format!("cannot instantiate the module: {error:#}")
}

/// The heap that a module starts with.
///
/// # Errors
/// When there is no memory for it.
pub fn new_heap(module: &CompiledModule, store: &Arc<FileStore>) -> std::io::Result<Arc<Heap>> {
    let heap = Heap::new(store, module.initial_heap, heap_capacity(module))?;
    for (offset, bytes) in &module.data {
        heap.initialise(*offset as usize, bytes);
    }
    Ok(heap)
}

/// Bytes that a module's heap may grow to.
pub fn heap_capacity(module: &CompiledModule) -> usize {
    if !module.has_memory {
        0
    } else if module.memory64 {
        MAX_HEAP64
    } else {
        MAX_HEAP32
    }
}

impl Instance {
    /// Makes an instance on a heap with that content; without `globals` they have their initial
    /// values.
    ///
    /// # Errors
    /// When the engine has no memory for it.
    pub fn new(
        module: &CompiledModule,
        heap: Arc<Heap>,
        globals: Option<&[Option<GlobalValue>]>,
        content: Content<'_>,
    ) -> Result<Instance, String> {
        let InstancePre { engine, pre } = &module.pre;
        let mut store = Store::new(engine, Host::default());
        store.limiter(|host| host);
        let (reserved, guard) = if module.has_memory {
            engine::HEAP_ROOM
        } else {
            (0, 0)
        };
        let view = View::new(heap, reserved, guard, content).map_err(failed)?;
        if module.has_memory {
            set_next_heap(view.clone());
        }
        let instance = pre.instantiate(&mut store).map_err(failed)?;
        let faults = view.clone();
        // SAFETY: the handler only calls `View::fault`, which is safe in signal handlers.
        unsafe {
            store.set_signal_handler(move |_, info, _| {
                // SAFETY: the kernel hands a valid siginfo to the handler.
                faults.fault((*info).si_addr() as usize)
            });
        }
        let counter = instance
            .get_global(&mut store, COUNTER)
            .ok_or_else(|| failed("no counter"))?;
        let mut handles = Vec::new();
        for index in &module.mutable_globals {
            handles.push(
                instance
                    .get_global(&mut store, &format!("{GLOBAL}{index}"))
                    .ok_or_else(|| failed("no global"))?,
            );
        }
        store.data_mut().counter = Some(counter);
        store.data_mut().view = Some(view.clone());
        let mut this = Instance {
            store,
            instance,
            counter,
            globals: handles,
            committed: Vec::new(),
            view,
            spent: false,
        };
        if let Some(values) = globals {
            this.committed = values.to_vec();
            this.restore_globals()?;
        } else {
            this.committed = this.read_globals();
        }
        Ok(this)
    }

    fn read_globals(&mut self) -> Vec<Option<GlobalValue>> {
        self.globals
            .iter()
            .map(|global| GlobalValue::from_val(&global.get(&mut self.store)))
            .collect()
    }

    /// Values that the mutable globals have now.
    pub fn current_globals(&mut self) -> Vec<Option<GlobalValue>> {
        self.read_globals()
    }

    /// Gives the mutable globals values that they had before.
    pub fn put_globals(&mut self, values: &[Option<GlobalValue>]) {
        for (global, value) in self.globals.iter().zip(values) {
            let set = value.map(|value| global.set(&mut self.store, value.to_val()));
            debug_assert!(set.is_none_or(|set| set.is_ok()));
        }
    }

    fn restore_globals(&mut self) -> Result<(), String> {
        for (global, value) in self.globals.iter().zip(&self.committed) {
            if let Some(value) = value {
                global
                    .set(&mut self.store, value.to_val())
                    .map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Sets what the mutable globals are before the next message.
    ///
    /// # Errors
    /// When they are of other types.
    pub fn set_globals(&mut self, values: &[Option<GlobalValue>]) -> Result<(), String> {
        self.committed.clear();
        self.committed.extend_from_slice(values);
        self.restore_globals()
    }

    /// Committed values of the mutable globals.
    pub fn globals(&self) -> &[Option<GlobalValue>] {
        &self.committed
    }

    /// The heap, as this instance sees it.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// True when the instance cannot run another message: make a new one.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Runs one entry point. Changes wait for [`commit`] or [`roll_back`].
    ///
    /// [`commit`]: Instance::commit
    /// [`roll_back`]: Instance::roll_back
    pub fn run(&mut self, entry: &Entry, api: Api) -> Outcome {
        let limit = api.limit;
        self.run_within(entry, api, limit)
    }

    /// Like [`Instance::run`] with only `left` of the message's instructions left.
    pub fn run_within(&mut self, entry: &Entry, api: Api, left: u64) -> Outcome {
        let limit = api.limit;
        self.store.data_mut().api = Some(Box::new(api));
        self.store.data_mut().left_at_start = left;
        self.view.begin();
        let left = left as i64;
        let set = self.counter.set(&mut self.store, Val::I64(left));
        let result = match set {
            Ok(()) => self.call(entry),
            Err(error) => Err(error),
        };
        let counter = match self.counter.get(&mut self.store) {
            Val::I64(counter) => counter,
            _ => 0,
        };
        let result = result.map_err(|error| failure(&error, counter, limit));
        let instructions = (left - counter).clamp(0, left) as u64;
        let mut api = self.store.data_mut().take_api();
        if let Err(failure) = &result
            && let Some(line) = failure.log_line()
        {
            let time = api.env.time_ns;
            api.log.push(time, line.as_bytes());
        }
        Outcome {
            result,
            instructions,
            api,
        }
    }

    fn call(&mut self, entry: &Entry) -> wasmtime::Result<()> {
        match entry {
            Entry::Start => self.call_export(START),
            Entry::Export(name) => self.call_export(name),
            Entry::Closure(closure) => self.call_closure(closure),
        }
    }

    fn call_export(&mut self, name: &str) -> wasmtime::Result<()> {
        let function = self
            .instance
            .get_typed_func::<(), ()>(&mut self.store, name)?;
        function.call(&mut self.store, ())
    }

    fn call_closure(&mut self, closure: &Closure) -> wasmtime::Result<()> {
        let missing = || {
            HostTrap(Failure::FunctionNotFound {
                table: 0,
                function: closure.function,
            })
        };
        let table = self
            .instance
            .get_table(&mut self.store, TABLE)
            .ok_or_else(missing)?;
        let slot = table
            .get(&mut self.store, u64::from(closure.function))
            .ok_or_else(missing)?;
        let Ref::Func(Some(function)) = slot else {
            return Err(contract("unexpected null function reference"));
        };
        let wrong = |_| contract("function invocation does not match its signature");
        if self.store.data().memory64 {
            let function = function.typed::<u64, ()>(&self.store).map_err(wrong)?;
            function.call(&mut self.store, closure.env)
        } else {
            let function = function.typed::<u32, ()>(&self.store).map_err(wrong)?;
            function.call(&mut self.store, closure.env as u32)
        }
    }

    /// Says that callbacks take 64-bit environments.
    pub fn set_memory64(&mut self, memory64: bool) {
        self.store.data_mut().memory64 = memory64;
    }

    /// Makes the message's changes of heap and globals last.
    pub fn commit(&mut self) {
        self.view.commit();
        self.committed = self.read_globals();
    }

    /// Undoes the message's changes of heap and globals.
    pub fn roll_back(&mut self) {
        let usable = self.view.roll_back();
        self.spent |= !usable || self.restore_globals().is_err();
    }

    /// Says that the instance is not to be used for another message.
    pub fn set_spent(&mut self) {
        self.spent = true;
    }
}

fn contract(text: &str) -> wasmtime::Error {
    HostTrap(Failure::ContractViolation(text.into())).into()
}

/// Names of the functions on the stack when an error came up, innermost first, a line each.
fn backtrace(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let mut text = String::new();
    for frame in trace.frames() {
        match frame.func_name() {
            Some(name) => text.push_str(name),
            None => {
                let index = frame.func_index();
                text.push_str(&format!("unknown function at index {index}"));
            }
        }
        text.push('\n');
    }
    text
}

fn failure(error: &wasmtime::Error, counter: i64, limit: u64) -> Failure {
    if let Some(HostTrap(failure)) = error.downcast_ref::<HostTrap>() {
        return match failure {
            Failure::CalledTrap { message, .. } => Failure::CalledTrap {
                message: message.clone(),
                backtrace: backtrace(error),
            },
            Failure::Trapped { trap, .. } => Failure::Trapped {
                trap: trap.clone(),
                backtrace: backtrace(error),
            },
            other => other.clone(),
        };
    }
    let trap = error.downcast_ref::<Trap>();
    // Metering stops a message whose counter is negative with `unreachable`.
    if counter < 0 && trap == Some(&Trap::UnreachableCodeReached) {
        return Failure::InstructionLimit(limit);
    }
    let text = match trap {
        Some(Trap::StackOverflow) => "stack overflow".into(),
        Some(Trap::MemoryOutOfBounds) => "heap out of bounds".into(),
        Some(Trap::TableOutOfBounds) => "table out of bounds".into(),
        Some(Trap::IndirectCallToNull) => "null function call".into(),
        Some(Trap::BadSignature) => "indirect call type mismatch".into(),
        Some(Trap::IntegerOverflow) => "integer overflow".into(),
        Some(Trap::IntegerDivisionByZero) => "integer division by 0".into(),
        Some(Trap::BadConversionToInteger) => "bad float to integer conversion".into(),
        Some(Trap::UnreachableCodeReached) => "unreachable".into(),
        Some(other) => other.to_string(),
        None => format!("{error:#}"),
    };
    Failure::Trapped {
        trap: text,
        backtrace: backtrace(error),
    }
}

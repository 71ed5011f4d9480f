//! The Wasm engine, set up like the IC's.

use super::stack::{THREAD_STACK, WASM_STACK};
use super::system_api;
use super::system_api::context::Host;
use crate::memory::heap::{MAX_HEAP32, MAX_HEAP64, View};
use crate::storage::FileStore;
use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use wasmtime::{
    Config, LinearMemory, Linker, MemoryCreator, MemoryType, OptLevel, WasmBacktraceDetails,
};

/// Frames of a backtrace: more do not fit in a canister's log.
const BACKTRACE_FRAMES: usize = 1_000;

/// The engine and the System API, one of each in a process.
pub struct Engine {
    engine: wasmtime::Engine,
    linker32: Linker<Host>,
    linker64: Linker<Host>,
}

/// What instances of a module are made from.
pub struct InstancePre {
    pub(super) engine: wasmtime::Engine,
    pub(super) pre: wasmtime::InstancePre<Host>,
}

thread_local! {
    /// The heap of the instance that this thread is about to make.
    static NEXT_HEAP: RefCell<Option<Arc<View>>> = const { RefCell::new(None) };
}

/// Address space of a heap, and the inaccessible bytes behind it.
pub(super) const HEAP_ROOM: (usize, usize) = (MAX_HEAP64, GUARD);
const GUARD: usize = 2 << 30;

/// Gives the heap for the instance that this thread makes next.
pub(super) fn set_next_heap(view: Arc<View>) {
    NEXT_HEAP.with(|next| *next.borrow_mut() = Some(view));
}

struct Heaps;

// SAFETY: views are page-aligned, never move, and are followed by the guard that was asked for.
unsafe impl MemoryCreator for Heaps {
    fn new_memory(
        &self,
        _ty: MemoryType,
        _minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let view = NEXT_HEAP
            .with(|next| next.borrow_mut().take())
            .ok_or("no heap was prepared for this instance")?;
        let reserved = reserved
            .unwrap_or(0)
            .max(maximum.unwrap_or(0).min(MAX_HEAP64));
        if view.room() < reserved + guard {
            return Err("the heap that was prepared is too small".into());
        }
        Ok(Box::new(HeapMemory(view)))
    }
}

struct HeapMemory(Arc<View>);

// SAFETY: as for `Heaps`; all accessible bytes stay accessible while the memory lives.
unsafe impl LinearMemory for HeapMemory {
    fn byte_size(&self) -> usize {
        self.0.size()
    }

    fn byte_capacity(&self) -> usize {
        self.0.heap().capacity()
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        Ok(self.0.grow_to(new_size)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.start()
    }
}

impl Engine {
    /// The process's engine.
    ///
    /// # Errors
    /// When the machine cannot run it.
    pub fn get() -> Result<&'static Engine, String> {
        static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
        ENGINE
            .get_or_init(|| Engine::new().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn new() -> wasmtime::Result<Engine> {
        let mut config = Config::new();
        config
            .cranelift_nan_canonicalization(true)
            .cranelift_opt_level(OptLevel::Speed)
            .max_wasm_stack(WASM_STACK)
            .async_stack_size(THREAD_STACK)
            .memory_init_cow(false)
            .memory_reservation(MAX_HEAP32 as u64)
            .memory_guard_size(GUARD as u64)
            .wasm_backtrace_details(WasmBacktraceDetails::Disable)
            .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES))
            .wasm_exceptions(false)
            .wasm_extended_const(false)
            .wasm_function_references(false)
            .wasm_gc(false)
            .wasm_memory64(true)
            .wasm_multi_memory(false)
            .wasm_relaxed_simd(false)
            .wasm_tail_call(true)
            .with_host_memory(Arc::new(Heaps));
        let engine = wasmtime::Engine::new(&config)?;
        let mut linker32 = Linker::new(&engine);
        system_api::define::<u32>(&mut linker32)?;
        let mut linker64 = Linker::new(&engine);
        system_api::define::<u64>(&mut linker64)?;
        Ok(Engine {
            engine,
            linker32,
            linker64,
        })
    }

    /// Compiles a metered module, or takes what was compiled before from the store's file `name`,
    /// which stands for the module.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub fn compile(
        &self,
        wasm: &[u8],
        memory64: bool,
        store: &FileStore,
        name: &str,
    ) -> wasmtime::Result<InstancePre> {
        let module = match self.compiled(store, name) {
            Some(module) => module,
            None => {
                let module = wasmtime::Module::new(&self.engine, wasm)?;
                if store.dir().is_some() {
                    // Without it the next process compiles again.
                    let _ = store.keep(name, &module.serialize()?);
                }
                module
            }
        };
        let linker = if memory64 {
            &self.linker64
        } else {
            &self.linker32
        };
        Ok(InstancePre {
            engine: self.engine.clone(),
            pre: linker.instantiate_pre(&module)?,
        })
    }

    /// What another process compiled; none when it was another engine.
    fn compiled(&self, store: &FileStore, name: &str) -> Option<wasmtime::Module> {
        let path = store.dir()?.join(name);
        if !path.exists() {
            return None;
        }
        // SAFETY: the file was written by `compile` into the replica's own directory, whole, and
        // is not changed afterwards; another version or setting of the engine is an error.
        unsafe { wasmtime::Module::deserialize_file(&self.engine, path) }.ok()
    }
}

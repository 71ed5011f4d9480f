//! Snapshots of canisters.

use super::history::SnapshotSource;
use super::status::LowMemoryHook;
use crate::memory::heap::Heap;
use crate::memory::stable::Stable;
use crate::runtime::instance::GlobalValue;
use crate::runtime::module::CompiledModule;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A canister's code and data at some time.
pub struct Snapshot {
    /// When it was taken, in nanoseconds since 1970.
    pub taken_ns: u64,
    /// Version of the canister then.
    pub version: u64,
    /// Where it comes from.
    pub source: SnapshotSource,
    /// The code.
    pub module: SnapshotModule,
    /// The heap.
    pub heap: Arc<Heap>,
    /// Values of the mutable globals.
    pub globals: Vec<Option<GlobalValue>>,
    /// Stable memory.
    pub stable: Stable,
    /// Certified data.
    pub certified_data: Vec<u8>,
    /// The chunk store.
    pub chunks: BTreeMap<[u8; 32], Arc<Vec<u8>>>,
    /// When the timer was to go off, if it was set; none when an upload does not say.
    pub timer: Option<Option<u64>>,
    /// State of the low-memory hook; `None` when an upload does not say.
    pub low_memory: Option<LowMemoryHook>,
}

/// The code in a snapshot.
#[derive(Clone)]
pub enum SnapshotModule {
    /// A canister's.
    Compiled(Arc<CompiledModule>),
    /// Uploaded, as installed: what it is worth is seen when it is loaded.
    Uploaded(Arc<Vec<u8>>),
}

impl SnapshotModule {
    /// The module as it is installed.
    pub fn bytes(&self) -> &[u8] {
        match self {
            SnapshotModule::Compiled(module) => &module.installed,
            SnapshotModule::Uploaded(bytes) => bytes,
        }
    }
}

impl Snapshot {
    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        let chunks: usize = self.chunks.values().map(|chunk| chunk.len()).sum();
        let module = match &self.module {
            SnapshotModule::Compiled(module) => module.wasm.len(),
            SnapshotModule::Uploaded(bytes) => bytes.len(),
        };
        let code = module + self.heap.stored_size();
        (code + chunks + self.certified_data.len()) as u64 + self.stable.bytes()
    }
}

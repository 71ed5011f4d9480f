//! Modules ready to run.

use super::engine::{Engine, InstancePre};
use crate::modules::instrument::instrument;
use crate::modules::validate::{InvalidModule, Visibility, WASM_PAGE, validate};
use crate::storage::FileStore;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

/// How a method may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// As an update.
    Update,
    /// As a query, or as an update.
    Query,
    /// As a query of users or of other composite queries.
    CompositeQuery,
}

/// An entry point that is not a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// Runs at install.
    Init,
    /// Runs before an upgrade, in the old code.
    PreUpgrade,
    /// Runs after an upgrade, in the new code.
    PostUpgrade,
    /// Says whether a user's message is taken.
    InspectMessage,
    /// Runs in every round.
    Heartbeat,
    /// Runs when the global timer goes off.
    GlobalTimer,
    /// Runs when little heap is left.
    OnLowWasmMemory,
}

impl Export {
    /// Name in the module.
    pub fn name(self) -> &'static str {
        match self {
            Export::Init => "canister_init",
            Export::PreUpgrade => "canister_pre_upgrade",
            Export::PostUpgrade => "canister_post_upgrade",
            Export::InspectMessage => "canister_inspect_message",
            Export::Heartbeat => "canister_heartbeat",
            Export::GlobalTimer => "canister_global_timer",
            Export::OnLowWasmMemory => "canister_on_low_wasm_memory",
        }
    }
}

/// A valid, metered and compiled module.
pub struct CompiledModule {
    /// SHA-256 of the module as it was installed.
    pub hash: [u8; 32],
    /// The module as it was installed, which may be gzipped.
    pub installed: Vec<u8>,
    /// The module, unpacked.
    pub wasm: Vec<u8>,
    /// Name of the file that keeps the compiled module.
    pub native: String,
    /// What instances are made from.
    pub pre: InstancePre,
    /// Methods by name.
    pub methods: BTreeMap<String, MethodKind>,
    system: BTreeSet<&'static str>,
    /// `icp:` custom sections.
    pub metadata: BTreeMap<String, (Visibility, Vec<u8>)>,
    /// The module asks to keep the heap over upgrades.
    pub keeps_memory: bool,
    /// The heap has 64-bit addresses.
    pub memory64: bool,
    /// Initial heap, in bytes.
    pub initial_heap: usize,
    /// Initial contents of the heap.
    pub data: Vec<(u64, Vec<u8>)>,
    /// Indices of the mutable globals.
    pub mutable_globals: Vec<u32>,
    /// Names of the functions that are profiled, the last mutable globals.
    pub profiled: Vec<String>,
    /// There is a start function.
    pub has_start: bool,
    /// There is a heap.
    pub has_memory: bool,
    /// An instance is good for one message only.
    pub single_use: bool,
    /// Instructions of the metered module.
    pub instructions: u64,
}

/// Whether modules compiled from now on count their instructions by function.
static PROFILE: AtomicBool = AtomicBool::new(false);

/// Has every module that this process compiles from now on count its instructions by function
/// ([`crate::Replica::profile`]). The figures of the meter stay what they are.
pub fn enable_profile() {
    PROFILE.store(true, Ordering::Relaxed);
}

impl CompiledModule {
    fn new(
        engine: &Engine,
        wasm: &[u8],
        installed: &[u8],
        hash: [u8; 32],
        store: &FileStore,
    ) -> Result<CompiledModule, InvalidModule> {
        let parsed = validate(wasm)?;
        let instrumented = instrument(&parsed, PROFILE.load(Ordering::Relaxed))?;
        let native = format!("native-{}", hex::encode(Sha256::digest(&instrumented.wasm)));
        let pre = engine
            .compile(&instrumented.wasm, parsed.memory64(), store, &native)
            .map_err(|error| InvalidModule::Compilation(format!("{error:#}")))?;
        let mut methods = BTreeMap::new();
        let mut system = BTreeSet::new();
        let known = [
            Export::Init,
            Export::PreUpgrade,
            Export::PostUpgrade,
            Export::InspectMessage,
            Export::Heartbeat,
            Export::GlobalTimer,
            Export::OnLowWasmMemory,
        ];
        for export in &parsed.exports {
            if export.kind != wasmparser::ExternalKind::Func {
                continue;
            }
            let kind = match export.name.split_once(' ') {
                Some(("canister_update", name)) => Some((name, MethodKind::Update)),
                Some(("canister_query", name)) => Some((name, MethodKind::Query)),
                Some(("canister_composite_query", name)) => {
                    Some((name, MethodKind::CompositeQuery))
                }
                _ => None,
            };
            if let Some((name, kind)) = kind {
                methods.insert(name.to_string(), kind);
            } else if let Some(export) = known.iter().find(|e| e.name() == export.name) {
                system.insert(export.name());
            }
        }
        let initial_heap = parsed.memories.first().map_or(0, |m| m.initial) * WASM_PAGE;
        Ok(CompiledModule {
            hash,
            installed: installed.to_vec(),
            wasm: wasm.to_vec(),
            native,
            pre,
            methods,
            system,
            keeps_memory: parsed.keeps_memory,
            memory64: parsed.memory64(),
            initial_heap: initial_heap as usize,
            metadata: parsed.metadata,
            data: instrumented.data,
            mutable_globals: instrumented.mutable_globals,
            profiled: instrumented.profiled,
            has_start: instrumented.has_start,
            has_memory: instrumented.has_memory,
            single_use: instrumented.drops_segments,
            instructions: instrumented.instructions,
        })
    }

    /// The compiled form of a module, which may be gzipped. The process keeps it for other
    /// canisters, the store for other processes.
    ///
    /// # Errors
    /// Why the module is refused.
    pub fn compile(
        engine: &Engine,
        bytes: &[u8],
        store: &FileStore,
    ) -> Result<Arc<CompiledModule>, InvalidModule> {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        let known = cache().modules.get(&hash).and_then(Weak::upgrade);
        if let Some(module) = known {
            return Ok(module);
        }
        let unpacked = unpack(bytes)?;
        let module = Arc::new(CompiledModule::new(engine, &unpacked, bytes, hash, store)?);
        let mut cache = cache();
        cache.modules.retain(|_, module| module.strong_count() > 0);
        cache.modules.insert(hash, Arc::downgrade(&module));
        cache.recent.push_back(module.clone());
        if cache.recent.len() > RECENT {
            cache.recent.pop_front();
        }
        Ok(module)
    }

    /// True when the module has that entry point.
    pub fn exports(&self, export: Export) -> bool {
        self.system.contains(export.name())
    }

    /// Name of a method's export.
    pub fn method_export(kind: MethodKind, name: &str) -> String {
        match kind {
            MethodKind::Update => format!("canister_update {name}"),
            MethodKind::Query => format!("canister_query {name}"),
            MethodKind::CompositeQuery => format!("canister_composite_query {name}"),
        }
    }
}

/// Compiled modules by hash, shared by all replicas of the process while one of them uses it.
#[derive(Default)]
struct ModuleCache {
    modules: HashMap<[u8; 32], Weak<CompiledModule>>,
    /// Modules kept although no canister has them, oldest first.
    recent: VecDeque<Arc<CompiledModule>>,
}

/// Modules kept although no canister has them.
const RECENT: usize = 16;

static CACHE: LazyLock<Mutex<ModuleCache>> = LazyLock::new(Mutex::default);

fn cache() -> MutexGuard<'static, ModuleCache> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most bytes that a gzipped module may unpack to.
const MAX_UNPACKED: u64 = 100 << 20;

fn unpack(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, InvalidModule> {
    use std::io::Read;
    if !bytes.starts_with(&[0x1f, 0x8b, 0x08]) {
        if !bytes.starts_with(b"\0asm") {
            let found: Vec<u8> = bytes.iter().take(4).copied().collect();
            return Err(InvalidModule::Validation(format!(
                "wasm32 magic number not found: unsupported encoding, found {found:?}"
            )));
        }
        return Ok(bytes.into());
    }
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .take(MAX_UNPACKED + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| InvalidModule::Validation(format!("Failed to decode gzip: {error}")))?;
    if unpacked.len() as u64 > MAX_UNPACKED {
        return Err(InvalidModule::Validation(
            "Decompressed module is larger than 100 MiB".into(),
        ));
    }
    Ok(unpacked.into())
}

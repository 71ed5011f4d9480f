//! Saving and loading a subnet.

mod records;

use crate::ingress::Tracked;
use crate::memory::heap::Heap;
use crate::memory::stable::Stable;
use crate::replicated_state::figures::QueryCounters;
use crate::replicated_state::snapshot::{Snapshot, SnapshotModule};
use crate::replicated_state::{Canister, Code};
use crate::runtime::engine::Engine;
use crate::runtime::instance::heap_capacity;
use crate::runtime::module::CompiledModule;
use crate::storage::FileStore;
use crate::{Ingress, Replica, ReplicaError};
use records::{
    CanisterRecord, CodeRecord, IngressRecord, ModuleRecord, ReplicaRecord, SnapshotRecord,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;

/// Layout of the `state` file: its first word after the epoch.
const FORMAT: u64 = 3;

fn corrupt(what: impl std::fmt::Display) -> ReplicaError {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string()).into()
}

fn module_file(hash: &[u8; 32]) -> String {
    format!("module-{}", hex::encode(hash))
}

fn chunk_file(hash: &[u8; 32]) -> String {
    format!("chunk-{}", hex::encode(hash))
}

fn keep_module(module: &CompiledModule, store: &FileStore) -> io::Result<[u8; 32]> {
    store.keep(&module_file(&module.hash), &module.installed)?;
    Ok(module.hash)
}

fn code_record(code: &Code, store: &FileStore) -> io::Result<CodeRecord> {
    Ok(CodeRecord {
        module: keep_module(&code.module, store)?,
        heap_file: code.heap.file().id(),
        heap_size: code.heap.stored_size() as u64,
        globals: code.globals.clone(),
    })
}

fn keep_chunks(
    chunks: &BTreeMap<[u8; 32], Arc<Vec<u8>>>,
    store: &FileStore,
) -> io::Result<Vec<[u8; 32]>> {
    for (hash, chunk) in chunks {
        store.keep(&chunk_file(hash), chunk)?;
    }
    Ok(chunks.keys().copied().collect())
}

fn canister_record<'a>(
    canister: &'a Canister,
    store: &FileStore,
) -> io::Result<CanisterRecord<'a>> {
    let code = match &canister.code {
        Some(code) => Some(code_record(code, store)?),
        None => None,
    };
    let mut snapshots = Vec::new();
    for (id, snapshot) in &canister.snapshots {
        snapshots.push(SnapshotRecord {
            id: id.clone(),
            taken_ns: snapshot.taken_ns,
            version: snapshot.version,
            source: snapshot.source,
            module: match &snapshot.module {
                SnapshotModule::Compiled(module) => ModuleRecord::Kept(keep_module(module, store)?),
                SnapshotModule::Uploaded(bytes) => ModuleRecord::Uploaded(bytes.to_vec()),
            },
            heap_file: snapshot.heap.file().id(),
            heap_size: snapshot.heap.stored_size() as u64,
            globals: snapshot.globals.clone(),
            stable_file: snapshot.stable.file().id(),
            stable_pages: snapshot.stable.stored_pages(),
            certified_data: snapshot.certified_data.clone(),
            chunks: keep_chunks(&snapshot.chunks, store)?,
            timer: snapshot.timer,
            low_memory: snapshot.low_memory,
        });
    }
    let restart = canister.paused.as_ref().map(|paused| &paused.restart);
    Ok(CanisterRecord {
        id: canister.id,
        settings: Cow::Borrowed(&canister.settings),
        cycles: canister.cycles,
        reserved: canister.reserved,
        consumed: canister.consumed,
        status: Cow::Borrowed(&canister.status),
        contexts: Cow::Borrowed(&canister.contexts),
        callbacks: Cow::Borrowed(&canister.callbacks),
        next_id: canister.next_id,
        queues: Cow::Borrowed(&canister.queues),
        timer: canister.timer,
        low_memory: canister.low_memory,
        first: canister.first,
        version: canister.version,
        certified_data: Cow::Borrowed(&canister.certified_data),
        code,
        stable_file: canister.stable.file().id(),
        stable_pages: canister.stable.stored_pages(),
        log: Cow::Borrowed(&canister.log),
        chunks: keep_chunks(&canister.chunks, store)?,
        heap_delta_debit: canister.heap_delta_debit,
        install_debit: canister.install_debit,
        priority: canister.priority,
        priority_credit: canister.priority_credit,
        installing_rounds: canister.installing_rounds,
        totals: canister.totals,
        last_charge_ns: canister.last_charge_ns,
        created_ns: canister.created_ns,
        restart: restart.map(Cow::Borrowed),
        snapshots,
        next_snapshot: canister.next_snapshot,
        history: Cow::Borrowed(&canister.history),
        query_counters: canister.counters.values(),
    })
}

fn load_chunks(
    hashes: &[[u8; 32]],
    store: &FileStore,
    files: &mut HashSet<String>,
) -> Result<BTreeMap<[u8; 32], Arc<Vec<u8>>>, ReplicaError> {
    let mut chunks = BTreeMap::new();
    if let Some(dir) = store.dir() {
        for hash in hashes {
            let name = chunk_file(hash);
            chunks.insert(*hash, Arc::new(std::fs::read(dir.join(&name))?));
            files.insert(name);
        }
    }
    Ok(chunks)
}

fn load_module(
    hash: &[u8; 32],
    store: &Arc<FileStore>,
    files: &mut HashSet<String>,
) -> Result<Arc<CompiledModule>, ReplicaError> {
    let engine = Engine::get().map_err(ReplicaError::Engine)?;
    let name = module_file(hash);
    let dir = store.dir().ok_or_else(|| corrupt("no directory"))?;
    let installed = std::fs::read(dir.join(&name))?;
    let module = CompiledModule::compile(engine, &installed, store).map_err(corrupt)?;
    if module.hash != *hash {
        return Err(corrupt(format!("{name} has another content")));
    }
    files.insert(name);
    files.insert(module.native.clone());
    Ok(module)
}

fn load_code(
    record: CodeRecord,
    store: &Arc<FileStore>,
    files: &mut HashSet<String>,
) -> Result<Code, ReplicaError> {
    let module = load_module(&record.module, store, files)?;
    files.insert(format!("memory-{}", record.heap_file));
    let heap = Heap::with_file(
        store.reopen(record.heap_file)?,
        record.heap_size as usize,
        heap_capacity(&module),
    )?;
    Ok(Code {
        module,
        heap,
        globals: record.globals,
        instance: None,
        pool: Arc::default(),
    })
}

fn load_canister(
    record: CanisterRecord<'_>,
    store: &Arc<FileStore>,
    files: &mut HashSet<String>,
) -> Result<Canister, ReplicaError> {
    let code = match record.code {
        Some(code) => Some(load_code(code, store, files)?),
        None => None,
    };
    let mut snapshots = BTreeMap::new();
    for snapshot in record.snapshots {
        files.insert(format!("memory-{}", snapshot.stable_file));
        files.insert(format!("memory-{}", snapshot.heap_file));
        let heap_size = snapshot.heap_size as usize;
        let (module, capacity) = match snapshot.module {
            ModuleRecord::Kept(hash) => {
                let module = load_module(&hash, store, files)?;
                let capacity = heap_capacity(&module);
                (SnapshotModule::Compiled(module), capacity)
            }
            ModuleRecord::Uploaded(bytes) => (SnapshotModule::Uploaded(Arc::new(bytes)), heap_size),
        };
        let loaded = Snapshot {
            taken_ns: snapshot.taken_ns,
            version: snapshot.version,
            source: snapshot.source,
            module,
            heap: Heap::with_file(store.reopen(snapshot.heap_file)?, heap_size, capacity)?,
            globals: snapshot.globals,
            timer: snapshot.timer,
            low_memory: snapshot.low_memory,
            stable: Stable::with_file(store.reopen(snapshot.stable_file)?, snapshot.stable_pages)?,
            certified_data: snapshot.certified_data,
            chunks: load_chunks(&snapshot.chunks, store, files)?,
        };
        snapshots.insert(snapshot.id, loaded);
    }
    files.insert(format!("memory-{}", record.stable_file));
    let stable = Stable::with_file(store.reopen(record.stable_file)?, record.stable_pages)?;
    let mut canister = Canister {
        id: record.id,
        settings: record.settings.into_owned(),
        cycles: record.cycles,
        reserved: record.reserved,
        consumed: record.consumed,
        status: record.status.into_owned(),
        contexts: record.contexts.into_owned(),
        callbacks: record.callbacks.into_owned(),
        next_id: record.next_id,
        queues: record.queues.into_owned(),
        timer: record.timer,
        low_memory: record.low_memory,
        first: record.first,
        version: record.version,
        certified_data: record.certified_data.into_owned(),
        code,
        stable,
        log: record.log.into_owned(),
        chunks: load_chunks(&record.chunks, store, files)?,
        heap_delta_debit: record.heap_delta_debit,
        install_debit: record.install_debit,
        priority: record.priority,
        priority_credit: record.priority_credit,
        long_prioritised: false,
        paused: None,
        installing_rounds: record.installing_rounds,
        tasks: Default::default(),
        totals: record.totals,
        last_charge_ns: record.last_charge_ns,
        created_ns: record.created_ns,
        snapshots,
        next_snapshot: record.next_snapshot,
        history: record.history.into_owned(),
        counters: Arc::new(QueryCounters::new(record.query_counters)),
    };
    if let Some(restart) = record.restart {
        let restart = restart.into_owned();
        canister.cycles = canister.cycles.saturating_add_signed(restart.cycles);
        canister.consumed.instructions -= restart.consumed.instructions;
        canister.consumed.transmission -= restart.consumed.transmission;
        canister.timer = restart.timer;
        canister.low_memory = restart.low_memory;
        canister.callbacks.extend(restart.callback);
        if let Some(input) = restart.input {
            canister.queues.push_front(input);
        }
    }
    Ok(canister)
}

impl Replica {
    /// Saves what changed since the last time.
    ///
    /// # Panics
    /// When the state directory cannot be written: going on would lose committed data.
    pub(crate) fn save(&mut self) {
        if self.store.dir().is_none() || !self.unsaved {
            return;
        }
        self.try_save().expect("the state directory can be written");
        self.unsaved = false;
    }

    fn try_save(&self) -> io::Result<()> {
        let store = &self.store;
        let epoch = store.epoch() + 1;
        let mut canisters = Vec::new();
        for canister in self.canisters.values() {
            canisters.push(canister_record(canister, store)?);
        }
        let record = ReplicaRecord {
            next_file: store.next_file(),
            next_canister: self.next_canister,
            time_ns: self.time_ns,
            last_round_ns: self.last_round_ns,
            last_charge_ns: self.last_charge_ns,
            rounds: self.rounds,
            pending: Cow::Borrowed(&self.pending),
            ingress: self
                .ingress
                .iter()
                .map(|(id, tracked)| IngressRecord {
                    id: *id,
                    status: Cow::Borrowed(&tracked.status),
                    since_ns: tracked.since_ns,
                    owner: tracked.owner,
                })
                .collect(),
            subnet_queue: Cow::Borrowed(&self.subnet_queue),
            random_requests: Cow::Borrowed(&self.random_requests),
            delayed: Cow::Borrowed(&self.delayed),
            compiled: Cow::Borrowed(&self.compiled),
            install_instructions: self.install_instructions,
            canisters,
        };
        let mut bytes = Vec::new();
        bytes.extend(epoch.to_le_bytes());
        bytes.extend(FORMAT.to_le_bytes());
        let bytes = postcard::to_extend(&record, bytes).map_err(io::Error::other)?;
        store.save(epoch, &bytes)
    }

    /// Takes over what the state directory holds, if anything.
    pub(crate) fn load(&mut self) -> Result<(), ReplicaError> {
        let Some(dir) = self.store.dir().map(ToOwned::to_owned) else {
            return Ok(());
        };
        let bytes = match std::fs::read(dir.join("state")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Nothing was ever saved: what is there belongs to nothing.
                self.store.clean(|_| false)?;
                self.unsaved = true;
                self.save();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let (Some(epoch), Some(format)) = (word(&bytes, 0), word(&bytes, 8)) else {
            return Err(corrupt("the state file is cut off"));
        };
        if format != FORMAT {
            return Err(corrupt(format!(
                "the state file has the unknown layout {format}"
            )));
        }
        let record: ReplicaRecord<'_> = postcard::from_bytes(&bytes[16..]).map_err(corrupt)?;
        self.store.resume(epoch, record.next_file);
        self.store.roll_back(epoch)?;
        let mut files = HashSet::new();
        for canister in record.canisters {
            let canister = load_canister(canister, &self.store, &mut files)?;
            self.canisters.insert(canister.id, canister);
        }
        self.store.clean(|name| files.contains(name))?;
        self.next_canister = record.next_canister;
        self.time_ns = self.time_ns.max(record.time_ns);
        self.last_round_ns = record.last_round_ns;
        self.last_charge_ns = record.last_charge_ns;
        self.rounds = record.rounds;
        self.pending = record.pending.into_owned();
        self.ingress = record
            .ingress
            .into_iter()
            .map(|ingress| {
                let status = ingress.status.into_owned();
                let (since_ns, owner) = (ingress.since_ns, ingress.owner);
                let tracked = Tracked {
                    status,
                    since_ns,
                    owner,
                };
                (ingress.id, tracked)
            })
            .collect();
        self.subnet_queue = record.subnet_queue.into_owned();
        self.random_requests = record.random_requests.into_owned();
        self.delayed = record.delayed.into_owned();
        self.compiled = record.compiled.into_owned();
        self.install_instructions = record.install_instructions;
        for message in self.store.accepted()? {
            // One that is not whole was not accepted yet.
            if let Ok(message) = postcard::from_bytes::<Ingress>(&message)
                && !self.ingress.contains_key(&message.request_id)
            {
                self.accept(message);
            }
        }
        Ok(())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}

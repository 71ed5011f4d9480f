//! The models there are: what each is doing, which are in the heap, and removing them.

use crate::aliases::{self, hex};
use crate::api::{
    AliasEntry, Error, LogLevel, ManifestSummary, ModelDelete, ModelEntry, ModelStatus, Models,
    Phase,
};
use crate::app::App;
use crate::durable::ModelRecord;
use crate::{generations, logs, memory, migration, rounds, system};
use serde_bytes::ByteBuf;

/// An error for everybody but controllers.
pub fn only_controllers() -> Result<(), Error> {
    if system::caller_is_controller() {
        return Ok(());
    }
    Err(Error::Unauthorized(
        "only a controller of this canister may change its models".into(),
    ))
}

/// Whether a model is to be in the heap: an alias means it or is to mean it, or a generation runs on
/// it.
pub fn wanted(app: &App, shelf: u8) -> bool {
    let Some(model) = app.library.get(shelf) else {
        return false;
    };
    let means = |sha: &[u8; 32]| *sha == model.sha256;
    app.queue.runs_on(shelf)
        || (app.control.aliases.iter())
            .any(|a| means(&a.model) || a.next.as_ref().is_some_and(means))
}

/// The phase of a model as callers see it.
pub fn phase(app: &App, shelf: u8) -> Phase {
    let Some(model) = app.library.get(shelf) else {
        return Phase::Empty;
    };
    match model.phase {
        _ if app.heap.blocked.contains(&shelf) => Phase::Failed,
        Phase::Ready if app.heap.loaded.contains_key(&shelf) => Phase::Ready,
        Phase::Ready if wanted(app, shelf) => Phase::Restoring,
        Phase::Ready => Phase::Stored,
        phase => phase,
    }
}

/// Whether a model is on its way to ready.
pub fn has_work(app: &App, shelf: u8) -> bool {
    matches!(
        phase(app, shelf),
        Phase::Verifying | Phase::Preparing | Phase::Restoring
    )
}

/// The next shelf with work to do: first that of the default alias, then those that generations
/// wait for.
pub fn next_work(app: &App) -> Option<u8> {
    let first = aliases::default_shelf(app);
    let rank = |shelf: &u8| (first != Some(*shelf), !app.queue.runs_on(*shelf), *shelf);
    let shelves = app.library.shelves().into_iter();
    shelves.filter(|s| has_work(app, *s)).min_by_key(rank)
}

/// Models that nobody needs leave the heap.
pub fn tidy(app: &mut App) {
    for shelf in app.library.shelves() {
        let ready = app.library.get(shelf).map(|m| m.phase) == Some(Phase::Ready);
        if !ready || wanted(app, shelf) {
            continue;
        }
        let gone = app.heap.loaded.remove(&shelf).is_some();
        if gone | app.heap.loading.remove(&shelf).is_some() {
            // There is room now for what did not fit.
            app.heap.blocked.clear();
        }
    }
}

/// How far a model is.
pub fn status(app: &App, shelf: Option<u8>) -> ModelStatus {
    let none = ModelRecord::default();
    let m = shelf
        .and_then(|shelf| app.library.get(shelf))
        .unwrap_or(&none);
    let phase = shelf.map_or(Phase::Empty, |shelf| phase(app, shelf));
    let (done, total) = match phase {
        Phase::Uploading => (
            u64::from(m.chunks_received) * u64::from(m.chunk_size),
            m.size,
        ),
        Phase::Verifying => (m.hash.1, m.size),
        Phase::Preparing => (m.prepared, m.info.packed_bytes),
        Phase::Restoring => (
            shelf
                .and_then(|shelf| app.heap.loading.get(&shelf))
                .map_or(0, |l| l.filled()),
            m.info.packed_bytes,
        ),
        _ => (m.size, m.size),
    };
    ModelStatus {
        phase,
        done: done.min(total),
        total,
        error: m.error.clone(),
        manifest: (phase != Phase::Empty).then(|| ManifestSummary {
            name: m.name.clone(),
            size: m.size,
            chunk_size: m.chunk_size,
            sha256: ByteBuf::from(m.sha256),
        }),
        info: (m.info.layers > 0).then(|| m.info.clone()),
    }
}

/// All models and aliases.
pub fn list(app: &App) -> Models {
    let blob = |sha: &[u8; 32]| ByteBuf::from(*sha);
    let aliases = &app.control.aliases;
    Models {
        models: app
            .library
            .iter()
            .map(|(shelf, m)| ModelEntry {
                sha256: blob(&m.sha256),
                status: status(app, Some(shelf)),
                aliases: aliases
                    .iter()
                    .filter(|a| a.model == m.sha256)
                    .map(|a| a.name.clone())
                    .collect(),
                generations: app.queue.on(shelf),
                stable_bytes: memory::shelf_bytes(shelf),
                heap_bytes: match app.heap.loaded.get(&shelf) {
                    Some(loaded) => loaded.model.layout.bytes,
                    None => 0,
                },
                cache_pages: app.pages.used_on(shelf),
            })
            .collect(),
        aliases: aliases
            .iter()
            .map(|a| AliasEntry {
                alias: a.name.clone(),
                model_sha256: blob(&a.model),
                next_sha256: a.next.as_ref().map(blob),
                previous_sha256: a.previous.iter().map(blob).collect(),
            })
            .collect(),
        shelves_free: app.library.free() as u32,
    }
}

/// Deletes a model. One that an alias means or that generations run on only if it is forced: these
/// generations then end, and the aliases are gone.
pub fn delete(app: &mut App, args: &ModelDelete) -> Result<(), Error> {
    only_controllers()?;
    migration::check(app)?;
    let shelf = aliases::resolve(app, &args.model)?;
    let Some(model) = app.library.get(shelf) else {
        return Ok(());
    };
    let named: Vec<&str> = (app.control.aliases.iter())
        .filter(|a| a.model == model.sha256 || a.next == Some(model.sha256))
        .map(|a| a.name.as_str())
        .collect();
    let running = app.queue.on(shelf);
    if !args.force && (running > 0 || !named.is_empty()) {
        return Err(Error::Busy(format!(
            "aliases [{}] mean it and {running} generations run on it: let the aliases mean another \
             model and try again, or force it",
            named.join(", ")
        )));
    }
    let text = format!("{} ({}) is deleted", model.name, hex(&model.sha256));
    logs::add(app, LogLevel::Info, Some(system::caller()), text);
    drop_model(app, shelf);
    rounds::schedule(app);
    Ok(())
}

/// Takes a model off its shelf with everything of it; generations that need it end.
pub fn drop_model(app: &mut App, shelf: u8) {
    let gone = Error::WrongPhase {
        phase: Phase::Empty.name(),
        hint: "the model was dropped while this generation ran".into(),
    };
    for id in app.queue.ids_on(shelf) {
        generations::end(app, id, gone.clone());
    }
    app.pages.close_shelf(shelf);
    if app.pages.used() == 0 {
        app.chats.forget_resting();
    }
    app.heap.loading.remove(&shelf);
    app.heap.loaded.remove(&shelf);
    app.heap.blocked.clear();
    if let Some(sha256) = app.library.get(shelf).map(|m| m.sha256) {
        app.library.remove(shelf);
        aliases::forget(app, &sha256);
    }
}

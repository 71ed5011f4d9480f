//! `models` and `model_delete`.

use super::require_controller;
use crate::generations::finish;
use crate::runtime;
use crate::stable::ids::Sha256;
use crate::stable::records::LogLevel;
use crate::stable::regions;
use crate::state::{State, aliases, check_migrated};
use interface::{AliasEntry, Error, ModelDeleteArgs, ModelEntry, Models};
use serde_bytes::ByteBuf;

/// Returns all models and aliases.
pub(crate) fn list(state: &State) -> Models {
    let blob = |sha: &Sha256| ByteBuf::from(sha.0);
    let aliases = &state.control.aliases;
    let view = state.model_view();
    Models {
        models: state
            .models
            .iter()
            .map(|(slot, m)| ModelEntry {
                sha256: blob(&m.sha256),
                status: view.status(Some(slot)),
                aliases: aliases
                    .iter()
                    .filter(|a| a.model == m.sha256)
                    .map(|a| a.name.clone())
                    .collect(),
                generations: state.queue.count_of(slot),
                stable_bytes: regions::slot_bytes(slot),
                heap_bytes: match state.residency.loaded.get(&slot) {
                    Some(loaded) => loaded.model.layout.bytes,
                    None => 0,
                },
                kv_blocks: state.pools.used_on(slot),
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
        free_slots: state.models.free() as u32,
    }
}

/// Deletes a model. One that aliases mean or generations run on is deleted only if it is forced: its
/// generations then fail, and its aliases are gone.
///
/// # Errors
/// [`Error::Unauthorized`]; [`Error::Busy`] if it is in use; those of [`aliases::resolve`].
pub(crate) fn delete(state: &mut State, args: &ModelDeleteArgs) -> Result<(), Error> {
    require_controller()?;
    check_migrated(&state.control)?;
    let slot = state.model_view().resolve(&args.model)?;
    let Some(model) = state.models.get(slot) else {
        return Ok(());
    };
    let named: Vec<&str> = (state.control.aliases.iter())
        .filter(|a| aliases::refers_to(a, &model.sha256))
        .map(|a| a.name.as_str())
        .collect();
    let running = state.queue.count_of(slot);
    if !args.force && (running > 0 || !named.is_empty()) {
        return Err(Error::Busy(format!(
            "the model is in use: aliases [{}], {running} generations; point the aliases at another \
             model and try again, or use force",
            named.join(", ")
        )));
    }
    let text = format!("{} ({}) was deleted", model.name, model.sha256);
    state.log.add(LogLevel::Info, Some(runtime::caller()), text);
    finish::remove_model(state, slot);
    Ok(())
}

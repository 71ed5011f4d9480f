//! `alias_set`, `alias_rollback` and `alias_remove`.

use super::require_controller;
use crate::runtime;
use crate::stable::ids::ModelSlot;
use crate::stable::records::LogLevel;
use crate::state::{State, aliases};
use interface::{AliasSetArgs, Error};

/// Points an alias at a model: at once if the alias is new, else as soon as the model is ready.
///
/// # Errors
/// [`Error::Unauthorized`]; those of [`aliases::resolve`] and [`aliases::retarget`].
pub(crate) fn set(state: &mut State, args: &AliasSetArgs) -> Result<(), Error> {
    require_controller()?;
    let slot = state.model_view().resolve(&args.model)?;
    retarget(state, &args.alias, slot)
}

/// Points an alias back at the model before.
///
/// # Errors
/// [`Error::Unauthorized`]; those of [`aliases::rollback_target`].
pub(crate) fn roll_back(state: &mut State, name: &str) -> Result<(), Error> {
    require_controller()?;
    let slot = aliases::rollback_target(&state.control.aliases, &state.models, name)?;
    retarget(state, name, slot)
}

/// Removes an alias. Its model stays stored, and generations on it go on.
///
/// # Errors
/// [`Error::Unauthorized`], [`Error::NotFound`].
pub(crate) fn remove(state: &mut State, name: &str) -> Result<(), Error> {
    require_controller()?;
    aliases::find(&state.control.aliases, name)?;
    state.control.aliases.retain(|a| a.name != name);
    log(state, format!("alias {name} was removed"));
    state.unload_unused();
    Ok(())
}

fn retarget(state: &mut State, name: &str, slot: ModelSlot) -> Result<(), Error> {
    aliases::retarget(&mut state.control.aliases, &state.models, name, slot)?;
    // What kept it out of the heap may be over.
    state.residency.blocked.remove(&slot);
    let file = state.models.get(slot).map_or("", |m| m.name.as_str());
    let text = format!("alias {name} was pointed at {file}");
    log(state, text);
    state.apply_ready_switches();
    Ok(())
}

fn log(state: &mut State, text: String) {
    state.log.add(LogLevel::Info, Some(runtime::caller()), text);
}

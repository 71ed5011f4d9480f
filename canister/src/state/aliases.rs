//! Names under which callers ask for models. An alias that gets another model keeps the one it has
//! until the other is ready, so that nobody waits for a switch.

use super::models::ModelStore;
use crate::stable::ids::{ModelSlot, Sha256};
use crate::stable::records::{Alias, ModelStage};
use interface::Error;
use interface::limits::DEFAULT_ALIAS;

/// Most previous models that an alias keeps for rollback.
const MAX_PREVIOUS: usize = 8;
const MAX_ALIASES: usize = 64;
const MAX_NAME_BYTES: usize = 64;
/// Fewest digits of a SHA-256 that name a model.
const MIN_DIGITS: usize = 8;

/// Returns the slot of the model that `name` means: an alias, the name of a file, or the first digits
/// of its SHA-256.
///
/// # Errors
/// [`Error::NotFound`] with the names there are; [`Error::InvalidArgument`] if several models fit.
pub(crate) fn resolve(
    aliases: &[Alias],
    models: &ModelStore,
    name: &str,
) -> Result<ModelSlot, Error> {
    if let Some(slot) = slot_of(aliases, models, name) {
        return Ok(slot);
    }
    let digits = name.len() >= MIN_DIGITS && name.bytes().all(|b| b.is_ascii_hexdigit());
    let start = name.to_ascii_lowercase();
    let mut found = models
        .iter()
        .filter(|(_, m)| m.name == name || (digits && m.sha256.to_string().starts_with(&start)));
    match (found.next(), found.next()) {
        (Some((slot, _)), None) => Ok(slot),
        (Some(_), Some(_)) => Err(Error::InvalidArgument(format!(
            "several models are called {name}: give more digits of its SHA-256"
        ))),
        (None, _) => {
            let aliases = aliases.iter().map(|a| a.name.as_str());
            let names = models.iter().map(|(_, m)| m.name.as_str());
            let known: Vec<&str> = aliases.chain(names).collect();
            Err(Error::NotFound(format!(
                "no model is called {name}; known names: {}",
                known.join(", ")
            )))
        }
    }
}

/// Returns the slot of the model of an alias.
pub(crate) fn slot_of(aliases: &[Alias], models: &ModelStore, name: &str) -> Option<ModelSlot> {
    let alias = aliases.iter().find(|a| a.name == name)?;
    models.find(&alias.model)
}

/// Returns `true` if an alias has this model, or will have it.
pub(crate) fn refers_to(alias: &Alias, sha256: &Sha256) -> bool {
    alias.model == *sha256 || alias.next.as_ref() == Some(sha256)
}

fn new(name: &str, model: Sha256) -> Alias {
    Alias {
        name: name.into(),
        model,
        next: None,
        previous: Vec::new(),
    }
}

/// Makes a model the default one if there is no default model.
pub(crate) fn set_default_if_none(aliases: &mut Vec<Alias>, models: &ModelStore, sha256: Sha256) {
    if slot_of(aliases, models, DEFAULT_ALIAS).is_some() {
        return;
    }
    aliases.retain(|a| a.name != DEFAULT_ALIAS);
    aliases.push(new(DEFAULT_ALIAS, sha256));
}

/// Finds an alias.
///
/// # Errors
/// [`Error::NotFound`].
pub(crate) fn find<'a>(aliases: &'a [Alias], name: &str) -> Result<&'a Alias, Error> {
    let alias = aliases.iter().find(|a| a.name == name);
    alias.ok_or_else(|| Error::NotFound(format!("there is no alias {name}")))
}

/// Points an alias at a model: at once if the alias is new, else as soon as the model is ready.
///
/// # Errors
/// [`Error::InvalidArgument`] for a bad name or too many aliases, [`Error::WrongPhase`] for a model
/// that is not stored whole.
pub(crate) fn retarget(
    aliases: &mut Vec<Alias>,
    models: &ModelStore,
    name: &str,
    slot: ModelSlot,
) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Error::InvalidArgument(format!(
            "alias has {} bytes; expected 1 to {MAX_NAME_BYTES}",
            name.len()
        )));
    }
    let Some(model) = models.get(slot) else {
        return Err(Error::NotFound("the model is gone".into()));
    };
    let unusable = |phase: interface::Phase, hint: &str| {
        Err(Error::WrongPhase {
            phase: phase.name(),
            hint: hint.into(),
        })
    };
    match model.stage {
        ModelStage::Uploading => {
            return unusable(
                interface::Phase::Uploading,
                "its upload is not finished: send the missing chunks, then call upload_commit",
            );
        }
        ModelStage::Failed => {
            return unusable(
                interface::Phase::Failed,
                "this model failed: see models, then upload it again",
            );
        }
        _ => {}
    }
    let sha256 = model.sha256;
    if let Some(alias) = aliases.iter_mut().find(|a| a.name == name) {
        alias.next = (alias.model != sha256).then_some(sha256);
    } else if aliases.len() >= MAX_ALIASES {
        return Err(Error::InvalidArgument(format!(
            "there are {MAX_ALIASES} aliases, the maximum: remove one first"
        )));
    } else {
        aliases.push(new(name, sha256));
    }
    Ok(())
}

/// Returns the slot of the model that a rollback brings back: the present one where a switch is under
/// way, else the last previous one that is still stored.
///
/// # Errors
/// [`Error::NotFound`].
pub(crate) fn rollback_target(
    aliases: &[Alias],
    models: &ModelStore,
    name: &str,
) -> Result<ModelSlot, Error> {
    let alias = find(aliases, name)?;
    let present = alias.next.and_then(|_| models.find(&alias.model));
    let previous = || alias.previous.iter().rev().find_map(|sha| models.find(sha));
    present
        .or_else(previous)
        .ok_or_else(|| Error::NotFound(format!("no previous model of {name} is still stored")))
}

/// Switches aliases whose next model is ready. Returns a line for the log for each.
pub(crate) fn apply_ready_switches(
    aliases: &mut [Alias],
    models: &ModelStore,
    is_loaded: impl Fn(ModelSlot) -> bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    for alias in aliases {
        let Some(next) = alias.next else { continue };
        let Some(slot) = models.find(&next).filter(|slot| is_loaded(*slot)) else {
            continue;
        };
        alias.previous.retain(|sha| *sha != next);
        alias.previous.push(alias.model);
        if alias.previous.len() > MAX_PREVIOUS {
            alias.previous.remove(0);
        }
        alias.model = next;
        alias.next = None;
        let file = models.get(slot).map_or("", |m| &m.name);
        lines.push(format!("alias {} now means {file}", alias.name));
    }
    lines
}

/// Removes a model that is gone from all aliases, and aliases that meant it.
pub(crate) fn forget_model(aliases: &mut Vec<Alias>, sha256: &Sha256) {
    for alias in aliases.iter_mut() {
        alias.previous.retain(|sha| sha != sha256);
        if alias.next.as_ref() == Some(sha256) {
            alias.next = None;
        }
    }
    aliases.retain(|a| a.model != *sha256);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::models::test_model;

    fn store(names: &[&str]) -> ModelStore {
        let mut models = ModelStore::open();
        for (n, name) in (1..).zip(names) {
            models.add(test_model(n, name, ModelStage::Ready));
        }
        models
    }

    #[test]
    fn the_first_model_is_the_default_one_and_stays_it() {
        let models = store(&["a", "b"]);
        let mut aliases = Vec::new();
        set_default_if_none(&mut aliases, &models, Sha256([1; 32]));
        set_default_if_none(&mut aliases, &models, Sha256([2; 32]));
        assert_eq!(
            slot_of(&aliases, &models, DEFAULT_ALIAS),
            Some(ModelSlot(0))
        );
    }

    #[test]
    fn a_switch_waits_until_the_model_is_ready_and_can_be_rolled_back() {
        let models = store(&["a", "b"]);
        let mut aliases = vec![new("x", Sha256([1; 32]))];
        let b = models.find(&Sha256([2; 32])).unwrap();
        retarget(&mut aliases, &models, "x", b).unwrap();
        assert!(apply_ready_switches(&mut aliases, &models, |_| false).is_empty());
        assert_eq!(aliases[0].model, Sha256([1; 32]));
        assert_eq!(rollback_target(&aliases, &models, "x"), Ok(ModelSlot(0)));
        let lines = apply_ready_switches(&mut aliases, &models, |slot| slot == b);
        assert_eq!(lines, ["alias x now means b"]);
        assert_eq!(aliases[0].model, Sha256([2; 32]));
        assert_eq!(rollback_target(&aliases, &models, "x"), Ok(ModelSlot(0)));
        forget_model(&mut aliases, &Sha256([1; 32]));
        assert!(rollback_target(&aliases, &models, "x").is_err());
    }

    #[test]
    fn a_model_is_found_by_alias_file_name_and_digits() {
        let models = store(&["a.gguf", "b.gguf"]);
        let aliases = [new("draft", Sha256([2; 32]))];
        let find = |name: &str| resolve(&aliases, &models, name);
        assert_eq!(find("draft"), Ok(ModelSlot(1)));
        assert_eq!(find("a.gguf"), Ok(ModelSlot(0)));
        assert_eq!(find("0202020202"), Ok(ModelSlot(1)));
        assert!(matches!(find("0202"), Err(Error::NotFound(t)) if t.contains("draft, a.gguf")));
    }

    #[test]
    fn a_name_and_a_model_must_fit() {
        let mut models = store(&["a"]);
        let slot = models
            .add(test_model(9, "new", ModelStage::Uploading))
            .unwrap();
        let mut aliases = Vec::new();
        let mut set = |name: &str, slot| retarget(&mut aliases, &models, name, slot);
        assert!(matches!(
            set("", ModelSlot(0)),
            Err(Error::InvalidArgument(_))
        ));
        assert!(matches!(set("x", slot), Err(Error::WrongPhase { .. })));
        for n in 0..MAX_ALIASES {
            set(&n.to_string(), ModelSlot(0)).unwrap();
        }
        assert!(matches!(
            set("more", ModelSlot(0)),
            Err(Error::InvalidArgument(_))
        ));
    }
}

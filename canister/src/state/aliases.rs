//! Names under which callers ask for models. An alias that is to mean another model goes on meaning the
//! one it has until the other is ready, so that a switch is never waited for.

use crate::api::{AliasSet, Error, LogLevel, Phase};
use crate::app::App;
use crate::durable::Alias;
use crate::{logs, models, rounds, system};

/// The alias of callers who name no model.
pub const DEFAULT: &str = "default";
/// Models of before that an alias remembers.
const REMEMBERED: usize = 8;
const MAX_ALIASES: usize = 64;
const MAX_NAME_BYTES: usize = 64;
/// Fewest digits of a SHA-256 that name a model.
const LEAST_DIGITS: usize = 8;

/// The shelf of the model that `name` means: an alias, a file's name, or the first digits of its
/// SHA-256.
///
/// # Errors
/// [`Error::NotFound`], with what there is; [`Error::InvalidArgument`] where several are meant.
pub fn resolve(app: &App, name: &str) -> Result<u8, Error> {
    if let Some(shelf) = of_alias(app, name) {
        return Ok(shelf);
    }
    let digits = name.len() >= LEAST_DIGITS && name.bytes().all(|b| b.is_ascii_hexdigit());
    let start = name.to_ascii_lowercase();
    let mut found = app
        .library
        .iter()
        .filter(|(_, m)| m.name == name || (digits && hex(&m.sha256).starts_with(&start)));
    match (found.next(), found.next()) {
        (Some((shelf, _)), None) => Ok(shelf),
        (Some(_), Some(_)) => Err(Error::InvalidArgument(format!(
            "several models are called {name}: give more digits of its SHA-256"
        ))),
        (None, _) => {
            let aliases = app.control.aliases.iter().map(|a| a.name.clone());
            let models = app.library.iter().map(|(_, m)| m.name.clone());
            let there: Vec<String> = aliases.chain(models).collect();
            Err(Error::NotFound(format!(
                "no model is called {name}; there are: {}",
                there.join(", ")
            )))
        }
    }
}

/// The shelf an alias means now.
pub fn of_alias(app: &App, name: &str) -> Option<u8> {
    let alias = app.control.aliases.iter().find(|a| a.name == name)?;
    app.library.find(&alias.model)
}

/// The shelf of the model that callers get who name none.
pub fn default_shelf(app: &App) -> Option<u8> {
    of_alias(app, DEFAULT)
}

/// Lower-case digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A first model is the one that callers get.
pub fn adopt(app: &mut App, sha256: [u8; 32]) {
    if default_shelf(app).is_some() {
        return;
    }
    app.control.aliases.retain(|a| a.name != DEFAULT);
    app.control.aliases.push(Alias {
        name: DEFAULT.into(),
        model: sha256,
        next: None,
        previous: Vec::new(),
    });
}

/// Lets an alias mean another model as soon as that is ready. A new alias means it at once.
pub fn set(app: &mut App, args: &AliasSet) -> Result<(), Error> {
    models::only_controllers()?;
    if args.alias.is_empty() || args.alias.len() > MAX_NAME_BYTES {
        return Err(Error::InvalidArgument(format!(
            "alias has {} bytes: 1 to {MAX_NAME_BYTES} are allowed",
            args.alias.len()
        )));
    }
    let shelf = resolve(app, &args.model)?;
    let known = app.control.aliases.iter().any(|a| a.name == args.alias);
    if !known && app.control.aliases.len() >= MAX_ALIASES {
        return Err(Error::InvalidArgument(format!(
            "there are {MAX_ALIASES} aliases, as many as may be: remove one"
        )));
    }
    point(app, &args.alias, shelf)
}

/// Lets an alias mean the model again that it meant before.
pub fn roll_back(app: &mut App, name: &str) -> Result<(), Error> {
    models::only_controllers()?;
    let alias = find(app, name)?;
    if alias.next.is_some() {
        let now = alias.model;
        if let Some(shelf) = app.library.find(&now) {
            return point(app, name, shelf);
        }
    }
    let there = |sha: &&[u8; 32]| app.library.find(sha).is_some();
    let before = alias.previous.iter().rev().find(there);
    let shelf = before.and_then(|sha| app.library.find(sha));
    match shelf {
        Some(shelf) => point(app, name, shelf),
        None => Err(Error::NotFound(format!(
            "no model that {name} meant before is still here"
        ))),
    }
}

/// Removes an alias. Its model stays in the library; generations on it go on.
pub fn remove(app: &mut App, name: &str) -> Result<(), Error> {
    models::only_controllers()?;
    find(app, name)?;
    app.control.aliases.retain(|a| a.name != name);
    note(app, format!("the alias {name} is removed"));
    models::tidy(app);
    rounds::schedule(app);
    Ok(())
}

fn find<'a>(app: &'a App, name: &str) -> Result<&'a Alias, Error> {
    let alias = app.control.aliases.iter().find(|a| a.name == name);
    alias.ok_or_else(|| Error::NotFound(format!("there is no alias {name}")))
}

fn point(app: &mut App, name: &str, shelf: u8) -> Result<(), Error> {
    let Some(model) = app.library.get(shelf) else {
        return Err(Error::NotFound("the model has gone".into()));
    };
    match model.phase {
        Phase::Uploading => {
            return Err(Error::WrongPhase {
                phase: model.phase.name(),
                hint: "its upload is not finished: send what is missing, then upload_commit".into(),
            });
        }
        Phase::Failed => {
            return Err(Error::WrongPhase {
                phase: model.phase.name(),
                hint: "this model failed: see models, then upload it again".into(),
            });
        }
        _ => {}
    }
    let (sha256, file) = (model.sha256, model.name.clone());
    // Whatever kept it out of the heap may be over.
    app.heap.blocked.remove(&shelf);
    match app.control.aliases.iter_mut().find(|a| a.name == name) {
        Some(alias) => alias.next = (alias.model != sha256).then_some(sha256),
        None => app.control.aliases.push(Alias {
            name: name.into(),
            model: sha256,
            next: None,
            previous: Vec::new(),
        }),
    }
    note(app, format!("the alias {name} is to mean {file}"));
    settle(app);
    rounds::schedule(app);
    Ok(())
}

/// Aliases whose next model is ready mean it from now on; models that nobody needs leave the heap.
pub fn settle(app: &mut App) {
    let App {
        control,
        library,
        heap,
        ..
    } = app;
    let mut switched = Vec::new();
    for alias in &mut control.aliases {
        let Some(next) = alias.next else { continue };
        let shelf = library.find(&next);
        if shelf.is_none_or(|shelf| !heap.loaded.contains_key(&shelf)) {
            continue;
        }
        alias.previous.retain(|sha| *sha != next);
        alias.previous.push(alias.model);
        if alias.previous.len() > REMEMBERED {
            alias.previous.remove(0);
        }
        alias.model = next;
        alias.next = None;
        let file = shelf.and_then(|shelf| library.get(shelf));
        let file = file.map_or("", |m| &m.name);
        switched.push(format!("the alias {} means {file} now", alias.name));
    }
    for text in switched {
        logs::add(app, LogLevel::Info, None, text);
    }
    models::tidy(app);
}

/// A model has gone: no alias means it any more.
pub fn forget(app: &mut App, sha256: &[u8; 32]) {
    for alias in &mut app.control.aliases {
        alias.previous.retain(|sha| sha != sha256);
        if alias.next.as_ref() == Some(sha256) {
            alias.next = None;
        }
    }
    app.control.aliases.retain(|a| a.model != *sha256);
}

fn note(app: &mut App, text: String) {
    logs::add(app, LogLevel::Info, Some(system::caller()), text);
}

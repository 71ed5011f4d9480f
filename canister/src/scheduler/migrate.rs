//! From an older layout of stable memory to this one, a slice a round. Until it is done nothing is
//! generated; what is there can be read all the time.

use crate::api::{Error, LogLevel, Phase};
use crate::app::App;
use crate::durable::LAYOUT;
use crate::{access, logs, system};

/// The shelf of the one model that older layouts had.
const ONLY: u8 = 0;

/// Whether everything is in this layout.
pub fn done(app: &App) -> bool {
    app.control.layout == LAYOUT
}

/// An error while it is not done.
pub fn check(app: &App) -> Result<(), Error> {
    if done(app) {
        return Ok(());
    }
    Err(Error::Busy(format!(
        "stable memory is being brought from layout {} to {LAYOUT}: try again in a moment",
        app.control.layout
    )))
}

/// After an upgrade: weights that another engine has packed are packed again from the model's file, and
/// caches that it has filled are forgotten, to be computed again from the tokens.
pub fn renew(app: &mut App) {
    if app.control.engine == engine::VERSION {
        return;
    }
    app.control.engine = engine::VERSION;
    for shelf in app.library.shelves() {
        app.library.edit(shelf, |model| {
            if matches!(model.phase, Phase::Ready | Phase::Preparing) {
                model.phase = Phase::Preparing;
                model.prepared = 0;
                model.info.prepare_instructions = 0;
            }
        });
        app.pages.reset(shelf);
    }
    app.chats.forget_resting();
}

/// One round's part: records are read in the old form and put back in the new one.
pub fn run(app: &mut App, budget: u64) {
    let only = app.library.get(ONLY).map_or([0; 32], |m| m.sha256);
    while let Some(entry) = app.records.range(app.control.migrated + 1..).next() {
        let mut record = entry.value();
        let id = record.id;
        if record.end.is_none() && !app.queue.contains(id) {
            record.model = only;
            record.reserved =
                u64::from(record.options.max_tokens) + u64::from(record.prompt_tokens);
            let owner = record.owner;
            access::reserve(app, &owner, record.reserved);
            let (served, accounts) = (app.control.served, &mut app.accounts);
            app.queue.add(id, ONLY, (owner, 1), served, accounts);
        }
        app.put(record);
        app.control.migrated = id;
        if system::instructions() > budget / 2 {
            return;
        }
    }
    let text = format!(
        "stable memory was brought from layout {} to {LAYOUT}",
        app.control.layout
    );
    app.control.layout = LAYOUT;
    logs::add(app, LogLevel::Info, None, text);
}

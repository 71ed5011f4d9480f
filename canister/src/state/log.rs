//! The log: the last lines, in stable memory.

use crate::api::{Error, LogEntry, LogLevel};
use crate::app::App;
use crate::system;
use candid::Principal;

/// Lines that are kept.
const KEPT: u64 = 1_000;
const MAX_BYTES: usize = 500;
/// Lines in one reply.
const REPLY: usize = 1_000;

/// Adds a line; the oldest goes.
pub fn add(app: &mut App, level: LogLevel, by: Option<Principal>, mut text: String) {
    if text.len() > MAX_BYTES {
        let mut end = MAX_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    system::log(&text);
    let number = app.control.next_log;
    app.control.next_log += 1;
    app.log.insert(
        number,
        LogEntry {
            number,
            time_ns: system::time(),
            level,
            by,
            text,
        },
    );
    while app.log.len() > KEPT {
        app.log.pop_first();
    }
}

/// The lines from number `from` on.
pub fn read(app: &App, from: u64) -> Result<Vec<LogEntry>, Error> {
    if !system::caller_is_controller() {
        return Err(Error::Unauthorized(
            "only a controller may read the log".into(),
        ));
    }
    Ok(app
        .log
        .range(from..)
        .take(REPLY)
        .map(|e| e.value())
        .collect())
}

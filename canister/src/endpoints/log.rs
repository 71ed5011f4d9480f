//! `logs`.

use super::require_controller;
use crate::state::State;
use interface::{Error, LogEntry};

/// Returns the lines from number `from` on.
///
/// # Errors
/// [`Error::Unauthorized`].
pub(crate) fn read(state: &State, from: u64) -> Result<Vec<LogEntry>, Error> {
    require_controller()?;
    let lines = state.log.read(from).into_iter();
    Ok(lines
        .map(|(number, line)| LogEntry {
            number,
            time_ns: line.time,
            level: line.level.into(),
            by: line.by,
            text: line.text,
        })
        .collect())
}

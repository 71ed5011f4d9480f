//! The log: its last lines, in stable memory.

use crate::runtime;
use crate::stable::records::{LogEntry, LogLevel};
use crate::stable::regions::{self, Region};
use candid::Principal;
use ic_stable_structures::StableBTreeMap;

/// Lines that are kept.
const KEPT: u64 = 1_000;
/// Longest line (bytes); what is longer is cut.
const MAX_BYTES: usize = 500;
/// Most lines in one reply.
const MAX_READ: usize = 1_000;

/// The log. Lines are numbered from 1.
pub(crate) struct Log {
    lines: StableBTreeMap<u64, LogEntry, Region>,
}

impl Log {
    /// Opens what stable memory holds.
    pub(crate) fn open() -> Self {
        Self {
            lines: StableBTreeMap::init(regions::log()),
        }
    }

    /// Adds a line, also to the canister log of the IC. `by` is the controller whose action it is.
    pub(crate) fn add(&mut self, level: LogLevel, by: Option<Principal>, mut text: String) {
        text.truncate(text.floor_char_boundary(MAX_BYTES));
        runtime::debug_print(&text);
        let number = self.lines.last_key_value().map_or(1, |(last, _)| last + 1);
        let time = runtime::time();
        let entry = LogEntry {
            time,
            level,
            by,
            text,
        };
        self.lines.insert(number, entry);
        while self.lines.len() > KEPT {
            self.lines.pop_first();
        }
    }

    /// Returns the lines from number `from` on, with their numbers.
    pub(crate) fn read(&self, from: u64) -> Vec<(u64, LogEntry)> {
        let lines = self.lines.range(from..).take(MAX_READ);
        lines.map(|line| line.into_pair()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand_lines_are_kept_and_numbered_on() {
        let mut log = Log::open();
        for n in 1..=1_003 {
            log.add(LogLevel::Info, None, format!("line {n}"));
        }
        let lines = Log::open().read(0);
        assert_eq!((lines.len(), lines[0].0), (1_000, 4));
        assert_eq!(lines[999].1.text, "line 1003");
        assert_eq!(log.read(1_003).len(), 1);
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        let mut log = Log::open();
        log.add(LogLevel::Error, None, "é".repeat(300));
        assert_eq!(log.read(0)[0].1.text, "é".repeat(250));
    }
}

//! A canister's log: the last lines of what it printed and how it trapped.

use std::collections::VecDeque;

/// Bytes that a log holds.
pub const CAPACITY: usize = 4096;
/// Bytes that each record takes besides its content.
const OVERHEAD: usize = 40;

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogRecord {
    /// Number of the record since the canister was created.
    pub index: u64,
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The bytes printed.
    #[serde(with = "serde_bytes")]
    pub content: Vec<u8>,
}

/// Records that fit in 4 KiB, oldest first.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Log {
    records: VecDeque<LogRecord>,
    used: usize,
    next: u64,
}

impl Log {
    /// An empty log that goes on with another's numbers.
    pub fn following(&self) -> Log {
        Log {
            next: self.next,
            ..Log::default()
        }
    }

    /// Bytes that a record of `len` bytes takes of what is free.
    pub fn room_for(&self, len: usize) -> usize {
        len.min(CAPACITY - self.used)
    }

    /// Bytes that are looked at of a record of `len` bytes.
    pub fn considered(len: usize) -> usize {
        len.min(CAPACITY)
    }

    /// Adds a record; the oldest make room for it, and what is longer than the log is cut.
    pub fn push(&mut self, time_ns: u64, content: &[u8]) {
        let content = &content[..content.len().min(CAPACITY - OVERHEAD)];
        self.insert(LogRecord {
            index: self.next,
            time_ns,
            content: content.to_vec(),
        });
    }

    fn insert(&mut self, record: LogRecord) {
        let size = record.content.len() + OVERHEAD;
        while self.used + size > CAPACITY {
            let Some(old) = self.records.pop_front() else {
                break;
            };
            self.used -= old.content.len() + OVERHEAD;
        }
        self.used += size;
        self.next = record.index + 1;
        self.records.push_back(record);
    }

    /// Adds another log's records.
    pub fn append(&mut self, other: Log) {
        self.next = self.next.max(other.next);
        for record in other.records {
            self.insert(record);
        }
    }

    /// The records, oldest first.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &LogRecord> {
        self.records.iter()
    }

    /// Number that the next record gets.
    pub fn next_index(&self) -> u64 {
        self.next
    }

    /// Forgets the records, not their number.
    pub fn clear(&mut self) {
        self.records.clear();
        self.used = 0;
    }
}

//! State on disk.
//!
//! A state directory has one file for each heap and stable memory (sparse, written in place), one
//! for each module and chunk, `state`, which holds everything else as of the end of a round and is
//! replaced as a whole, and `journal`, which holds what the pages written since then were before.
//! A process that dies in a round thus leaves the state of the round before: the next process puts
//! the journal's pages back. Files are not forced to the disk: this is safe against the death of
//! the process, not of the machine.

mod records;
mod state;
mod store;

pub use records::Restart;
pub use store::{FileStore, StoredFile};

//! The state machine through its Rust interface.

mod queries;
mod snapshots;
mod support;

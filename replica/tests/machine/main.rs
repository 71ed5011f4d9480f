//! The state machine through its Rust interface.

mod deadlines;
mod queries;
mod reserved;
mod snapshots;
mod support;
mod system_api;
mod torn;

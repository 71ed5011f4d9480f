//! The local replica at work with the real model: killed at any moment, asked by many, with much
//! memory, and as fast as the engine under it.

use tokio::sync::Mutex;

/// Held by a test that measures, or that uses the whole machine.
static ALONE: Mutex<()> = Mutex::const_new(());

#[path = "replica/bare.rs"]
mod bare;
#[path = "replica/crash.rs"]
mod crash;
#[path = "replica/load.rs"]
mod load;
#[path = "replica/memory.rs"]
mod memory;
#[path = "replica/speed.rs"]
mod speed;

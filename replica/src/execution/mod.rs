//! Running canister code: the engine, the System API and instances.

pub mod api;
pub mod engine;
pub mod failure;
mod host;
pub mod instance;
pub mod mode;

pub use engine::{Engine, InstancePre};
pub use instance::{Entry, Instance, Outcome};

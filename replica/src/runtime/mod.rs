//! Running canister code: the engine, the System API, modules and instances.

pub mod engine;
pub mod failure;
pub mod instance;
pub mod mode;
pub mod module;
pub mod pool;
pub mod stack;
pub mod system_api;

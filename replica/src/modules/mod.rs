//! Canister modules: what the IC accepts, and the metering it adds.

pub mod costs;
pub mod imports;
pub mod instrument;
pub mod validate;

//! Client of the LLM canister: uploads models, watches the canister and talks to it.
//!
//! [`Network::connect`] gives a verified connection, [`Client`] has one typed method for each of the
//! canister's, [`upload::upload`] sends a model file, [`generate::follow`] streams an answer, and
//! [`management`] creates canisters and installs code.

pub mod client;
pub mod error;
pub mod generate;
pub mod identity;
pub mod management;
pub mod model_file;
pub mod network;
pub mod plan;
pub mod report;
mod retry;
pub mod shards;
pub mod upload;
mod window;

pub use client::Client;
pub use error::{Error, Result};
pub use network::Network;

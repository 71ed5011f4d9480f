//! The HTTP front of the replica: the IC's HTTP interface, certification and the gateway.
//!
//! One thread owns the state machine ([`state_thread`]); what was certified after the last round can
//! be read without it. [`server`] reads requests, [`validate`] checks them, [`endpoints`] answers;
//! [`gateway`] serves the pages of canisters.

pub mod certified;
pub mod endpoints;
pub mod gateway;
mod gateway_candid;
pub mod keys;
pub mod paths;
pub mod requests;
pub mod response;
pub mod server;
pub mod signature;
pub mod state_thread;
pub mod tree;
pub mod validate;

pub use server::{Server, ServerConfig, ServerError};

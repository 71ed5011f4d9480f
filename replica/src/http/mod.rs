//! The HTTP front of the replica: the IC's HTTP interface, certification and the gateway.

pub mod certified;
pub mod keys;
pub mod signature;
pub mod tree;
pub mod validate;

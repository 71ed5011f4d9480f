//! The canister's Candid interface in Rust, once: the types of `canister/llm.did` for the canister,
//! its clients and the tests, with the limits, prices and defaults that they share.

mod admin;
mod chats;
mod error;
mod generations;
pub mod limits;
mod models;
pub mod prices;
pub mod refusal;
mod upload;

pub use admin::*;
pub use chats::*;
pub use error::*;
pub use generations::*;
pub use models::*;
pub use upload::*;

/// `variant { Ok : T; Err : Error }`, the reply of methods that may refuse.
pub type Outcome<T> = std::result::Result<T, Error>;

/// `variant { Ok; Err : Error }`, the reply of methods that return nothing else.
pub type Done = Outcome<()>;

//! The canister's Candid interface in Rust, once: the types of `canister/llm.did` for the canister,
//! its clients and the tests, with the limits, prices and defaults that they share.
//!
//! A test compares these types with `llm.did`. Field names are those of Candid. Numbers are in bytes,
//! tokens, instructions, cycles or nanoseconds, as their names or docs say; `nat` is [`u128`].
//!
//! ```
//! use interface::{GenerateArgs, Input, Options};
//!
//! let question = GenerateArgs {
//!     input: Input::Prompt("Once upon a time".into()),
//!     options: Some(Options {
//!         max_tokens: Some(64),
//!         ..Options::default()
//!     }),
//!     ..GenerateArgs::default()
//! };
//! let bytes = candid::encode_one(&question)?;
//! assert_eq!(candid::decode_one::<GenerateArgs>(&bytes)?, question);
//! # Ok::<(), candid::Error>(())
//! ```

mod admin;
mod chats;
mod error;
mod generations;
mod http;
pub mod limits;
mod models;
pub mod prices;
pub mod refusal;
mod upload;

pub use admin::*;
pub use chats::*;
pub use error::*;
pub use generations::*;
pub use http::*;
pub use models::*;
pub use upload::*;

/// `variant { Ok : T; Err : Error }`: the reply of methods that may refuse.
pub type Outcome<T> = std::result::Result<T, Error>;

/// `variant { Ok; Err : Error }`: the reply of methods that return nothing else.
///
/// In Candid `Ok` without a type is `Ok : null`, which is the type of `()`.
pub type Done = Outcome<()>;

//! Client of the LLM canister: uploads models, watches the canister and talks to it.
//!
//! - [`Network::connect`] opens a connection whose certificates are verified.
//! - [`Client`] has one typed method for each of the canister's.
//! - [`upload::upload`] checks a model file, sends it and waits until it is ready.
//! - [`generate::follow`] streams an answer.
//! - [`management`] creates canisters and installs code.
//!
//! The types of arguments and replies are those of the crate [`interface`].
//!
//! ```no_run
//! use interface::Input;
//! use loader::upload::{UploadOptions, upload};
//! use loader::{Client, Network, generate, identity};
//! use std::path::Path;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let key = identity::read_or_create(&identity::default_path()?)?;
//! let network = Network::connect("local", key).await?;
//! let client = Client::new(network, "rrkah-fqaaa-aaaaa-aaaaq-cai".parse()?);
//!
//! let model = Path::new("SmolLM2-135M-Instruct.Q4_1.gguf");
//! upload(&client, model, &UploadOptions::default(), |_| ()).await?;
//!
//! let started = client.generate(Input::Prompt("Once upon a time".into()), None).await?;
//! let answer = generate::follow(&client, started.id, |new| print!("{}", new.text)).await?;
//! println!("\n{} tokens", answer.generated_tokens);
//! # Ok(())
//! # }
//! ```

mod check;
pub mod client;
mod clock;
pub mod error;
pub mod file_kind;
pub mod folders;
pub mod generate;
pub mod identity;
mod key_kind;
pub mod management;
pub mod model_file;
pub mod network;
pub mod plan;
pub mod remembered;
pub mod report;
mod retry;
pub mod shards;
pub mod upload;
mod window;

pub use client::Client;
pub use error::{Error, Result};
pub use network::Network;

//! The public methods, one file a topic: checks, and conversion between the interface and the state.
//! Saving and scheduling are [`crate::dispatch`]'s.

pub mod access;
pub mod aliases;
pub mod chats;
pub mod generations;
pub mod http;
pub mod inspect;
pub mod log;
pub mod metrics;
pub mod models;
pub mod prompt;
pub mod status;
pub mod upload;

use crate::runtime;
use interface::Error;

/// Checks that the caller is a controller.
///
/// # Errors
/// [`Error::Unauthorized`].
pub fn require_controller() -> Result<(), Error> {
    if runtime::caller_is_controller() {
        return Ok(());
    }
    Err(Error::Unauthorized(
        "only a controller of this canister may do this".into(),
    ))
}

//! The public methods, one file a topic: checks, and conversion between the interface and the state.
//! Saving and scheduling are [`crate::dispatch`]'s.

pub(crate) mod access;
pub(crate) mod aliases;
pub(crate) mod chats;
pub(crate) mod generations;
pub(crate) mod http;
pub(crate) mod inspect;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod prompt;
pub(crate) mod status;
pub(crate) mod upload;

use crate::runtime;
use interface::Error;

/// Checks that the caller is a controller.
///
/// # Errors
/// [`Error::Unauthorized`].
pub(crate) fn require_controller() -> Result<(), Error> {
    if runtime::caller_is_controller() {
        return Ok(());
    }
    Err(Error::Unauthorized(
        "only a controller of this canister may do this".into(),
    ))
}

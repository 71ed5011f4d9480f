//! What can go wrong between this machine and the canister.

use ic_agent::{AgentError, agent::RejectCode};
use std::path::PathBuf;

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong. The texts say what to do where that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The canister answered with an error of its own.
    #[error("{0}")]
    Canister(#[from] interface::Error),
    /// The network could not be reached, or refused or failed the call.
    #[error("{call}: {}", explain(.source))]
    Call {
        call: String,
        source: Box<AgentError>,
    },
    /// Arguments or reply are not what the interface says: the canister is another program or version.
    #[error("{method}: the canister's interface is not the expected one ({source})")]
    Candid {
        method: String,
        source: candid::Error,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The file is not the one that was announced, or cannot be uploaded at all.
    #[error("{}: {reason}", path.display())]
    BadFile { path: PathBuf, reason: String },
    /// The key file holds no usable private key.
    #[error("{}: no usable private key ({reason}); ed25519, secp256k1 and P-256 in PEM are read", path.display())]
    Identity { path: PathBuf, reason: String },
    /// The network's address is wrong.
    #[error("{url} is not a network address ({reason}), example: http://127.0.0.1:4943")]
    Url { url: String, reason: String },
    /// What was asked for cannot be done here.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    pub(crate) fn call(call: impl Into<String>) -> impl FnOnce(AgentError) -> Self {
        let call = call.into();
        move |source| Self::Call {
            call,
            source: Box::new(source),
        }
    }

    /// The error's name for programs: the variant, for the canister's errors that of `llm.did`.
    pub fn kind(&self) -> String {
        let debug = match self {
            Self::Canister(error) => format!("{error:?}"),
            other => format!("{other:?}"),
        };
        debug
            .split(|c: char| !c.is_alphanumeric())
            .next()
            .unwrap_or_default()
            .to_string()
    }

    /// Whether the same call may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Canister(error) => {
                matches!(
                    error,
                    interface::Error::Busy(_) | interface::Error::WrongChunk { .. }
                )
            }
            Self::Call { source, .. } => is_transient(source),
            _ => false,
        }
    }
}

fn is_transient(error: &AgentError) -> bool {
    match error {
        AgentError::TransportError(_)
        | AgentError::TimeoutWaitingForResponse()
        | AgentError::CertificateOutdated(_) => true,
        AgentError::HttpError(error) => error.status == 429 || error.status >= 500,
        AgentError::CertifiedReject { reject, .. }
        | AgentError::UncertifiedReject { reject, .. } => {
            // No such canister or method, or the canister refused the caller: that stays so.
            let refused = reject.error_code.as_deref() == Some("IC0406");
            reject.reject_code != RejectCode::DestinationInvalid && !refused
        }
        _ => false,
    }
}

/// The agent's errors in words for the user.
fn explain(error: &AgentError) -> String {
    match error {
        AgentError::TransportError(source) => {
            format!("the network does not answer ({source}); does a replica run at this address?")
        }
        AgentError::CertifiedReject { reject, .. }
        | AgentError::UncertifiedReject { reject, .. } => {
            let code = reject.error_code.as_deref().unwrap_or("no error code");
            format!("rejected: {} ({code})", reject.reject_message)
        }
        AgentError::CertificateVerificationFailed() => {
            "the certificate is not signed by the expected root key; is the network the one meant?"
                .into()
        }
        other => other.to_string(),
    }
}

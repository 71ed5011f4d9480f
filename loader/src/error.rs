//! What can go wrong between this machine and the canister.

use crate::clock;
use ic_agent::{AgentError, agent::RejectCode};
use std::path::PathBuf;

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong. The texts say what to do where that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The canister returned an error of its own.
    #[error("{0}")]
    Canister(#[from] interface::Error),
    /// A model file was refused here, before anything was sent, as the canister would refuse it.
    #[error("{}: {source}", path.display())]
    Model {
        /// The file, or the first one of a split model.
        path: PathBuf,
        /// What the canister would say.
        source: interface::Error,
    },
    /// The network could not be reached, or refused or failed the call.
    #[error("{call}: {}", explain(.source))]
    Call {
        /// What was called.
        call: String,
        /// What the agent says.
        source: Box<AgentError>,
    },
    /// Arguments are too large for a message.
    #[error(
        "{call}: the message has {bytes} bytes, at most {limit} are accepted: shorten the prompt"
    )]
    TooLarge {
        /// What was called.
        call: String,
        /// Size of the arguments in Candid (bytes).
        bytes: usize,
        /// Largest size (bytes).
        limit: usize,
    },
    /// Arguments or reply do not have the expected types: the canister is another program or version.
    #[error(
        "{method}: the canister's interface is not the expected one ({source}): is it this version of \
         this canister?"
    )]
    Candid {
        /// The method that was called.
        method: String,
        /// What does not fit.
        source: candid::Error,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file is not the one that was expected, or cannot be uploaded at all.
    #[error("{}: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A file holds no private key that can sign calls.
    #[error("{}: {reason}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What it holds instead, and what to do.
        reason: String,
    },
    /// The network's address is wrong.
    #[error("{url} is not a network address ({reason}), example: http://127.0.0.1:4943")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
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

    /// Returns the error's name for programs: the variant; for errors of the canister, that of `llm.did`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Canister(error) | Self::Model { source: error, .. } => error.name(),
            Self::Call { .. } => "Call",
            Self::TooLarge { .. } => "TooLarge",
            Self::Candid { .. } => "Candid",
            Self::File { .. } => "File",
            Self::BadFile { .. } => "BadFile",
            Self::Identity { .. } => "Identity",
            Self::Url { .. } => "Url",
            Self::Unsupported(_) => "Unsupported",
        }
    }

    /// Returns `true` if the same call may succeed a little later.
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

    /// Returns `true` if the network says that there is no such canister.
    pub fn is_missing_canister(&self) -> bool {
        match self {
            Self::Call { source, .. } => {
                let code = match source.as_ref() {
                    AgentError::CertifiedReject { reject, .. }
                    | AgentError::UncertifiedReject { reject, .. } => reject.error_code.as_deref(),
                    _ => None,
                };
                code == Some(CANISTER_NOT_FOUND)
            }
            _ => false,
        }
    }
}

/// Error codes of the IC (dfinity/ic, rs/types/error_types).
const CANISTER_NOT_FOUND: &str = "IC0301";
const CANISTER_REFUSED: &str = "IC0406";

fn is_transient(error: &AgentError) -> bool {
    match error {
        AgentError::TransportError(_)
        | AgentError::TimeoutWaitingForResponse()
        | AgentError::CertificateOutdated(_) => true,
        AgentError::HttpError(error) => error.status == 429 || error.status >= 500,
        AgentError::CertifiedReject { reject, .. }
        | AgentError::UncertifiedReject { reject, .. } => {
            // There is no such canister or method, or the canister refused the caller: that stays so.
            let refused = reject.error_code.as_deref() == Some(CANISTER_REFUSED);
            reject.reject_code != RejectCode::DestinationInvalid && !refused
        }
        _ => false,
    }
}

/// Returns the agent's error in words for people.
fn explain(error: &AgentError) -> String {
    match error {
        AgentError::TransportError(source) => {
            format!("the network does not answer ({source}); is a replica running at this address?")
        }
        AgentError::CertifiedReject { reject, .. }
        | AgentError::UncertifiedReject { reject, .. } => {
            let code = reject.error_code.as_deref().unwrap_or("no error code");
            format!("rejected: {} ({code})", reject.reject_message)
        }
        AgentError::CertificateVerificationFailed() => {
            "the certificate is not signed by the expected root key; is this the right network?"
                .into()
        }
        AgentError::CertificateOutdated(_) => {
            "the network's certificate is too old: is this computer's clock right?".into()
        }
        AgentError::HttpError(answer) => {
            let text = String::from_utf8_lossy(&answer.content);
            match answer.status {
                413 => "the message is too large for the network: shorten it".into(),
                400 => clock::explain(&text, clock::now())
                    .unwrap_or_else(|| format!("the network refused the message: {text}")),
                status => format!("the network answered with HTTP status {status}: {text}"),
            }
        }
        other => other.to_string(),
    }
}

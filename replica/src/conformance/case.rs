//! A case, and how it went.

use std::path::{Path, PathBuf};

/// The folder cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A file cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// A case is not valid JSON.
    #[error("{0}: {1}")]
    Json(PathBuf, serde_json::Error),
    /// A module cannot be assembled.
    #[error("{0}: {1}")]
    Module(PathBuf, wat::Error),
    /// A case asks for what the runner does not know.
    #[error("{0}")]
    Unknown(String),
    /// The replica cannot be set up.
    #[error(transparent)]
    Replica(#[from] crate::ReplicaError),
}

/// How a case went.
#[derive(Debug)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// What differs, a line each; empty when it passed.
    pub mismatches: Vec<String>,
}

pub(super) fn read(path: &Path) -> Result<String, CaseError> {
    std::fs::read_to_string(path).map_err(|error| CaseError::Read(path.into(), error))
}

pub(super) fn assemble(path: &Path) -> Result<Vec<u8>, CaseError> {
    let text = read(path)?;
    wat::parse_str(&text).map_err(|error| CaseError::Module(path.into(), error))
}

//! Replays measured cases and compares what this replica does.
//!
//! A folder laid out like `data/golden` has pairs `NAME.wat` and `NAME.json`; one laid out like
//! `data/semantic` has modules and `cases/*.json`. Their READMEs say what the fields mean.

mod driver;
mod golden;
mod semantic;
mod value;

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

fn read(path: &Path) -> Result<String, CaseError> {
    std::fs::read_to_string(path).map_err(|error| CaseError::Read(path.into(), error))
}

fn assemble(path: &Path) -> Result<Vec<u8>, CaseError> {
    let text = read(path)?;
    wat::parse_str(&text).map_err(|error| CaseError::Module(path.into(), error))
}

/// The cases of a folder, in order of their names.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, CaseError> {
    let cases = dir.join("cases");
    let dir = if cases.is_dir() { cases } else { dir.into() };
    let entries = std::fs::read_dir(&dir).map_err(|error| CaseError::Read(dir.clone(), error))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Replays one case of a folder; none when the file is not a case.
///
/// # Errors
/// When the case cannot be replayed at all.
pub fn replay(dir: &Path, case: &Path) -> Result<Option<CaseReport>, CaseError> {
    let text = read(case)?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| CaseError::Json(case.into(), error))?;
    let name = case
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    if json.get("steps").is_none() {
        return Ok(None);
    }
    let mismatches = if json.get("modules").is_some() {
        semantic::replay(dir, &json)?
    } else {
        golden::replay(&case.with_extension("wat"), &json)?
    };
    Ok(Some(CaseReport { name, mismatches }))
}

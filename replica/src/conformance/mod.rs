//! Replays measured cases and compares what this replica does.
//!
//! A folder laid out like `data/golden` has pairs `NAME.wat` and `NAME.json`; one laid out like
//! `data/semantic` has modules and `cases/*.json`. Their READMEs say what the fields mean.

mod case;
mod driver;
mod golden;
mod semantic;
mod value;

pub use case::{CaseError, CaseReport};

use case::read;
use std::path::{Path, PathBuf};

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

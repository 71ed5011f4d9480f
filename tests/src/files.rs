//! The files the tests work on: the canister's code and a model.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The project's folder.
pub fn folder() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The canister's code: the file `LLM_WASM` names, or what `scripts/build` builds.
pub fn wasm() -> Result<Vec<u8>> {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = path(&PATH, "LLM_WASM", &["build"])?;
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The default model (SmolLM2-135M-Instruct): the file `LLM_MODEL` names, or what
/// `scripts/fetch-model` fetches.
pub fn model() -> Result<PathBuf> {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    path(&PATH, "LLM_MODEL", &["fetch-model"])
}

/// The second model (Gemma 3 270M): the file `LLM_GEMMA` names, or what `scripts/fetch-model` fetches.
pub fn gemma() -> Result<PathBuf> {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    path(&PATH, "LLM_GEMMA", &["fetch-model", "gemma3-270m"])
}

/// The same code as another build: its module hash is different, what it does is not.
pub fn tagged(wasm: &[u8], tag: &str) -> Vec<u8> {
    // A custom section: id 0, its length, the length of its name, the name. A tag is short, so
    // that each length is one byte of LEB128.
    assert!(tag.len() < 100, "a tag is short");
    let mut module = wasm.to_vec();
    module.extend([0, tag.len() as u8 + 1, tag.len() as u8]);
    module.extend(tag.as_bytes());
    module
}

fn path(cell: &OnceLock<PathBuf>, variable: &str, script: &[&str]) -> Result<PathBuf> {
    if let Some(path) = cell.get() {
        return Ok(path.clone());
    }
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => run(script)?,
    };
    Ok(cell.get_or_init(|| path).clone())
}

/// Runs a script, given with its arguments, that prints a path.
pub(crate) fn run(script: &[&str]) -> Result<PathBuf> {
    let (name, arguments) = script.split_first().context("a script's name")?;
    let script = folder().join("scripts").join(name);
    let output = Command::new(&script)
        .args(arguments)
        .output()
        .with_context(|| script.display().to_string())?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            script.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let printed = String::from_utf8(output.stdout)?;
    Ok(PathBuf::from(printed.trim_end()))
}

//! Where files are kept on this machine. An empty environment variable counts as not set.

use std::ffi::OsString;
use std::path::PathBuf;

/// Returns the value of an environment variable; `None` if it is not set or empty.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the folder of keys and settings: `$XDG_CONFIG_HOME/llm-canister` or
/// `~/.config/llm-canister`; `None` if there is no home folder.
pub fn config() -> Option<PathBuf> {
    Some(folder("XDG_CONFIG_HOME", ".config")?.join("llm-canister"))
}

/// Returns the folder of fetched files: `$XDG_CACHE_HOME/llm-canister` or `~/.cache/llm-canister`;
/// `None` if there is no home folder.
pub fn cache() -> Option<PathBuf> {
    Some(folder("XDG_CACHE_HOME", ".cache")?.join("llm-canister"))
}

fn folder(name: &str, of_home: &str) -> Option<PathBuf> {
    let named = variable(name).map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(variable("HOME")?).join(of_home)))
}

//! The canister that was installed last on each network, kept in
//! `~/.config/llm-canister/canisters.json`.

use crate::{Error, Result, folders};
use candid::Principal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use url::Url;

/// Ids of canisters by the address of their network.
type Canisters = BTreeMap<String, String>;

/// Returns the canister that was installed last on a network; `None` if there is none, or if what was
/// kept cannot be read.
pub fn canister(network: &Url) -> Option<Principal> {
    find(&file()?, network)
}

/// Keeps the canister that was installed on a network.
///
/// # Errors
/// [`Error::Unsupported`] without a home folder, [`Error::File`] if the file cannot be written.
pub fn remember(network: &Url, canister: Principal) -> Result<()> {
    let file = file().ok_or_else(|| {
        Error::Unsupported("HOME is not set: there is no place to remember the canister".into())
    })?;
    keep(&file, network, canister)
}

fn file() -> Option<PathBuf> {
    Some(folders::config()?.join("canisters.json"))
}

fn read(file: &Path) -> Canisters {
    let text = std::fs::read(file).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn find(file: &Path, network: &Url) -> Option<Principal> {
    Principal::from_text(read(file).get(network.as_str())?).ok()
}

fn keep(file: &Path, network: &Url, canister: Principal) -> Result<()> {
    let mut canisters = read(file);
    canisters.insert(network.to_string(), canister.to_text());
    let text =
        serde_json::to_vec_pretty(&canisters).map_err(|error| Error::file(file)(error.into()))?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
    }
    std::fs::write(file, text).map_err(Error::file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_its_canister() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/canisters.json");
        let local = Url::parse("http://127.0.0.1:4943").unwrap();
        let ic = Url::parse("https://icp-api.io").unwrap();
        let (first, second) = (Principal::management_canister(), Principal::anonymous());
        assert_eq!(find(&file, &local), None);
        keep(&file, &local, first).unwrap();
        keep(&file, &ic, first).unwrap();
        keep(&file, &local, second).unwrap();
        assert_eq!(find(&file, &local), Some(second));
        assert_eq!(find(&file, &ic), Some(first));
        // What cannot be read is as good as nothing, and is written anew.
        std::fs::write(&file, "{").unwrap();
        assert_eq!(find(&file, &ic), None);
        keep(&file, &ic, second).unwrap();
        assert_eq!(find(&file, &ic), Some(second));
    }
}

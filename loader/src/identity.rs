//! The key that signs calls.

use crate::{Error, Result, folders, key_kind};
use ic_agent::Identity;
use ic_agent::identity::{BasicIdentity, Prime256v1Identity, Secp256k1Identity};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What stands before the 32 key bytes in an ed25519 PKCS #8 file (RFC 8410).
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Reads a private key (ed25519, secp256k1 or P-256, PEM).
///
/// # Errors
/// [`Error::File`] if the file cannot be read, [`Error::Identity`] if it holds something else; the text
/// says what.
pub fn read(path: &Path) -> Result<Arc<dyn Identity>> {
    let text = std::fs::read(path).map_err(Error::file(path))?;
    if let Ok(identity) = BasicIdentity::from_pem(&text) {
        return Ok(Arc::new(identity));
    }
    if let Ok(identity) = Secp256k1Identity::from_pem(&text) {
        return Ok(Arc::new(identity));
    }
    if let Ok(identity) = Prime256v1Identity::from_pem(&text) {
        return Ok(Arc::new(identity));
    }
    Err(Error::Identity {
        path: path.into(),
        reason: key_kind::describe(&text),
    })
}

/// Reads the key at `path`; makes one, readable by its owner alone, if there is none.
///
/// # Errors
/// Those of [`read`], and [`Error::File`] if the key cannot be written.
pub fn read_or_create(path: &Path) -> Result<Arc<dyn Identity>> {
    if !path.exists() {
        create(path)?;
    }
    read(path)
}

/// Returns the path of the key for local replicas: `identity.pem` in [`folders::config`].
///
/// # Errors
/// [`Error::Unsupported`] if there is no home folder.
pub fn default_path() -> Result<PathBuf> {
    folders::config()
        .map(|folder| folder.join("identity.pem"))
        .ok_or_else(|| Error::Unsupported("HOME is not set: name a key with --identity".into()))
}

fn create(path: &Path) -> Result<()> {
    let mut key = ED25519_PKCS8.to_vec();
    key.resize(ED25519_PKCS8.len() + 32, 0);
    getrandom::fill(&mut key[ED25519_PKCS8.len()..]).map_err(|error| Error::File {
        path: path.into(),
        source: std::io::Error::other(error.to_string()),
    })?;
    let text = pem::encode(&pem::Pem::new("PRIVATE KEY", key));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(Error::file(path)),
        // Another process was first: its key is used.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::file(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/identity.pem");
        let first = read_or_create(&path).unwrap().sender().unwrap();
        assert_eq!(read_or_create(&path).unwrap().sender().unwrap(), first);
        assert_ne!(first, candid::Principal::anonymous());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        std::fs::write(&path, "no key").unwrap();
        assert!(matches!(read(&path), Err(Error::Identity { .. })));
        assert!(matches!(
            read(&folder.path().join("none")),
            Err(Error::File { .. })
        ));
    }
}

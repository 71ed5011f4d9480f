//! A model on this machine: one file, the files of a split model, or a name this project knows.

use crate::file_kind::{self, HEAD_BYTES};
use crate::{Error, Result, folders};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weights::gguf::source::{FileSource, SourceError};
use weights::gguf::split::{self, Joined, Merged};
use weights::{ByteSource, GgufFile};

/// A model that this project knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Name on the command line.
    pub name: &'static str,
    /// Name of its file.
    pub file: &'static str,
    /// SHA-256 of its file (lower-case hexadecimal).
    pub sha256: &'static str,
    /// Size of its file (bytes).
    pub bytes: u64,
    /// What it is, in a line.
    pub about: &'static str,
}

/// The models known by name; scripts/fetch-model downloads them.
pub const KNOWN: [Known; 2] = [
    Known {
        name: "smollm2-135m",
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes: 98_362_432,
        about: "SmolLM2-135M-Instruct, Q4_1: chat, English, Apache-2.0",
    },
    Known {
        name: "gemma3-270m",
        file: "gemma-3-270m-q4_k_m.gguf",
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        bytes: 253_113_024,
        about: "Gemma 3 270M base, Q4_K_M: continues text, many languages, Gemma licence",
    },
];

/// Returns the folder in which scripts/fetch-model keeps models; `None` if there is no home folder.
pub fn cache() -> Option<PathBuf> {
    Some(folders::cache()?.join("models"))
}

/// A model's bytes, wherever they are.
pub type Source = Arc<dyn ByteSource + Send + Sync>;

/// A model that can be uploaded.
#[derive(Clone)]
pub struct ModelFile {
    /// Its name in the canister.
    pub name: String,
    /// The files it was opened from.
    pub paths: Vec<PathBuf>,
    /// SHA-256 that it must have (lower-case hexadecimal), if it is a known model.
    pub sha256: Option<&'static str>,
    source: Source,
}

impl std::fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.source.len())
    }
}

impl ModelFile {
    /// Opens a model: a file; the first file of a split model (the others are found by their names); all
    /// of its files in order, split as GGUF or cut by size; or a known name.
    ///
    /// # Errors
    /// [`Error::File`] if a file cannot be read, [`Error::BadFile`] for a part that is not the first.
    pub fn open(what: &[PathBuf]) -> Result<Self> {
        let [first, others @ ..] = what else {
            return Err(Error::Unsupported("no model file is given".into()));
        };
        if others.is_empty()
            && !first.exists()
            && let Some(known) = KNOWN.iter().find(|k| Path::new(k.name) == first)
        {
            return Self::known(known);
        }
        let mut paths = what.to_vec();
        if others.is_empty() {
            let file = open(first)?;
            // `check` refuses files that are not GGUF.
            let count = GgufFile::read(&file).map_or(1, |file| split::parts(&file));
            if count > 1 {
                paths = siblings(first, count)?;
            }
        }
        let parts = paths
            .iter()
            .map(|path| open(path))
            .collect::<Result<Vec<_>>>()?;
        let is_split = |part| GgufFile::read(part).is_ok_and(|file| split::parts(&file) > 1);
        // A single file is one part.
        let source: Source = match parts.len() > 1 && parts.iter().all(is_split) {
            true => {
                let merged = Merged::new(parts).map_err(|error| Error::BadFile {
                    path: first.clone(),
                    reason: error.to_string(),
                })?;
                Arc::new(merged)
            }
            false => Arc::new(Joined::new(parts)),
        };
        Ok(Self {
            name: whole_name(first, paths.len() > 1)?,
            paths,
            sha256: None,
            source,
        })
    }

    fn known(known: &Known) -> Result<Self> {
        let path = cache().unwrap_or_default().join(known.file);
        if !path.exists() {
            return Err(Error::Unsupported(format!(
                "{} is not in {}: run scripts/fetch-model {}",
                known.file,
                path.parent().unwrap_or(Path::new("")).display(),
                known.name
            )));
        }
        Ok(Self {
            sha256: Some(known.sha256),
            ..Self::open(&[path])?
        })
    }

    /// Returns its bytes.
    pub fn source(&self) -> &(dyn ByteSource + Send + Sync) {
        self.source.as_ref()
    }

    /// Returns its size (bytes).
    pub fn bytes(&self) -> u64 {
        self.source.len()
    }

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// [`Error::BadFile`] if the range is not within the file or cannot be read.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.source
            .read_at(offset, buf)
            .map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &SourceError) -> Error {
        self.bad(error.to_string())
    }

    /// Returns what the file is, and what to do, if it does not begin as a GGUF file that can be read.
    ///
    /// # Errors
    /// [`Error::BadFile`] if it cannot be read.
    pub fn kind(&self) -> Result<Option<String>> {
        let mut head = vec![0; (self.bytes() as usize).min(HEAD_BYTES)];
        self.read(0, &mut head)?;
        Ok(file_kind::describe(&head))
    }

    /// Returns an error about this model: it is not what it should be.
    pub fn bad(&self, reason: String) -> Error {
        Error::BadFile {
            path: self.path(),
            reason,
        }
    }

    /// Returns an error about this model: the canister would refuse it.
    pub(crate) fn refused(&self, source: interface::Error) -> Error {
        Error::Model {
            path: self.path(),
            source,
        }
    }

    fn path(&self) -> PathBuf {
        self.paths.first().cloned().unwrap_or_default()
    }
}

fn open(path: &Path) -> Result<FileSource> {
    if path.is_dir() {
        return Err(Error::BadFile {
            path: path.into(),
            reason: "this is a folder: give a GGUF file in it".into(),
        });
    }
    FileSource::open(path).map_err(Error::file(path))
}

/// Returns the files of a split model, from the name of the first: name-00001-of-00003.gguf.
fn siblings(first: &Path, count: u64) -> Result<Vec<PathBuf>> {
    let name = first.file_name().unwrap_or_default().to_string_lossy();
    let Some(stem) = name.strip_suffix(&format!("-00001-of-{count:05}.gguf")) else {
        return Err(Error::BadFile {
            path: first.into(),
            reason: format!(
                "this is one of the {count} parts of a split model: give the first one \
                 (…-00001-of-{count:05}.gguf), or all of them in order"
            ),
        });
    };
    let path = |n| first.with_file_name(format!("{stem}-{n:05}-of-{count:05}.gguf"));
    let paths: Vec<PathBuf> = (1..=count).map(path).collect();
    match paths.iter().find(|path| !path.exists()) {
        None => Ok(paths),
        Some(missing) => Err(Error::BadFile {
            path: first.into(),
            reason: format!(
                "this is the first of the {count} parts of a split model, and {} is missing: download \
                 all parts into one folder",
                missing.display()
            ),
        }),
    }
}

/// Returns a file's name without the number of the part.
fn whole_name(first: &Path, parts: bool) -> Result<String> {
    let name = first.file_name().ok_or_else(|| Error::BadFile {
        path: first.into(),
        reason: "this is not a file".into(),
    })?;
    let name = name.to_string_lossy().into_owned();
    if !parts {
        return Ok(name);
    }
    if let Some((stem, _)) = name.split_once("-00001-of-") {
        return Ok(format!("{stem}.gguf"));
    }
    // model.gguf.001, model.gguf.part1, model.gguf.aa
    Ok(match name.find(".gguf.") {
        Some(at) => name[..at + 5].to_string(),
        None => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_become_the_name_of_the_whole() {
        for (name, whole) in [
            ("m-00001-of-00003.gguf", "m.gguf"),
            ("m.gguf.part1", "m.gguf"),
            ("m.gguf.aa", "m.gguf"),
            ("xaa", "xaa"),
        ] {
            assert_eq!(whole_name(Path::new(name), true).unwrap(), whole);
        }
        assert_eq!(whole_name(Path::new("a/m.gguf"), false).unwrap(), "m.gguf");
    }

    #[test]
    fn files_cut_by_size_are_one_model() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..200).collect();
        let paths: Vec<PathBuf> = bytes
            .chunks(90)
            .enumerate()
            .map(|(n, chunk)| {
                let path = folder.path().join(format!("m.gguf.{n:03}"));
                std::fs::write(&path, chunk).unwrap();
                path
            })
            .collect();
        let model = ModelFile::open(&paths).unwrap();
        assert_eq!((model.name.as_str(), model.bytes()), ("m.gguf", 200));
        let mut read = vec![0; 200];
        model.read(0, &mut read).unwrap();
        assert_eq!(read, bytes);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let missing = ModelFile::open(&["nowhere.gguf".into()]);
        assert!(matches!(missing, Err(Error::File { .. })), "{missing:?}");
        assert!(ModelFile::open(&[]).is_err());
    }
}

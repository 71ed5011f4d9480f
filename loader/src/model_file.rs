//! A model on this machine: one file, the files of a split model, or a name this project knows.

use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weights::gguf::source::{FileSource, SourceError};
use weights::gguf::split::{self, Joined, Merged};
use weights::{ByteSource, GgufFile};

/// A model that this project knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub name: &'static str,
    pub file: &'static str,
    /// Lower-case hexadecimal.
    pub sha256: &'static str,
    pub bytes: u64,
    pub about: &'static str,
}

/// The models known by name; scripts/fetch-model gets them.
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

/// Where scripts/fetch-model keeps models.
pub fn cache() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    Some(cache.or_else(home)?.join("llm-canister/models"))
}

/// A model's bytes, wherever they are.
pub type Source = Arc<dyn ByteSource + Send + Sync>;

/// A model that can be uploaded.
#[derive(Clone)]
pub struct ModelFile {
    /// What it is called in the canister.
    pub name: String,
    /// The files it was opened from.
    pub paths: Vec<PathBuf>,
    /// What its SHA-256 has to be, of a known model.
    pub sha256: Option<&'static str>,
    source: Source,
}

impl std::fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.source.len())
    }
}

impl ModelFile {
    /// Opens a model: a file; the first of a split model's files (the others are found by their
    /// names); all of its files in order, split as GGUF or cut by size; or a known name.
    pub fn open(what: &[PathBuf]) -> Result<Self> {
        let [first, others @ ..] = what else {
            return Err(Error::Unsupported("which model file?".into()));
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
            // What is no GGUF file at all the canister refuses.
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
        // A single file is joined of one part.
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
                "{} is not in {}: scripts/fetch-model {} gets it",
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

    /// Its bytes.
    pub fn source(&self) -> &(dyn ByteSource + Send + Sync) {
        self.source.as_ref()
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.source.len()
    }

    /// Reads bytes.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.source
            .read_at(offset, buf)
            .map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &SourceError) -> Error {
        self.bad(error.to_string())
    }

    /// An error about this model.
    pub fn bad(&self, reason: String) -> Error {
        Error::BadFile {
            path: self.paths.first().cloned().unwrap_or_default(),
            reason,
        }
    }
}

fn open(path: &Path) -> Result<FileSource> {
    FileSource::open(path).map_err(Error::file(path))
}

/// The files of a split model, from the name of the first: name-00001-of-00003.gguf.
fn siblings(first: &Path, count: u64) -> Result<Vec<PathBuf>> {
    let name = first.file_name().unwrap_or_default().to_string_lossy();
    let Some(stem) = name.strip_suffix(&format!("-00001-of-{count:05}.gguf")) else {
        return Err(Error::BadFile {
            path: first.into(),
            reason: format!(
                "it is one of {count} parts: give the first (…-00001-of-{count:05}.gguf) or all of them"
            ),
        });
    };
    let path = |n| first.with_file_name(format!("{stem}-{n:05}-of-{count:05}.gguf"));
    Ok((1..=count).map(path).collect())
}

/// A file's name without what says which part it is.
fn whole_name(first: &Path, parts: bool) -> Result<String> {
    let name = first.file_name().ok_or_else(|| Error::BadFile {
        path: first.into(),
        reason: "not a file".into(),
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

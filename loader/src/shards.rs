//! A model file in chunks: read in pieces, never as a whole.

use crate::Result;
use crate::model_file::ModelFile;
use interface::Manifest;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::path::Path;

/// Default size of a chunk (bytes): an ingress message has at most 2 MiB, with its envelope.
pub const DEFAULT_CHUNK_SIZE: u32 = interface::limits::CHUNK_BYTES;

/// A model file and its manifest.
#[derive(Clone, Debug)]
pub struct ShardedFile {
    model: ModelFile,
    manifest: Manifest,
}

impl ShardedFile {
    /// Reads a file once and hashes it; see [`Self::of`].
    ///
    /// # Errors
    /// Those of [`Self::of`], and of [`ModelFile::open`].
    pub fn open(path: &Path, chunk_size: u32, progress: impl FnMut(u64, u64)) -> Result<Self> {
        Self::of(ModelFile::open(&[path.into()])?, chunk_size, progress)
    }

    /// Reads a model once and hashes it. `progress` gets the bytes read so far and in all.
    ///
    /// # Errors
    /// [`crate::Error::BadFile`] if the file cannot be read or uploaded, if the size of a chunk is out of
    /// range, or if a known model has another SHA-256.
    pub fn of(
        model: ModelFile,
        chunk_size: u32,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        if chunk_size == 0 || chunk_size > interface::limits::MAX_CHUNK_BYTES {
            let most = interface::limits::MAX_CHUNK_BYTES;
            return Err(model.bad(format!(
                "expected chunks of 1 to {most} bytes, got {chunk_size}"
            )));
        }
        let size = model.bytes();
        let mut sha256 = Sha256::new();
        let mut checksums = Vec::new();
        let mut buffer = vec![0; chunk_size as usize];
        let mut done = 0;
        while done < size {
            let length = (size - done).min(u64::from(chunk_size)) as usize;
            let chunk = &mut buffer[..length];
            model.read(done, chunk)?;
            sha256.update(&*chunk);
            checksums.push(interface::checksum(chunk));
            done += length as u64;
            progress(done, size);
        }
        let manifest = Manifest {
            name: model.name.clone(),
            size,
            chunk_size,
            sha256: ByteBuf::from(sha256.finalize().to_vec()),
            checksums,
        };
        manifest
            .validate()
            .map_err(|error| model.bad(error.to_string()))?;
        if let Some(known) = model.sha256.filter(|k| *k != hex::encode(&manifest.sha256)) {
            return Err(model.bad(format!(
                "expected SHA-256 {known}, got {}: fetch the file again",
                hex::encode(&manifest.sha256)
            )));
        }
        Ok(Self { model, manifest })
    }

    /// Returns what the upload announces.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn range(&self, index: u32) -> Range<u64> {
        let m = &self.manifest;
        interface::chunk_range(m.size, m.chunk_size, index).unwrap_or(m.size..m.size)
    }

    /// Returns the size of chunk `index` (bytes); 0 past the end.
    pub fn chunk_len(&self, index: u32) -> u64 {
        let range = self.range(index);
        range.end - range.start
    }

    /// Reads chunk `index`.
    ///
    /// # Errors
    /// [`crate::Error::BadFile`] if the file has changed since it was hashed.
    pub fn chunk(&self, index: u32) -> Result<Vec<u8>> {
        let range = self.range(index);
        let mut data = vec![0; (range.end - range.start) as usize];
        let read = self.model.read(range.start, &mut data);
        let same = read.is_ok()
            && self.manifest.checksums.get(index as usize) == Some(&interface::checksum(&data));
        if !same {
            return Err(self
                .model
                .bad("the file changed during the upload: start again".into()));
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use std::path::PathBuf;

    fn example(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn chunks_make_up_the_file() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * 7) as u8).collect();
        let (_folder, path) = example(&bytes);
        let mut last = (0, 0);
        let file = ShardedFile::open(&path, 300, |done, total| last = (done, total)).unwrap();
        assert_eq!(last, (1000, 1000));
        let manifest = file.manifest();
        assert_eq!(
            (manifest.name.as_str(), manifest.size),
            ("model.gguf", 1000)
        );
        assert_eq!(
            manifest.sha256.as_slice(),
            Sha256::digest(&bytes).as_slice()
        );
        assert_eq!(manifest.checksums.len(), 4);
        let joined: Vec<u8> = (0..4).flat_map(|i| file.chunk(i).unwrap()).collect();
        assert_eq!(joined, bytes);
        assert_eq!((file.chunk_len(3), file.chunk_len(4)), (100, 0));
    }

    #[test]
    fn a_file_that_changes_is_noticed() {
        let (_folder, path) = example(&[1; 100]);
        let file = ShardedFile::open(&path, 50, |_, _| ()).unwrap();
        std::fs::write(&path, [2; 100]).unwrap();
        assert!(matches!(file.chunk(0), Err(Error::BadFile { .. })));
        std::fs::write(&path, [1; 60]).unwrap();
        assert!(matches!(file.chunk(1), Err(Error::BadFile { .. })));
        assert!(matches!(file.chunk(2), Err(Error::BadFile { .. })));
    }

    #[test]
    fn what_cannot_be_uploaded_is_refused() {
        let (folder, path) = example(&[]);
        assert!(matches!(
            ShardedFile::open(&path, 50, |_, _| ()),
            Err(Error::BadFile { .. })
        ));
        let (_folder, full) = example(&[1; 100]);
        assert!(matches!(
            ShardedFile::open(&full, 0, |_, _| ()),
            Err(Error::BadFile { .. })
        ));
        assert!(matches!(
            ShardedFile::open(&full, 3_000_000, |_, _| ()),
            Err(Error::BadFile { .. })
        ));
        let missing = folder.path().join("missing");
        assert!(matches!(
            ShardedFile::open(&missing, 50, |_, _| ()),
            Err(Error::File { .. })
        ));
    }
}

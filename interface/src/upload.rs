//! Uploads of model files in chunks.

use crate::limits::{MAX_CHUNK_BYTES, MAX_CHUNKS};
use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Argument of `upload_begin`: the file that is going to be sent.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Name of the file, 1 to 200 bytes.
    pub name: String,
    /// Size of the file (bytes).
    pub size: u64,
    /// Size of each chunk but the last (bytes), at most [`MAX_CHUNK_BYTES`].
    pub chunk_size: u32,
    /// SHA-256 of the file, 32 bytes.
    pub sha256: ByteBuf,
    /// XXH64 (seed 0) of each chunk, in order.
    pub checksums: Vec<u64>,
}

/// Argument of `upload_chunk`. Its bytes are borrowed: neither side copies them.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Number of the chunk, from 0.
    pub index: u32,
    /// Its bytes.
    #[serde(borrow)]
    pub data: &'a serde_bytes::Bytes,
}

/// Chunk numbers from `start` up to, not including, `end`.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First chunk.
    pub start: u32,
    /// The chunk after the last one.
    pub end: u32,
}

/// Why a [`Manifest`] is refused.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("{0}")]
pub struct InvalidManifest(String);

/// Returns the checksum of a chunk: XXH64 with seed 0.
pub fn checksum(chunk: &[u8]) -> u64 {
    xxhash_rust::xxh64::xxh64(chunk, 0)
}

/// Returns how many chunks a file of `size` bytes has.
pub fn chunk_count(size: u64, chunk_size: u32) -> u64 {
    size.div_ceil(u64::from(chunk_size.max(1)))
}

/// Returns the bytes of chunk `index` of a file of `size` bytes; `None` past its end.
pub fn chunk_range(size: u64, chunk_size: u32, index: u32) -> Option<std::ops::Range<u64>> {
    let start = u64::from(index) * u64::from(chunk_size);
    (start < size).then(|| start..size.min(start + u64::from(chunk_size)))
}

impl Manifest {
    /// Checks that the numbers fit each other.
    ///
    /// # Errors
    /// [`InvalidManifest`] says which field is wrong, and what is allowed.
    pub fn validate(&self) -> Result<(), InvalidManifest> {
        let bad = |m: String| Err(InvalidManifest(m));
        if self.name.is_empty() || self.name.len() > 200 {
            return bad(format!(
                "name has {} bytes; expected 1 to 200",
                self.name.len()
            ));
        }
        if self.size == 0 {
            return bad("size is 0: the file is empty".into());
        }
        if self.chunk_size == 0 || self.chunk_size > MAX_CHUNK_BYTES {
            return bad(format!(
                "chunk_size is {}; expected 1 to {MAX_CHUNK_BYTES}",
                self.chunk_size
            ));
        }
        if self.sha256.len() != 32 {
            return bad(format!(
                "sha256 has {} bytes; expected 32",
                self.sha256.len()
            ));
        }
        let chunks = chunk_count(self.size, self.chunk_size);
        if chunks > MAX_CHUNKS as u64 {
            return bad(format!(
                "the file has {chunks} chunks, the maximum is {MAX_CHUNKS}: use larger chunks"
            ));
        }
        if chunks != self.checksums.len() as u64 {
            return bad(format!(
                "expected {chunks} checksums, got {}",
                self.checksums.len()
            ));
        }
        Ok(())
    }
}

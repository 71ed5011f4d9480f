//! The upload protocol: what an upload announces before its first chunk, and where chunks lie.

use crate::Error;
use std::ops::Range;

/// Largest chunk (bytes): with its envelope it stays below the 2 MiB of an ingress message.
pub const MAX_CHUNK_BYTES: u32 = 2_000_000;
/// Most chunks a file may have.
pub const MAX_CHUNKS: usize = 65_536;

/// The shards of a model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Name for people, 1 to 200 bytes.
    pub name: String,
    /// Bytes of the whole file.
    pub size: u64,
    /// Bytes of each chunk but the last.
    pub chunk_size: u32,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
    /// XXH64 (seed 0) of each chunk.
    pub checksums: Vec<u64>,
}

/// Returns the checksum of a chunk: XXH64 with seed 0, far cheaper than SHA-256.
///
/// ```
/// assert_eq!(weights::manifest::checksum(b""), 0xef46_db37_51d8_e999);
/// ```
pub fn checksum(chunk: &[u8]) -> u64 {
    xxhash_rust::xxh64::xxh64(chunk, 0)
}

/// Returns the bytes of chunk `index` of a file of `size` bytes; `None` past its end.
///
/// ```
/// use weights::manifest::chunk_range;
/// assert_eq!(chunk_range(25, 10, 2), Some(20..25));
/// assert_eq!(chunk_range(25, 10, 3), None);
/// ```
pub fn chunk_range(size: u64, chunk_size: u32, index: u32) -> Option<Range<u64>> {
    let start = u64::from(index) * u64::from(chunk_size);
    (start < size).then(|| start..size.min(start + u64::from(chunk_size)))
}

impl Manifest {
    /// Returns the number of chunks of a file of `size` bytes.
    pub fn chunk_count(size: u64, chunk_size: u32) -> u64 {
        size.div_ceil(u64::from(chunk_size.max(1)))
    }

    /// Checks that the numbers fit each other.
    ///
    /// # Errors
    /// [`Error::Malformed`], saying which number is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        let bad = |m: String| Err(Error::Malformed(m));
        if self.name.is_empty() || self.name.len() > 200 {
            return bad("the name must have 1 to 200 bytes".into());
        }
        if self.size == 0 {
            return bad("the size must be at least 1 byte".into());
        }
        if self.chunk_size == 0 || self.chunk_size > MAX_CHUNK_BYTES {
            return bad(format!("chunk_size must be 1 to {MAX_CHUNK_BYTES}"));
        }
        let chunks = Self::chunk_count(self.size, self.chunk_size);
        if chunks > MAX_CHUNKS as u64 {
            return bad(format!(
                "{chunks} chunks (the maximum is {MAX_CHUNKS}): use larger chunks"
            ));
        }
        if chunks != self.checksums.len() as u64 {
            return bad(format!(
                "expected {chunks} checksums, one for each chunk, got {}",
                self.checksums.len()
            ));
        }
        Ok(())
    }
}

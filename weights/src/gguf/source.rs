//! Where a model file's bytes come from: a file, a buffer, or a canister's stable memory.

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The range lies outside the source.
    #[error("bytes {offset}..{end} lie outside a file of {len} bytes")]
    OutOfRange {
        /// First byte that was asked for.
        offset: u64,
        /// End of the range.
        end: u64,
        /// Length of the source.
        len: u64,
    },
    /// The operating system refused.
    #[error("read failed: {0}")]
    Io(String),
}

/// Random access to the bytes of a model file.
pub trait ByteSource {
    /// Returns the length in bytes.
    fn len(&self) -> u64;
    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// [`SourceError::OutOfRange`] if the range does not lie inside.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), SourceError>;
    /// Returns `true` if there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Checks that `wanted` bytes from `offset` on lie within a source of `len` bytes.
///
/// # Errors
/// [`SourceError::OutOfRange`].
pub fn check_range(offset: u64, wanted: usize, len: u64) -> Result<(), SourceError> {
    let end = offset.saturating_add(wanted as u64);
    if end > len {
        return Err(SourceError::OutOfRange { offset, end, len });
    }
    Ok(())
}

impl ByteSource for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), SourceError> {
        check_range(offset, buf.len(), ByteSource::len(self))?;
        let start = offset as usize;
        buf.copy_from_slice(&self[start..start + buf.len()]);
        Ok(())
    }
}

impl ByteSource for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), SourceError> {
        self.as_slice().read_at(offset, buf)
    }
}

/// A file of the local file system.
#[cfg(unix)]
pub struct FileSource {
    file: std::fs::File,
    len: u64,
}

#[cfg(unix)]
impl FileSource {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: impl AsRef<std::path::Path>) -> std::io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

#[cfg(unix)]
impl ByteSource for FileSource {
    fn len(&self) -> u64 {
        self.len
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), SourceError> {
        use std::os::unix::fs::FileExt;
        check_range(offset, buf.len(), self.len)?;
        self.file
            .read_exact_at(buf, offset)
            .map_err(|e| SourceError::Io(e.to_string()))
    }
}

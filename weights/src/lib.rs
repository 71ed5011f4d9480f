//! Model files: reading GGUF ([`gguf`]), packing weights into the layout that the kernels read
//! ([`pack`]), the vector that packing and kernels are written with ([`simd`]), and the upload protocol
//! ([`manifest`]).
//!
//! Nothing here knows about canisters or stable memory: a file is a [`ByteSource`].
//!
//! A new block format is a row of the table in `gguf/dtype.rs` and a function in `gguf/dequant.rs`.

pub mod gguf;
pub mod manifest;
pub mod pack;
pub mod simd;

pub use gguf::{ByteSource, GgmlType, GgufFile, SourceError, TensorInfo, Value};
pub use manifest::Manifest;

/// Errors of reading a model file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not a well-formed GGUF file.
    #[error("not a well-formed GGUF file: {0}")]
    Malformed(String),
    /// The file is well formed, but this project does not run it.
    #[error("{0}")]
    Unsupported(String),
    /// The source could not deliver bytes.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl Error {
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}

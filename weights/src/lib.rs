//! Model files: reading GGUF from anything that can be read at an offset, the shard manifest of an
//! upload, resumable hashing, and packing weights into the layout the kernels read.
//!
//! Nothing here knows of canisters or stable memory: a file is a [`ByteSource`].

pub mod dequant;
pub mod dtype;
pub mod gguf;
pub mod hash;
pub mod manifest;
pub mod pack;
pub mod simd;
pub mod source;
pub mod split;

pub use dtype::GgmlType;
pub use gguf::{GgufFile, TensorInfo, Value};
pub use manifest::Manifest;
pub use source::{ByteSource, SourceError};

/// What can be wrong with a model file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not a well-formed GGUF file.
    #[error("not a well-formed GGUF file: {0}")]
    Malformed(String),
    /// Well formed, but something in it is outside what this project runs.
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

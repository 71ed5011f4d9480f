//! GGUF v2 and v3, read from a [`ByteSource`] without holding the file.
//!
//! ```text
//! magic "GGUF" | version u32 | tensor count u64 | metadata count u64
//! metadata:  key string | type u32 | value           (string = length u64 + bytes)
//! tensors:   name string | dims u32 | dim u64 × dims (columns first) | type u32 | offset u64
//! padding to general.alignment (default 32)
//! tensor data; a tensor's offset counts from here and is aligned
//! ```
//! Source: the GGUF specification, `docs/gguf.md` in the ggml repository. Every length is checked
//! against the bytes that are there before anything is allocated, so a crafted file costs at most one
//! pass over its header.

mod cursor;
pub mod dequant;
mod dtype;
mod file;
pub mod sha256;
pub mod source;
pub mod split;

pub use dtype::GgmlType;
pub use file::{ArrayRef, GgufFile, MAX_HEADER_BYTES, TensorInfo, Value};
pub use source::{ByteSource, SourceError};

//! Limits and defaults that the canister and its clients share.

/// The alias of callers who name no model.
pub const DEFAULT_ALIAS: &str = "default";

/// Most instructions of an update message on the IC (dfinity/ic, rs/config/src/subnet_config.rs).
pub const MESSAGE_INSTRUCTIONS: u64 = 40_000_000_000;

/// Default instruction budget of a slice: two such messages run in one consensus round.
pub const SLICE_INSTRUCTIONS: u64 = 1_900_000_000;

/// Longest answer of callers who name no limit (tokens).
pub const MAX_TOKENS: u32 = 256;

/// Default limit of the heap of a canister (`wasm_memory_limit`, bytes).
pub const HEAP_BYTES: u64 = 3 << 30;

/// Largest heap that a canister can have (bytes).
pub const MAX_HEAP_BYTES: u64 = 4 << 30;

/// Largest chunk of an upload (bytes): with its envelope it stays below the 2 MiB of an ingress
/// message.
pub const MAX_CHUNK_BYTES: u32 = 2_000_000;

/// Size of a chunk unless the client chooses another (bytes).
pub const CHUNK_BYTES: u32 = 1_900_000;

/// Most chunks that a file may have.
pub const MAX_CHUNKS: usize = 65_536;

/// Longest Candid argument of every method but `upload_chunk` (bytes).
pub const MAX_ARGUMENT_BYTES: usize = 1_300_000;

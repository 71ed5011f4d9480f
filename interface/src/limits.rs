//! Limits and defaults that the canister and its clients share.

/// The alias of callers who name no model.
pub const DEFAULT_ALIAS: &str = "default";

/// Largest number of instructions of an update message on the IC (dfinity/ic, rs/config).
pub const MESSAGE_INSTRUCTIONS: u64 = 40_000_000_000;

/// Default instruction budget of a slice: two such messages run in one consensus round.
pub const SLICE_INSTRUCTIONS: u64 = 1_900_000_000;

/// Longest answer of callers who ask for none (tokens).
pub const MAX_TOKENS: u32 = 256;

/// Default limit of the heap of a canister (`wasm_memory_limit`, bytes).
pub const HEAP_BYTES: u64 = 3 << 30;

/// Largest heap that a canister can have (bytes).
pub const MAX_HEAP_BYTES: u64 = 4 << 30;

/// Largest chunk of an upload (bytes): with its envelope it stays below the 2 MiB of an ingress
/// message.
pub const MAX_CHUNK_BYTES: u32 = 2_000_000;

/// Most chunks a file may have.
pub const MAX_CHUNKS: usize = 65_536;

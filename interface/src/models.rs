//! Models, and the aliases under which callers ask for them.

use crate::Error;
use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fmt;

/// What the canister is doing with a model.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is no model.
    Empty,
    /// Chunks are being received.
    Uploading,
    /// The canister computes the SHA-256 of the stored file.
    Verifying,
    /// The canister packs the weights for its kernels.
    Preparing,
    /// The canister fills the heap from stable memory.
    Restoring,
    /// The model is in the heap and answers.
    Ready,
    /// The upload failed, or the model does not fit the heap beside others.
    Failed,
    /// Verified and packed, but not in the heap, because no alias means it.
    Stored,
}

impl Phase {
    /// Returns the name of the variant, as in `llm.did`.
    pub fn name(self) -> String {
        let name = match self {
            Self::Empty => "Empty",
            Self::Uploading => "Uploading",
            Self::Verifying => "Verifying",
            Self::Preparing => "Preparing",
            Self::Restoring => "Restoring",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
            Self::Stored => "Stored",
        };
        name.into()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(&self.name())
    }
}

/// What the manifest said of an uploaded file.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct FileInfo {
    /// Name of the file.
    pub name: String,
    /// Size of the file (bytes).
    pub size: u64,
    /// Size of each chunk but the last (bytes).
    pub chunk_size: u32,
    /// SHA-256 of the file, 32 bytes.
    pub sha256: ByteBuf,
}

/// What is known of a model once its header was read.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelInfo {
    /// `general.architecture` of the GGUF file.
    pub architecture: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Number of layers.
    pub layers: u32,
    /// Longest context that the model was made for (tokens).
    pub context_length: u32,
    /// Size of the vocabulary (tokens).
    pub vocabulary: u32,
    /// Size of the packed weights (bytes).
    pub packed_bytes: u64,
    /// Size of one KV block: keys and values of 64 positions (bytes).
    pub block_bytes: u64,
    /// Instructions spent on verifying this upload.
    pub verify_instructions: u64,
    /// Instructions spent on preparing this upload.
    pub prepare_instructions: u64,
    /// Instructions spent on restoring after the last upgrade.
    pub restore_instructions: u64,
}

/// Phase and progress of a model.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelStatus {
    /// What the canister is doing with it.
    pub phase: Phase,
    /// Work done in this phase (bytes).
    pub done: u64,
    /// Work of this phase in all (bytes).
    pub total: u64,
    /// Why it failed.
    pub error: Option<Error>,
    /// What its manifest said; `None` if there is no model.
    pub manifest: Option<FileInfo>,
    /// What its header says; `None` before that was read.
    pub info: Option<ModelInfo>,
}

/// A model in the canister.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    /// SHA-256 of its file, 32 bytes.
    pub sha256: ByteBuf,
    /// Phase and progress.
    pub status: ModelStatus,
    /// The aliases that mean it now.
    pub aliases: Vec<String>,
    /// Generations that wait for it or run on it.
    pub generations: u32,
    /// Stable memory of its slot (bytes).
    pub stable_bytes: u64,
    /// Size of its weights in the heap (bytes); 0 if it is not loaded.
    pub heap_bytes: u64,
    /// Blocks of its KV cache in use.
    pub kv_blocks: u32,
}

/// A name under which callers ask for a model.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct AliasEntry {
    /// The name.
    pub alias: String,
    /// SHA-256 of the model that it means.
    pub model_sha256: ByteBuf,
    /// SHA-256 of the model that it will mean as soon as that is ready.
    pub next_sha256: Option<ByteBuf>,
    /// SHA-256 of the models that it meant before, latest last.
    pub previous_sha256: Vec<ByteBuf>,
}

/// Reply of `models`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Models {
    /// All models.
    pub models: Vec<ModelEntry>,
    /// All aliases.
    pub aliases: Vec<AliasEntry>,
    /// How many more models can be stored.
    pub free_slots: u32,
}

/// Argument of `alias_set`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct AliasSetArgs {
    /// The alias.
    pub alias: String,
    /// A model: an alias, its file's name, or at least 8 hexadecimal digits of its SHA-256.
    pub model: String,
}

/// Argument of `model_delete`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelDeleteArgs {
    /// A model, named as in [`AliasSetArgs`].
    pub model: String,
    /// Deletes it also if aliases mean it or generations run on it.
    pub force: bool,
}

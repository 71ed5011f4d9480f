//! Models and the names under which callers ask for them.

use crate::Error;
use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Empty,
    Uploading,
    Verifying,
    Preparing,
    Restoring,
    Ready,
    Failed,
    Stored,
}

impl Phase {
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    pub name: String,
    pub size: u64,
    pub chunk_size: u32,
    pub sha256: ByteBuf,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelInfo {
    pub architecture: String,
    pub parameters: u64,
    pub layers: u32,
    pub context_length: u32,
    pub vocabulary: u32,
    pub packed_bytes: u64,
    pub block_bytes: u64,
    pub verify_instructions: u64,
    pub prepare_instructions: u64,
    pub restore_instructions: u64,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelStatus {
    pub phase: Phase,
    pub done: u64,
    pub total: u64,
    pub error: Option<Error>,
    pub manifest: Option<FileInfo>,
    pub info: Option<ModelInfo>,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    pub sha256: ByteBuf,
    pub status: ModelStatus,
    pub aliases: Vec<String>,
    pub generations: u32,
    pub stable_bytes: u64,
    pub heap_bytes: u64,
    pub kv_blocks: u32,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AliasEntry {
    pub alias: String,
    pub model_sha256: ByteBuf,
    pub next_sha256: Option<ByteBuf>,
    pub previous_sha256: Vec<ByteBuf>,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Models {
    pub models: Vec<ModelEntry>,
    pub aliases: Vec<AliasEntry>,
    pub free_slots: u32,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct AliasSetArgs {
    pub alias: String,
    pub model: String,
}

#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelDeleteArgs {
    pub model: String,
    pub force: bool,
}

//! Types of the replica's public interface.

use candid::Principal;
use std::path::PathBuf;

/// How a replica is set up.
#[derive(Clone, Debug, Default)]
pub struct ReplicaConfig {
    /// No cycles are charged.
    pub free: bool,
    /// Seed of `raw_rand`: the same seed and the same messages give the same run.
    pub seed: u64,
    /// Time of the first round, in nanoseconds since 1970; the wall clock when absent.
    pub start_time_ns: Option<u64>,
    /// Where the state is kept; in memory only when absent.
    pub state_dir: Option<PathBuf>,
    /// Bytes of storage above which growth reserves cycles, and all that there are, for tests; as on
    /// the IC when absent.
    pub storage: Option<(u64, u64)>,
}

/// A signed and checked call from outside.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Ingress {
    /// Who calls.
    pub sender: Principal,
    /// The callee; `Principal::management_canister()` for the management canister.
    pub canister_id: Principal,
    /// Method to call.
    pub method_name: String,
    /// Candid argument.
    pub arg: Vec<u8>,
    /// When the message expires, in nanoseconds since 1970.
    pub ingress_expiry_ns: u64,
    /// Hash of the request's content, unique per message.
    pub request_id: [u8; 32],
    /// Size of the whole signed request, which is charged for.
    pub wire_bytes: usize,
}

/// Who sent a message to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Owner {
    /// Who called.
    pub sender: Principal,
    /// Who was called.
    pub receiver: Principal,
}

/// Why a call was not answered with a reply.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reject {
    /// Reject code of the interface specification, 1 to 6.
    pub code: u32,
    /// Text for people.
    pub message: String,
    /// The replica's own code, such as `IC0503`.
    pub error_code: Option<String>,
}

/// Where an ingress message stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum IngressStatus {
    /// Never seen, or forgotten.
    Unknown,
    /// Accepted, not yet executed.
    Received,
    /// Executing, or waiting for calls it made.
    Processing,
    /// Answered.
    Replied(Vec<u8>),
    /// Refused or failed.
    Rejected(Reject),
    /// Answered long ago: the answer is gone.
    Done,
}

/// The answer of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryResult {
    /// The reply's bytes.
    Replied(Vec<u8>),
    /// Refused or failed.
    Rejected(Reject),
}

/// What the certified state tree and the gateway need to know of a canister.
#[derive(Clone, Debug, Default)]
pub struct CanisterInfo {
    /// Controllers, ascending.
    pub controllers: Vec<Principal>,
    /// SHA-256 of the module; none when nothing is installed.
    pub module_hash: Option<[u8; 32]>,
    /// Certified data, at most 32 bytes.
    pub certified_data: Vec<u8>,
    /// Custom sections `icp:public NAME`, without the prefix.
    pub public_metadata: Vec<(String, Vec<u8>)>,
    /// Custom sections `icp:private NAME`, without the prefix: controllers only.
    pub private_metadata: Vec<(String, Vec<u8>)>,
}

/// A replica cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The Wasm engine refuses this machine or configuration.
    #[error("cannot set up the Wasm engine: {0}")]
    Engine(String),
    /// The state directory cannot be used.
    #[error("cannot use the state directory: {0}")]
    State(#[from] std::io::Error),
}

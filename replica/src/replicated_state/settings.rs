//! What controllers can set.

use candid::Principal;
use serde::{Deserialize, Serialize};

/// Default heap limit, in bytes: 3 GiB.
pub const DEFAULT_HEAP_LIMIT: u64 = 3 << 30;
/// Default freezing threshold, in seconds: 30 days.
pub const DEFAULT_FREEZING_THRESHOLD: u64 = 2_592_000;
/// Default limit of reserved cycles.
pub const DEFAULT_RESERVED_LIMIT: u128 = 5_000_000_000_000;

/// Who may read a canister's log or its snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readers {
    /// Only controllers.
    #[default]
    Controllers,
    /// Everybody.
    Public,
    /// Controllers and these.
    Allowed(Vec<Principal>),
}

impl Readers {
    /// True when a principal that is not a controller may read.
    pub fn include(&self, who: &Principal) -> bool {
        match self {
            Readers::Controllers => false,
            Readers::Public => true,
            Readers::Allowed(allowed) => allowed.contains(who),
        }
    }
}

/// What controllers can set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Who may manage the canister.
    pub controllers: Vec<Principal>,
    /// Percents of a core that are reserved.
    pub compute_allocation: u64,
    /// Bytes of memory that are reserved; 0 for none.
    pub memory_allocation: u64,
    /// Seconds that the canister must be able to pay for.
    pub freezing_threshold: u64,
    /// Most cycles that may be put aside for storage.
    pub reserved_cycles_limit: u128,
    /// Who may read the log.
    pub log_visibility: Readers,
    /// Who may read snapshots.
    pub snapshot_visibility: Readers,
    /// Most bytes of heap after an update.
    pub wasm_memory_limit: Option<u64>,
    /// Bytes left below the limit at which the low-memory hook runs.
    pub wasm_memory_threshold: u64,
    /// Environment variables: name and value.
    pub environment_variables: Vec<(String, String)>,
}

impl Settings {
    /// The settings of a new canister.
    pub fn new(controller: Principal) -> Settings {
        Settings {
            controllers: vec![controller],
            compute_allocation: 0,
            memory_allocation: 0,
            freezing_threshold: DEFAULT_FREEZING_THRESHOLD,
            reserved_cycles_limit: DEFAULT_RESERVED_LIMIT,
            log_visibility: Readers::Controllers,
            snapshot_visibility: Readers::Controllers,
            wasm_memory_limit: Some(DEFAULT_HEAP_LIMIT),
            wasm_memory_threshold: 0,
            environment_variables: Vec::new(),
        }
    }
}

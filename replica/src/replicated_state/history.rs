//! A canister's history: who changed its code and controllers, and when.

use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Changes that are kept.
const KEPT: usize = 20;

/// What a change counts as, and each principal in it.
const CHANGE_BYTES: u64 = 256;
const PRINCIPAL_BYTES: u64 = 30;

/// Who made a change.
#[derive(CandidType, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(non_camel_case_types)]
pub enum ChangeOrigin {
    from_user {
        user_id: Principal,
    },
    from_canister {
        canister_id: Principal,
        canister_version: Option<u64>,
    },
}

/// How code was installed.
#[derive(CandidType, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(non_camel_case_types)]
pub enum DeploymentMode {
    install,
    reinstall,
    upgrade,
}

/// Where a snapshot came from.
#[derive(CandidType, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(non_camel_case_types)]
pub enum SnapshotSource {
    taken_from_canister,
    metadata_upload,
}

/// What was changed.
#[derive(CandidType, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(non_camel_case_types)]
pub enum ChangeDetails {
    creation {
        controllers: Vec<Principal>,
    },
    code_uninstall,
    code_deployment {
        mode: DeploymentMode,
        #[serde(with = "serde_bytes")]
        module_hash: Vec<u8>,
    },
    load_snapshot {
        canister_version: u64,
        #[serde(with = "serde_bytes")]
        snapshot_id: Vec<u8>,
        taken_at_timestamp: u64,
        source: SnapshotSource,
        from_canister_id: Option<Principal>,
    },
    controllers_change {
        controllers: Vec<Principal>,
    },
}

/// A change.
#[derive(CandidType, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub timestamp_nanos: u64,
    pub canister_version: u64,
    pub origin: ChangeOrigin,
    pub details: ChangeDetails,
}

/// The latest changes, oldest first, and how many there were in all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    total: u64,
    recent: VecDeque<Change>,
}

impl History {
    /// Adds a change.
    pub fn push(&mut self, change: Change) {
        self.total += 1;
        self.recent.push_back(change);
        if self.recent.len() > KEPT {
            self.recent.pop_front();
        }
    }

    /// Bytes that are paid for.
    pub fn bytes(&self) -> u64 {
        let controllers = |change: &Change| match &change.details {
            ChangeDetails::creation { controllers }
            | ChangeDetails::controllers_change { controllers } => controllers.len() as u64,
            _ => 0,
        };
        self.recent
            .iter()
            .map(|change| CHANGE_BYTES + PRINCIPAL_BYTES * controllers(change))
            .sum()
    }

    /// Number of all changes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latest changes that are kept, at most `count`, oldest first.
    pub fn latest(&self, count: usize) -> Vec<Change> {
        let skipped = self.recent.len().saturating_sub(count);
        self.recent.iter().skip(skipped).cloned().collect()
    }
}

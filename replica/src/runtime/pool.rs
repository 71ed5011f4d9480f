//! Instances that wait for queries.

use super::instance::Instance;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Idle instances that a canister keeps for queries.
const MAX_IDLE: usize = 8;

/// Instances that wait for queries.
#[derive(Default)]
pub struct Pool(Mutex<Vec<Instance>>);

impl Pool {
    /// Takes an instance, if one waits.
    pub fn take(&self) -> Option<Instance> {
        self.idle().pop()
    }

    /// Keeps an instance for the next query, unless enough wait already.
    pub fn put(&self, instance: Instance) {
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(instance);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Instance>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What is known of each principal: its role, what it was served, and what it has used of its quota.

use crate::durable::Account;
use crate::memory::{self, Region};
use candid::Principal;
use ic_stable_structures::StableBTreeMap;

/// Nanoseconds of a day.
pub const DAY: u64 = 86_400_000_000_000;

/// All accounts.
pub struct Accounts {
    stored: StableBTreeMap<Principal, Account, Region>,
}

impl Accounts {
    /// Opens what stable memory holds.
    pub fn open() -> Self {
        Self {
            stored: StableBTreeMap::init(memory::accounts()),
        }
    }

    /// An account; an empty one of a principal that was never seen.
    pub fn get(&self, principal: &Principal) -> Account {
        self.stored.get(principal).unwrap_or_default()
    }

    /// An account as it is at a time (nanoseconds since 1970): another day begins with nothing used.
    pub fn today(&self, principal: &Principal, time: u64) -> Account {
        let mut account = self.get(principal);
        if account.day != time / DAY {
            account.day = time / DAY;
            account.tokens = account.in_flight;
        }
        account
    }

    /// Puts an account back.
    pub fn put(&mut self, principal: &Principal, account: Account) {
        self.stored.insert(*principal, account);
    }
}

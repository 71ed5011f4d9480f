//! Accounts: the role of each principal, what it was served, and what it has used of its quota.

use crate::stable::records::Account;
use crate::stable::regions::{self, Region};
use candid::Principal;
use ic_stable_structures::StableBTreeMap;

/// Nanoseconds in a day.
pub(crate) const DAY: u64 = 86_400_000_000_000;

/// All accounts.
pub(crate) struct Accounts {
    stored: StableBTreeMap<Principal, Account, Region>,
}

impl Accounts {
    /// Opens what stable memory holds.
    pub(crate) fn open() -> Self {
        Self {
            stored: StableBTreeMap::init(regions::accounts()),
        }
    }

    /// Returns the account of a principal; an empty one if it was never seen.
    pub(crate) fn get(&self, principal: &Principal) -> Account {
        self.stored.get(principal).unwrap_or_default()
    }

    /// Returns the account as it is at `time` (nanoseconds since 1970). Each day (UTC) begins with
    /// nothing used but what is reserved.
    pub(crate) fn today(&self, principal: &Principal, time: u64) -> Account {
        let mut account = self.get(principal);
        if account.day != time / DAY {
            account.day = time / DAY;
            account.tokens = account.in_flight;
        }
        account
    }

    /// Puts an account back.
    pub(crate) fn put(&mut self, principal: &Principal, account: Account) {
        self.stored.insert(*principal, account);
    }
}

//! Whose turn it is: the caller that has been served least, then of its generations the one that has
//! been served least, both counted in instructions.
//!
//! A newcomer begins where the least served of the others is, so that nobody saves up shares and
//! nobody has to catch up. A round that used nearly all of its budget counts as a whole one: callers
//! with equal work then take turns in one order, and nobody's turn slips.

use crate::accounts::Accounts;
use crate::durable::Queued;
use crate::memory::{self, Region};
use candid::Principal;
use ic_stable_structures::StableBTreeMap;
use std::collections::BTreeMap;

/// A caller with generations that have not ended.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    served: u64,
    last_round: u64,
    generations: u32,
}

/// Whose share a round counts to, and what it was before.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    owner: Principal,
    weight: u32,
    /// Instructions that counted as served to the owner.
    pub share: u64,
}

/// Generations that have not ended. Stable memory has them at the end of every message.
pub struct Queue {
    stored: StableBTreeMap<u64, Queued, Region>,
    open: BTreeMap<u64, Queued>,
    /// The shelf of each one's model.
    shelves: BTreeMap<u64, u8>,
    callers: BTreeMap<Principal, Share>,
}

impl Queue {
    /// Opens what stable memory holds. `shelf` tells the shelf of a generation's model.
    pub fn open(accounts: &Accounts, shelf: impl Fn(u64) -> Option<u8>) -> Self {
        let stored: StableBTreeMap<u64, Queued, Region> = StableBTreeMap::init(memory::queue());
        let open: BTreeMap<u64, Queued> = stored.iter().map(|e| e.into_pair()).collect();
        let mut callers: BTreeMap<Principal, Share> = BTreeMap::new();
        for q in open.values() {
            let share = callers.entry(q.owner).or_insert_with(|| Share {
                served: accounts.get(&q.owner).served,
                ..Share::default()
            });
            share.generations += 1;
            share.last_round = share.last_round.max(q.last_round);
        }
        let shelves = open.keys().filter_map(|id| Some((*id, shelf(*id)?)));
        Self {
            stored,
            shelves: shelves.collect(),
            open,
            callers,
        }
    }

    /// Generations that have not ended.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Callers who have any.
    pub fn callers(&self) -> usize {
        self.callers.len()
    }

    /// Whether this generation has not ended.
    pub fn contains(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    fn put(&mut self, id: u64, q: Queued) {
        self.stored.insert(id, q);
        self.open.insert(id, q);
    }

    /// The shelf of a generation's model.
    pub fn shelf(&self, id: u64) -> Option<u8> {
        self.shelves.get(&id).copied()
    }

    /// The generations on a shelf's model.
    pub fn ids_on(&self, shelf: u8) -> Vec<u64> {
        let on = self.shelves.iter().filter(|(_, s)| **s == shelf);
        on.map(|(id, _)| *id).collect()
    }

    /// How many there are.
    pub fn on(&self, shelf: u8) -> u32 {
        self.shelves.values().filter(|s| **s == shelf).count() as u32
    }

    /// Whether there are any.
    pub fn runs_on(&self, shelf: u8) -> bool {
        self.shelves.values().any(|s| *s == shelf)
    }

    /// A generation comes in. `now`: what the caller served last had been served.
    pub fn add(
        &mut self,
        id: u64,
        shelf: u8,
        (owner, weight): (Principal, u32),
        now: u64,
        accounts: &mut Accounts,
    ) {
        let least = self.callers.values().map(|s| s.served).min();
        let share = self.callers.entry(owner).or_default();
        if share.generations == 0 {
            let mut account = accounts.get(&owner);
            account.served = account.served.max(least.unwrap_or(now));
            share.served = account.served;
            accounts.put(&owner, account);
        }
        share.generations += 1;
        let own = self.open.values().filter(|q| q.owner == owner);
        let q = Queued {
            owner,
            served: own.map(|q| q.served).min().unwrap_or(0),
            last_round: 0,
            weight: weight.max(1),
            lost: 0,
        };
        self.put(id, q);
        self.shelves.insert(id, shelf);
    }

    /// A generation has ended.
    pub fn remove(&mut self, id: u64) {
        self.shelves.remove(&id);
        self.stored.remove(&id);
        let Some(q) = self.open.remove(&id) else {
            return;
        };
        if let Some(share) = self.callers.get_mut(&q.owner) {
            share.generations -= 1;
            if share.generations == 0 {
                self.callers.remove(&q.owner);
            }
        }
    }

    /// What a generation is ordered by: least first.
    fn rank(&self, id: u64, q: &Queued) -> (u64, u64, Principal, u64, u64, u64) {
        let share = self.callers.get(&q.owner).copied().unwrap_or_default();
        (
            share.served,
            share.last_round,
            q.owner,
            q.served,
            q.last_round,
            id,
        )
    }

    /// The generation whose turn it is, of those whose model's shelf `can` run.
    pub fn next(&self, can: impl Fn(u8) -> bool) -> Option<u64> {
        let runs = |id: &u64| self.shelf(*id).is_some_and(&can);
        let open = self.open.iter().filter(|(id, _)| runs(id));
        let first = open.min_by_key(|(id, q)| self.rank(**id, q));
        first.map(|(id, _)| *id)
    }

    /// What is to be charged when a generation's round, which is about to begin, is over.
    pub fn next_charge(&self, id: u64) -> Option<Charge> {
        let q = self.open.get(&id)?;
        Some(Charge {
            owner: q.owner,
            weight: q.weight,
            share: self.callers.get(&q.owner)?.served,
        })
    }

    /// A round is over: `used` instructions of `budget`. The generation may have ended in it.
    pub fn charge(
        &mut self,
        id: u64,
        charge: &Charge,
        (used, budget): (u64, u64),
        round: u64,
        accounts: &mut Accounts,
    ) {
        let whole = used > budget / 10 * 9;
        let cost = if whole { used.max(budget) } else { used };
        if let Some(mut q) = self.open.get(&id).copied() {
            q.served += cost;
            q.last_round = round;
            self.put(id, q);
        }
        let served = charge.share + cost / u64::from(charge.weight);
        if let Some(share) = self.callers.get_mut(&charge.owner) {
            share.served = served;
            share.last_round = round;
        }
        let mut account = accounts.get(&charge.owner);
        account.served = served;
        accounts.put(&charge.owner, account);
    }

    /// A round of a generation did not end. Gives how many have not since it last got anywhere.
    pub fn lose(&mut self, id: u64) -> u32 {
        let Some(mut q) = self.open.get(&id).copied() else {
            return 0;
        };
        q.lost += 1;
        self.put(id, q);
        q.lost
    }

    /// A generation has got somewhere.
    pub fn advance(&mut self, id: u64) {
        if let Some(mut q) = self.open.get(&id).copied().filter(|q| q.lost > 0) {
            q.lost = 0;
            self.put(id, q);
        }
    }

    /// How many generations come before this one if nothing else happens.
    pub fn position(&self, id: u64) -> u32 {
        let Some(mine) = self.open.get(&id).map(|q| self.rank(id, q)) else {
            return 0;
        };
        let before = |(other, q): &(&u64, &Queued)| self.rank(**other, q) < mine;
        self.open.iter().filter(before).count() as u32
    }

    /// How many rounds come before a generation's first, if they all take as long as they may.
    pub fn rounds_before(&self, id: u64, budget: u64) -> u32 {
        let Some(q) = self.open.get(&id) else {
            return 0;
        };
        let share = self.callers.get(&q.owner).copied().unwrap_or_default();
        let before = |served: u64, mine: u64, cost: u64, first: bool| {
            (mine.saturating_sub(served)).div_ceil(cost.max(1)) + u64::from(first && served == mine)
        };
        let callers: u64 = self
            .callers
            .iter()
            .filter(|(owner, _)| **owner != q.owner)
            .map(|(owner, s)| {
                let weight = self.open.values().find(|o| o.owner == *owner);
                let cost = budget / u64::from(weight.map_or(1, |o| o.weight));
                let first = (s.last_round, *owner) < (share.last_round, q.owner);
                before(s.served, share.served, cost, first)
            })
            .sum();
        let own: u64 = self
            .open
            .iter()
            .filter(|(other, o)| o.owner == q.owner && **other != id)
            .map(|(other, o)| {
                let first = (o.last_round, *other) < (q.last_round, id);
                before(o.served, q.served, budget, first)
            })
            .sum();
        // Each of the caller's own that comes before brings a turn of every other caller with it.
        let others = self.callers.len().saturating_sub(1) as u64;
        u32::try_from(callers + own * (1 + others)).unwrap_or(u32::MAX)
    }
}

//! Which generation runs next: of the caller that has been served least, the generation that has been
//! served least, both counted in instructions.
//!
//! A new caller begins where the least served of the others is, so that nobody saves up shares and
//! nobody has to catch up. A slice that used nearly all of its budget counts as a whole one, so that
//! callers with equal work take turns in a fixed order.

use super::accounts::Accounts;
use crate::stable::ids::{GenerationId, ModelSlot};
use crate::stable::records::QueueEntry;
use crate::stable::regions::{self, Region};
use candid::Principal;
use ic_stable_structures::StableBTreeMap;
use std::collections::BTreeMap;

/// A caller with generations that have not ended.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    served: u64,
    last_slice: u64,
    generations: u32,
}

/// Whose share a slice counts to, and what it was before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    owner: Principal,
    weight: u32,
    /// Instructions that counted as served to the owner.
    pub share: u64,
}

/// Generations that have not ended. Stable memory has them at the end of every message.
pub(crate) struct Queue {
    stored: StableBTreeMap<GenerationId, QueueEntry, Region>,
    open: BTreeMap<GenerationId, QueueEntry>,
    /// The slot of each generation's model.
    slots: BTreeMap<GenerationId, ModelSlot>,
    callers: BTreeMap<Principal, Share>,
}

impl Queue {
    /// Opens what stable memory holds. `slot` returns the slot of a generation's model.
    pub(crate) fn open(
        accounts: &Accounts,
        slot: impl Fn(GenerationId) -> Option<ModelSlot>,
    ) -> Self {
        let stored: StableBTreeMap<GenerationId, QueueEntry, Region> =
            StableBTreeMap::init(regions::queue());
        let open: BTreeMap<GenerationId, QueueEntry> =
            stored.iter().map(|e| e.into_pair()).collect();
        let mut callers: BTreeMap<Principal, Share> = BTreeMap::new();
        for q in open.values() {
            let share = callers.entry(q.owner).or_insert_with(|| Share {
                served: accounts.get(&q.owner).served,
                ..Share::default()
            });
            share.generations += 1;
            share.last_slice = share.last_slice.max(q.last_slice);
        }
        let slots = open.keys().filter_map(|id| Some((*id, slot(*id)?)));
        Self {
            stored,
            slots: slots.collect(),
            open,
            callers,
        }
    }

    /// Returns the number of generations that have not ended.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns the number of callers who have any.
    pub(crate) fn callers(&self) -> usize {
        self.callers.len()
    }

    /// Returns `true` if a generation has not ended.
    pub(crate) fn contains(&self, id: GenerationId) -> bool {
        self.open.contains_key(&id)
    }

    fn put(&mut self, id: GenerationId, q: QueueEntry) {
        self.stored.insert(id, q);
        self.open.insert(id, q);
    }

    /// Returns the slot of a generation's model.
    pub(crate) fn slot(&self, id: GenerationId) -> Option<ModelSlot> {
        self.slots.get(&id).copied()
    }

    /// Returns the generations on the model in a slot.
    pub(crate) fn ids_of(&self, slot: ModelSlot) -> Vec<GenerationId> {
        let on = self.slots.iter().filter(|(_, s)| **s == slot);
        on.map(|(id, _)| *id).collect()
    }

    /// Returns the number of generations on the model in a slot.
    pub(crate) fn count_of(&self, slot: ModelSlot) -> u32 {
        self.slots.values().filter(|s| **s == slot).count() as u32
    }

    /// Returns `true` if a generation runs on the model in a slot.
    pub(crate) fn runs_on(&self, slot: ModelSlot) -> bool {
        self.slots.values().any(|s| *s == slot)
    }

    /// Adds a generation. `served`: the instructions served to the caller that was served last.
    pub(crate) fn add(
        &mut self,
        id: GenerationId,
        slot: ModelSlot,
        (owner, weight): (Principal, u32),
        served: u64,
        accounts: &mut Accounts,
    ) {
        let least = self.callers.values().map(|s| s.served).min();
        let share = self.callers.entry(owner).or_default();
        if share.generations == 0 {
            let mut account = accounts.get(&owner);
            account.served = account.served.max(least.unwrap_or(served));
            share.served = account.served;
            accounts.put(&owner, account);
        }
        share.generations += 1;
        let own = self.open.values().filter(|q| q.owner == owner);
        let q = QueueEntry {
            owner,
            served: own.map(|q| q.served).min().unwrap_or(0),
            last_slice: 0,
            weight: weight.max(1),
            lost: 0,
        };
        self.put(id, q);
        self.slots.insert(id, slot);
    }

    /// Removes a generation that has ended.
    pub(crate) fn remove(&mut self, id: GenerationId) {
        self.slots.remove(&id);
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

    /// Returns what generations are ordered by, the least first.
    fn rank(
        &self,
        id: GenerationId,
        q: &QueueEntry,
    ) -> (u64, u64, Principal, u64, u64, GenerationId) {
        let share = self.callers.get(&q.owner).copied().unwrap_or_default();
        (
            share.served,
            share.last_slice,
            q.owner,
            q.served,
            q.last_slice,
            id,
        )
    }

    /// Returns the generation that runs next, of those whose model's slot `can` run.
    pub(crate) fn next(&self, can: impl Fn(ModelSlot) -> bool) -> Option<GenerationId> {
        let runs = |id: &GenerationId| self.slot(*id).is_some_and(&can);
        let open = self.open.iter().filter(|(id, _)| runs(id));
        let first = open.min_by_key(|(id, q)| self.rank(**id, q));
        first.map(|(id, _)| *id)
    }

    /// Returns whom to charge for a slice of a generation that is about to begin.
    pub(crate) fn next_charge(&self, id: GenerationId) -> Option<Charge> {
        let q = self.open.get(&id)?;
        Some(Charge {
            owner: q.owner,
            weight: q.weight,
            share: self.callers.get(&q.owner)?.served,
        })
    }

    /// Charges a slice that has ended: `used` instructions of `budget`. The generation may have ended in it.
    pub(crate) fn charge(
        &mut self,
        id: GenerationId,
        charge: &Charge,
        (used, budget): (u64, u64),
        slice: u64,
        accounts: &mut Accounts,
    ) {
        let whole = used > budget / 10 * 9;
        let cost = if whole { used.max(budget) } else { used };
        if let Some(mut q) = self.open.get(&id).copied() {
            q.served += cost;
            q.last_slice = slice;
            self.put(id, q);
        }
        let served = charge.share + cost / u64::from(charge.weight);
        if let Some(share) = self.callers.get_mut(&charge.owner) {
            share.served = served;
            share.last_slice = slice;
        }
        let mut account = accounts.get(&charge.owner);
        account.served = served;
        accounts.put(&charge.owner, account);
    }

    /// Notes that a slice of a generation did not end. Returns how many did not since it last advanced.
    pub(crate) fn lose(&mut self, id: GenerationId) -> u32 {
        let Some(mut q) = self.open.get(&id).copied() else {
            return 0;
        };
        q.lost += 1;
        self.put(id, q);
        q.lost
    }

    /// Notes that a generation has advanced.
    pub(crate) fn advance(&mut self, id: GenerationId) {
        if let Some(mut q) = self.open.get(&id).copied().filter(|q| q.lost > 0) {
            q.lost = 0;
            self.put(id, q);
        }
    }

    /// Returns how many generations run before this one if nothing else happens.
    pub(crate) fn position(&self, id: GenerationId) -> u32 {
        let Some(mine) = self.open.get(&id).map(|q| self.rank(id, q)) else {
            return 0;
        };
        let before = |(other, q): &(&GenerationId, &QueueEntry)| self.rank(**other, q) < mine;
        self.open.iter().filter(before).count() as u32
    }

    /// Returns how many slices run before a generation's first if all of them use their budget.
    pub(crate) fn slices_before(&self, id: GenerationId, budget: u64) -> u32 {
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
                let first = (s.last_slice, *owner) < (share.last_slice, q.owner);
                before(s.served, share.served, cost, first)
            })
            .sum();
        let own: u64 = self
            .open
            .iter()
            .filter(|(other, o)| o.owner == q.owner && **other != id)
            .map(|(other, o)| {
                let first = (o.last_slice, *other) < (q.last_slice, id);
                before(o.served, q.served, budget, first)
            })
            .sum();
        // Each of the caller's own that runs before brings a slice of every other caller with it.
        let others = self.callers.len().saturating_sub(1) as u64;
        u32::try_from(callers + own * (1 + others)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: ModelSlot = ModelSlot(0);
    const BUDGET: u64 = 1_000;

    fn caller(n: u8) -> Principal {
        Principal::from_slice(&[n, 7])
    }

    struct Bench {
        queue: Queue,
        accounts: Accounts,
        served: u64,
        slices: u64,
    }

    impl Bench {
        fn new() -> Self {
            let accounts = Accounts::open();
            Self {
                queue: Queue::open(&accounts, |_| Some(SLOT)),
                accounts,
                served: 0,
                slices: 0,
            }
        }

        fn add(&mut self, id: u64, owner: u8, weight: u32) {
            let who = (caller(owner), weight);
            let accounts = &mut self.accounts;
            self.queue
                .add(GenerationId(id), SLOT, who, self.served, accounts);
        }

        /// Runs one slice that uses all of its budget, and returns whose it was.
        fn slice(&mut self) -> u64 {
            let id = self.queue.next(|_| true).unwrap();
            let charge = self.queue.next_charge(id).unwrap();
            self.slices += 1;
            let used = (BUDGET, BUDGET);
            self.queue
                .charge(id, &charge, used, self.slices, &mut self.accounts);
            self.served = self.served.max(charge.share);
            id.0
        }

        fn slices(&mut self, n: usize) -> Vec<u64> {
            (0..n).map(|_| self.slice()).collect()
        }
    }

    #[test]
    fn callers_take_turns_however_many_generations_they_have() {
        let mut b = Bench::new();
        for id in 1..=3 {
            b.add(id, 1, 1);
        }
        b.add(4, 2, 1);
        assert_eq!(b.slices(8), [1, 4, 2, 4, 3, 4, 1, 4]);
    }

    #[test]
    fn a_controller_gets_its_weight() {
        let mut b = Bench::new();
        b.add(1, 1, 1);
        b.add(2, 2, 4);
        let of_controller = b.slices(50).iter().filter(|id| **id == 2).count();
        assert!((39..=41).contains(&of_controller), "{of_controller} of 50");
    }

    #[test]
    fn nobody_saves_up_shares_while_away() {
        let mut b = Bench::new();
        b.add(1, 1, 1);
        b.add(2, 2, 1);
        b.slices(4);
        b.queue.remove(GenerationId(2));
        b.slices(10);
        b.add(3, 2, 1);
        let of_returned = b.slices(10).iter().filter(|id| **id == 3).count();
        assert_eq!(of_returned, 5);
    }

    #[test]
    fn the_order_outlives_an_upgrade() {
        let mut b = Bench::new();
        b.add(1, 1, 1);
        b.add(2, 2, 1);
        b.add(3, 2, 1);
        b.slices(5);
        let next = b.queue.next(|_| true);
        let position = b.queue.position(GenerationId(3));
        b.queue = Queue::open(&b.accounts, |_| Some(SLOT));
        assert_eq!(b.queue.next(|_| true), next);
        assert_eq!(b.queue.position(GenerationId(3)), position);
    }

    #[test]
    fn only_models_in_the_heap_run() {
        let mut b = Bench::new();
        b.add(1, 1, 1);
        assert_eq!(b.queue.next(|slot| slot != SLOT), None);
        assert_eq!((b.queue.count_of(SLOT), b.queue.runs_on(SLOT)), (1, true));
    }

    #[test]
    fn the_promised_wait_is_kept() {
        let mut b = Bench::new();
        for id in 1..=4 {
            b.add(id, 1, 1);
        }
        b.add(5, 2, 1);
        b.slices(3);
        b.add(6, 2, 1);
        let promised = b.queue.slices_before(GenerationId(6), BUDGET);
        let waited = (0..).take_while(|_| b.slice() != 6).count() as u32;
        assert!(waited <= promised, "waited {waited}, promised {promised}");
    }

    #[test]
    fn lost_slices_count_until_the_generation_advances() {
        let mut b = Bench::new();
        b.add(1, 1, 1);
        let id = GenerationId(1);
        assert_eq!((b.queue.lose(id), b.queue.lose(id)), (1, 2));
        b.queue.advance(id);
        assert_eq!(b.queue.lose(id), 1);
    }
}

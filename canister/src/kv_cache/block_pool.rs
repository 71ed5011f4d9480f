//! Pages of one model's KV cache: which slots of its KV region are used, by how many, and which texts
//! are complete in them.
//!
//! A page holds the rows of 64 positions. Its holders (generations, and chats between two turns) keep
//! its slot and its stamp; a page that was given to somebody else since has another stamp and is never
//! read. A stamp's highest byte is the shelf, so that no two models' pages have the same. A page whose 64 positions are complete can be found by the hash of all tokens up to its
//! end, and is then shared and never written again.
//!
//! ```text
//! slots region:  0  slots in use or free: u32 | first free slot + 1: u32 | slots used: u32 | 0: u32
//!                16 next stamp: u64 | 0
//!                64 + 64 n: slot n: holders: u32 | next free slot + 1: u32 | stamp: u64
//!                           | positions filled: u32 | can be found: u32 | hash: 32 bytes | 0
//! ```

use crate::memory::{self, Region};
use ic_stable_structures::{Memory, StableBTreeMap};
use serde::{Deserialize, Serialize};

/// Hash of a text (and its model) up to the end of a block.
pub type Key = [u8; 32];

/// A page as its holders know it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub slot: u32,
    pub stamp: u64,
}

const ENTRY: u64 = 64;
/// Where a stamp has the shelf.
const SHELF_SHIFT: u32 = 56;

impl Page {
    /// The shelf whose KV region it lies in.
    pub fn shelf(self) -> u8 {
        (self.stamp >> SHELF_SHIFT) as u8
    }
}

#[derive(Clone, Copy, Default)]
struct Header {
    slots: u32,
    first_free: u32,
    used: u32,
    next_stamp: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Entry {
    holders: u32,
    next_free: u32,
    stamp: u64,
    filled: u32,
    key: Option<Key>,
}

/// The slot table and the index of complete blocks.
pub struct PageTable {
    shelf: u8,
    table: Region,
    header: Header,
    index: StableBTreeMap<Key, u32, Region>,
}

impl PageTable {
    /// Opens what stable memory holds. An empty table is made where there is none.
    pub fn open(shelf: u8, table: Region, index: Region) -> Self {
        let mut header = Header::default();
        if table.size() > 0 {
            let mut b = [0; 24];
            table.read(0, &mut b);
            let word = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
            header = Header {
                slots: word(0),
                first_free: word(4),
                used: word(8),
                next_stamp: u64::from(word(16)) | u64::from(word(20)) << 32,
            };
        }
        Self {
            shelf,
            table,
            header,
            index: StableBTreeMap::init(index),
        }
    }

    /// Slots in use.
    pub fn used(&self) -> u32 {
        self.header.used
    }

    /// Slots in use and free ones below the highest that was ever used.
    pub fn slots(&self) -> u32 {
        self.header.slots
    }

    /// Complete blocks that can be found.
    pub fn indexed(&self) -> u64 {
        self.index.len()
    }

    fn save(&self) {
        let h = &self.header;
        let mut b = [0; 24];
        b[0..4].copy_from_slice(&h.slots.to_le_bytes());
        b[4..8].copy_from_slice(&h.first_free.to_le_bytes());
        b[8..12].copy_from_slice(&h.used.to_le_bytes());
        b[16..24].copy_from_slice(&h.next_stamp.to_le_bytes());
        self.table.write(0, &b);
    }

    fn entry(&self, slot: u32) -> Entry {
        let mut b = [0; ENTRY as usize];
        self.table.read(ENTRY * (1 + u64::from(slot)), &mut b);
        let word = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let mut key = [0; 32];
        key.copy_from_slice(&b[24..56]);
        Entry {
            holders: word(0),
            next_free: word(4),
            stamp: u64::from(word(8)) | u64::from(word(12)) << 32,
            filled: word(16),
            key: (word(20) != 0).then_some(key),
        }
    }

    fn put(&self, slot: u32, e: &Entry) {
        let mut b = [0; ENTRY as usize];
        b[0..4].copy_from_slice(&e.holders.to_le_bytes());
        b[4..8].copy_from_slice(&e.next_free.to_le_bytes());
        b[8..16].copy_from_slice(&e.stamp.to_le_bytes());
        b[16..20].copy_from_slice(&e.filled.to_le_bytes());
        if let Some(key) = &e.key {
            b[20] = 1;
            b[24..56].copy_from_slice(key);
        }
        self.table.write(ENTRY * (1 + u64::from(slot)), &b);
    }

    /// The entry of a page that is still its holder's.
    fn valid(&self, page: Page) -> Option<Entry> {
        if page.slot >= self.header.slots {
            return None;
        }
        let entry = self.entry(page.slot);
        (entry.stamp == page.stamp && entry.holders > 0).then_some(entry)
    }

    /// The slot that [`Self::allocate`] would give next.
    pub fn next_slot(&self) -> u32 {
        match self.header.first_free {
            0 => self.header.slots,
            n => n - 1,
        }
    }

    /// A page of one's own, with nothing in it. `None`: stable memory cannot hold the table.
    pub fn allocate(&mut self) -> Option<Page> {
        let slot = self.next_slot();
        if slot == self.header.slots {
            if !memory::ensure(&self.table, ENTRY * (2 + u64::from(slot))) {
                return None;
            }
            self.header.slots += 1;
        } else {
            self.header.first_free = self.entry(slot).next_free;
        }
        self.header.next_stamp += 1;
        self.header.used += 1;
        let stamp = self.header.next_stamp | u64::from(self.shelf) << SHELF_SHIFT;
        self.put(
            slot,
            &Entry {
                holders: 1,
                stamp,
                ..Entry::default()
            },
        );
        self.save();
        Some(Page { slot, stamp })
    }

    /// One holder less; without any the slot is free.
    pub fn release(&mut self, page: Page) {
        let Some(mut entry) = self.valid(page) else {
            return;
        };
        entry.holders -= 1;
        if entry.holders == 0 {
            if let Some(key) = entry.key.take() {
                self.index.remove(&key);
            }
            entry = Entry {
                next_free: self.header.first_free,
                ..Entry::default()
            };
            self.header.first_free = page.slot + 1;
            self.header.used -= 1;
            self.save();
        }
        self.put(page.slot, &entry);
    }

    /// A complete block with these tokens, held once more.
    pub fn find(&mut self, key: &Key) -> Option<Page> {
        let slot = self.index.get(key).filter(|s| *s < self.header.slots)?;
        let mut entry = self.entry(slot);
        if entry.holders == 0 || entry.key != Some(*key) {
            return None;
        }
        entry.holders += 1;
        self.put(slot, &entry);
        Some(Page {
            slot,
            stamp: entry.stamp,
        })
    }

    /// A page is complete: others may find it. If an equal one is there already that one is held
    /// instead, and given back.
    pub fn publish(&mut self, page: Page, key: &Key) -> Page {
        let Some(mut entry) = self.valid(page) else {
            return page;
        };
        if entry.key.is_some() {
            return page;
        }
        if let Some(equal) = self.find(key) {
            self.release(page);
            return equal;
        }
        self.index.insert(*key, page.slot);
        entry.key = Some(*key);
        self.put(page.slot, &entry);
        page
    }

    /// Whether a page must not be written any more.
    pub fn is_frozen(&self, page: Page) -> bool {
        self.valid(page)
            .is_none_or(|e| e.holders > 1 || e.key.is_some())
    }

    /// Positions that may be read from a page: 0 if it is somebody else's by now.
    pub fn filled(&self, page: Page) -> usize {
        self.valid(page).map_or(0, |e| e.filled as usize)
    }

    /// Its first `positions` are written.
    pub fn set_filled(&mut self, page: Page, positions: usize) {
        if let Some(mut entry) = self.valid(page)
            && entry.filled != positions as u32
        {
            entry.filled = positions as u32;
            self.put(page.slot, &entry);
        }
    }

    /// Forgets every page at once (their bytes belong to another model). Whoever holds one finds
    /// that it is gone.
    pub fn reset(&mut self) {
        self.index.clear_new();
        self.header = Header {
            next_stamp: self.header.next_stamp,
            ..Header::default()
        };
        if self.table.size() > 0 {
            self.save();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_stable_structures::DefaultMemoryImpl;
    use ic_stable_structures::memory_manager::{MemoryId, MemoryManager};

    fn pages() -> (PageTable, impl Fn() -> PageTable) {
        let manager = MemoryManager::init(DefaultMemoryImpl::default());
        let region = move |n| manager.get(MemoryId::new(n));
        let again = move || PageTable::open(3, region(0), region(1));
        (again(), again)
    }

    #[test]
    fn a_freed_slot_is_used_again_and_its_old_page_is_not_read() {
        let (mut p, reopen) = pages();
        let a = p.allocate().unwrap();
        let b = p.allocate().unwrap();
        p.set_filled(a, 64);
        p.set_filled(b, 7);
        p.release(a);
        assert_eq!((p.used(), p.filled(a), p.filled(b)), (1, 0, 7));
        let c = p.allocate().unwrap();
        assert_eq!((c.slot, p.filled(c), p.filled(a)), (a.slot, 0, 0));
        assert_eq!((a.shelf(), c.shelf()), (3, 3));
        // Whoever still has the old page can do nothing to the new one.
        p.release(a);
        p.set_filled(a, 9);
        let p = reopen();
        assert_eq!(
            (p.used(), p.slots(), p.filled(c), p.filled(b)),
            (2, 2, 0, 7)
        );
    }

    #[test]
    fn complete_blocks_are_found_shared_and_freed_with_their_last_holder() {
        let (mut p, reopen) = pages();
        let key = [7; 32];
        let a = p.allocate().unwrap();
        assert!(!p.is_frozen(a));
        assert_eq!(p.publish(a, &key), a);
        assert!(p.is_frozen(a));
        // An equal one gives way to the first.
        let b = p.allocate().unwrap();
        assert_eq!(p.publish(b, &key), a);
        assert_eq!((p.used(), p.filled(b)), (1, 0));
        let mut p = {
            drop(p);
            reopen()
        };
        assert_eq!(p.find(&key), Some(a));
        for _ in 0..3 {
            assert_eq!(p.used(), 1);
            p.release(a);
        }
        assert_eq!((p.used(), p.indexed(), p.find(&key)), (0, 0, None));
    }

    #[test]
    fn after_a_reset_nothing_old_is_valid() {
        let (mut p, _) = pages();
        let a = p.allocate().unwrap();
        p.set_filled(a, 64);
        p.publish(a, &[1; 32]);
        p.reset();
        let b = p.allocate().unwrap();
        assert_eq!(b.slot, a.slot);
        assert_eq!((p.filled(a), p.find(&[1; 32]), p.used()), (0, None, 1));
        p.release(a);
        assert_eq!(p.used(), 1);
    }
}

//! The block pool of one model: which blocks of its KV region are used, by how many, and which texts
//! are complete in them.
//!
//! A block holds the keys and values of 64 positions. Its holders (generations, and chats between two
//! answers) keep its index and its epoch; a block that was given to somebody else since has another
//! epoch and is never read. The highest byte of an epoch is the model's index, so that blocks of two
//! models never have the same. A block whose 64 positions are complete can be found by the hash of all
//! tokens up to its end; it is then shared and never written again.
//!
//! ```text
//! blocks region:  0  blocks in use or free: u32 | first free index + 1: u32 | blocks used: u32 | 0: u32
//!                 16 next epoch: u64 | 0
//!                 64 + 64 n: block n: holders: u32 | next free index + 1: u32 | epoch: u64
//!                            | positions filled: u32 | can be found: u32 | hash: 32 bytes | 0
//! ```

use super::block_hash::BlockHash;
use crate::stable::ids::ModelSlot;
use crate::stable::records::KvBlock;
use crate::stable::regions::{self, Region};
use ic_stable_structures::{Memory, StableBTreeMap};

const ENTRY: u64 = 64;
/// Bits of an epoch below the model's index.
const SLOT_SHIFT: u32 = 56;

/// Returns the index of the model whose block this is.
pub(super) fn slot_of(block: KvBlock) -> ModelSlot {
    ModelSlot((block.epoch >> SLOT_SHIFT) as u8)
}

#[derive(Clone, Copy, Default)]
struct Header {
    blocks: u32,
    first_free: u32,
    used: u32,
    next_epoch: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Entry {
    holders: u32,
    next_free: u32,
    epoch: u64,
    filled: u32,
    hash: Option<BlockHash>,
}

/// The blocks of one model, and which complete ones can be found.
pub(super) struct BlockPool {
    slot: ModelSlot,
    table: Region,
    header: Header,
    hashes: StableBTreeMap<BlockHash, u32, Region>,
}

impl BlockPool {
    /// Opens what stable memory holds; an empty pool where there is nothing.
    pub(super) fn open(slot: ModelSlot, table: Region, hashes: Region) -> Self {
        let mut header = Header::default();
        if table.size() > 0 {
            let mut b = [0; 24];
            table.read(0, &mut b);
            let word = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
            header = Header {
                blocks: word(0),
                first_free: word(4),
                used: word(8),
                next_epoch: u64::from(word(16)) | u64::from(word(20)) << 32,
            };
        }
        Self {
            slot,
            table,
            header,
            hashes: StableBTreeMap::init(hashes),
        }
    }

    /// Returns the number of blocks in use.
    pub(super) fn used(&self) -> u32 {
        self.header.used
    }

    /// Returns the number of blocks in use and of free ones below the highest that was ever used.
    pub(super) fn blocks(&self) -> u32 {
        self.header.blocks
    }

    /// Returns the number of complete blocks that can be found.
    pub(super) fn indexed(&self) -> u64 {
        self.hashes.len()
    }

    fn save(&self) {
        let h = &self.header;
        let mut b = [0; 24];
        b[0..4].copy_from_slice(&h.blocks.to_le_bytes());
        b[4..8].copy_from_slice(&h.first_free.to_le_bytes());
        b[8..12].copy_from_slice(&h.used.to_le_bytes());
        b[16..24].copy_from_slice(&h.next_epoch.to_le_bytes());
        self.table.write(0, &b);
    }

    fn entry(&self, index: u32) -> Entry {
        let mut b = [0; ENTRY as usize];
        self.table.read(ENTRY * (1 + u64::from(index)), &mut b);
        let word = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let mut hash = [0; 32];
        hash.copy_from_slice(&b[24..56]);
        Entry {
            holders: word(0),
            next_free: word(4),
            epoch: u64::from(word(8)) | u64::from(word(12)) << 32,
            filled: word(16),
            hash: (word(20) != 0).then_some(hash),
        }
    }

    fn put(&self, index: u32, e: &Entry) {
        let mut b = [0; ENTRY as usize];
        b[0..4].copy_from_slice(&e.holders.to_le_bytes());
        b[4..8].copy_from_slice(&e.next_free.to_le_bytes());
        b[8..16].copy_from_slice(&e.epoch.to_le_bytes());
        b[16..20].copy_from_slice(&e.filled.to_le_bytes());
        if let Some(hash) = &e.hash {
            b[20] = 1;
            b[24..56].copy_from_slice(hash);
        }
        self.table.write(ENTRY * (1 + u64::from(index)), &b);
    }

    /// Returns the entry of a block that is still its holder's.
    fn valid(&self, block: KvBlock) -> Option<Entry> {
        if block.index >= self.header.blocks {
            return None;
        }
        let entry = self.entry(block.index);
        (entry.epoch == block.epoch && entry.holders > 0).then_some(entry)
    }

    /// Returns the index of the block that [`Self::allocate`] would return next.
    pub(super) fn next_index(&self) -> u32 {
        match self.header.first_free {
            0 => self.header.blocks,
            n => n - 1,
        }
    }

    /// Returns an empty block with one holder; `None` if stable memory cannot hold the table.
    pub(super) fn allocate(&mut self) -> Option<KvBlock> {
        let index = self.next_index();
        if index == self.header.blocks {
            if !regions::ensure(&self.table, ENTRY * (2 + u64::from(index))) {
                return None;
            }
            self.header.blocks += 1;
        } else {
            self.header.first_free = self.entry(index).next_free;
        }
        self.header.next_epoch += 1;
        self.header.used += 1;
        let epoch = self.header.next_epoch | u64::from(self.slot.0) << SLOT_SHIFT;
        self.put(
            index,
            &Entry {
                holders: 1,
                epoch,
                ..Entry::default()
            },
        );
        self.save();
        Some(KvBlock { index, epoch })
    }

    /// Takes one holder away; a block without any is free.
    pub(super) fn release(&mut self, block: KvBlock) {
        let Some(mut entry) = self.valid(block) else {
            return;
        };
        entry.holders -= 1;
        if entry.holders == 0 {
            if let Some(hash) = entry.hash.take() {
                self.hashes.remove(&hash);
            }
            entry = Entry {
                next_free: self.header.first_free,
                ..Entry::default()
            };
            self.header.first_free = block.index + 1;
            self.header.used -= 1;
            self.save();
        }
        self.put(block.index, &entry);
    }

    /// Returns the complete block with this hash, with one holder more.
    pub(super) fn find(&mut self, hash: &BlockHash) -> Option<KvBlock> {
        let index = self.hashes.get(hash).filter(|s| *s < self.header.blocks)?;
        let mut entry = self.entry(index);
        if entry.holders == 0 || entry.hash != Some(*hash) {
            return None;
        }
        entry.holders += 1;
        self.put(index, &entry);
        Some(KvBlock {
            index,
            epoch: entry.epoch,
        })
    }

    /// Lets others find a complete block. If there is an equal one already, that one is held instead
    /// and returned.
    pub(super) fn publish(&mut self, block: KvBlock, hash: &BlockHash) -> KvBlock {
        let Some(mut entry) = self.valid(block) else {
            return block;
        };
        if entry.hash.is_some() {
            return block;
        }
        if let Some(equal) = self.find(hash) {
            self.release(block);
            return equal;
        }
        self.hashes.insert(*hash, block.index);
        entry.hash = Some(*hash);
        self.put(block.index, &entry);
        block
    }

    /// Returns `true` if a block must not be written any more.
    pub(super) fn is_frozen(&self, block: KvBlock) -> bool {
        self.valid(block)
            .is_none_or(|e| e.holders > 1 || e.hash.is_some())
    }

    /// Returns how many positions of a block may be read: 0 if it is somebody else's by now.
    pub(super) fn filled(&self, block: KvBlock) -> usize {
        self.valid(block).map_or(0, |e| e.filled as usize)
    }

    /// Says that the first `positions` of a block are written.
    pub(super) fn set_filled(&mut self, block: KvBlock, positions: usize) {
        if let Some(mut entry) = self.valid(block)
            && entry.filled != positions as u32
        {
            entry.filled = positions as u32;
            self.put(block.index, &entry);
        }
    }

    /// Frees every block at once. Whoever holds one finds that it is gone.
    pub(super) fn reset(&mut self) {
        self.hashes.clear_new();
        self.header = Header {
            next_epoch: self.header.next_epoch,
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

    fn pool() -> (BlockPool, impl Fn() -> BlockPool) {
        let manager = MemoryManager::init(DefaultMemoryImpl::default());
        let region = move |n| manager.get(MemoryId::new(n));
        let again = move || BlockPool::open(ModelSlot(3), region(0), region(1));
        (again(), again)
    }

    #[test]
    fn a_freed_index_is_used_again_and_its_old_block_is_not_read() {
        let (mut p, reopen) = pool();
        let a = p.allocate().unwrap();
        let b = p.allocate().unwrap();
        p.set_filled(a, 64);
        p.set_filled(b, 7);
        p.release(a);
        assert_eq!((p.used(), p.filled(a), p.filled(b)), (1, 0, 7));
        let c = p.allocate().unwrap();
        assert_eq!((c.index, p.filled(c), p.filled(a)), (a.index, 0, 0));
        assert_eq!((slot_of(a), slot_of(c)), (ModelSlot(3), ModelSlot(3)));
        // Whoever still has the old block can do nothing to the new one.
        p.release(a);
        p.set_filled(a, 9);
        let p = reopen();
        assert_eq!(
            (p.used(), p.blocks(), p.filled(c), p.filled(b)),
            (2, 2, 0, 7)
        );
    }

    #[test]
    fn complete_blocks_are_found_shared_and_freed_with_their_last_holder() {
        let (mut p, reopen) = pool();
        let hash = [7; 32];
        let a = p.allocate().unwrap();
        assert!(!p.is_frozen(a));
        assert_eq!(p.publish(a, &hash), a);
        assert!(p.is_frozen(a));
        // An equal one gives way to the first.
        let b = p.allocate().unwrap();
        assert_eq!(p.publish(b, &hash), a);
        assert_eq!((p.used(), p.filled(b)), (1, 0));
        let mut p = {
            drop(p);
            reopen()
        };
        assert_eq!(p.find(&hash), Some(a));
        for _ in 0..3 {
            assert_eq!(p.used(), 1);
            p.release(a);
        }
        assert_eq!((p.used(), p.indexed(), p.find(&hash)), (0, 0, None));
    }

    #[test]
    fn after_a_reset_nothing_old_is_valid() {
        let (mut p, _) = pool();
        let a = p.allocate().unwrap();
        p.set_filled(a, 64);
        p.publish(a, &[1; 32]);
        p.reset();
        let b = p.allocate().unwrap();
        assert_eq!(b.index, a.index);
        assert_eq!((p.filled(a), p.find(&[1; 32]), p.used()), (0, None, 1));
        p.release(a);
        assert_eq!(p.used(), 1);
    }
}

//! The block pools of all models. A block knows the slot of its model; a block of a model that has gone
//! is nobody's and is never read.

use super::block_hash::BlockHash;
use super::block_pool::{BlockPool, slot_of};
use crate::stable::ids::ModelSlot;
use crate::stable::records::KvBlock;
use crate::stable::regions;
use std::collections::BTreeMap;

/// A model's pool.
struct ModelPool {
    blocks: BlockPool,
    /// Bytes of a block; 0 while that is not known.
    block_bytes: u64,
}

/// The pools of the slots that have a model.
#[derive(Default)]
pub(crate) struct BlockPools {
    pools: BTreeMap<ModelSlot, ModelPool>,
}

impl BlockPools {
    /// Opens the pool of a slot whose blocks have `block_bytes`.
    pub(crate) fn open(&mut self, slot: ModelSlot, block_bytes: u64) {
        let pool = self.pools.entry(slot).or_insert_with(|| ModelPool {
            blocks: BlockPool::open(slot, regions::blocks(slot), regions::block_hashes(slot)),
            block_bytes,
        });
        pool.block_bytes = block_bytes;
    }

    /// Frees every block of a slot at once.
    pub(crate) fn reset(&mut self, slot: ModelSlot) {
        if let Some(pool) = self.pools.get_mut(&slot) {
            pool.blocks.reset();
        }
    }

    /// Frees every block of a slot and closes its pool: its model has gone.
    pub(crate) fn close(&mut self, slot: ModelSlot) {
        self.reset(slot);
        self.pools.remove(&slot);
    }

    fn tables(&self) -> impl Iterator<Item = &BlockPool> {
        self.pools.values().map(|pool| &pool.blocks)
    }

    fn of(&self, block: KvBlock) -> Option<&BlockPool> {
        self.pools.get(&slot_of(block)).map(|pool| &pool.blocks)
    }

    fn of_mut(&mut self, block: KvBlock) -> Option<&mut BlockPool> {
        self.on(slot_of(block))
    }

    fn on(&mut self, slot: ModelSlot) -> Option<&mut BlockPool> {
        self.pools.get_mut(&slot).map(|pool| &mut pool.blocks)
    }

    /// Returns the number of blocks in use.
    pub(crate) fn used(&self) -> u32 {
        self.tables().map(BlockPool::used).sum()
    }

    /// Returns the number of blocks in use in a slot.
    pub(crate) fn used_on(&self, slot: ModelSlot) -> u32 {
        let pool = self.pools.get(&slot);
        pool.map_or(0, |pool| pool.blocks.used())
    }

    /// Returns the size of the blocks in use (bytes).
    pub(crate) fn used_bytes(&self) -> u64 {
        let bytes = |pool: &ModelPool| u64::from(pool.blocks.used()) * pool.block_bytes;
        self.pools.values().map(bytes).sum()
    }

    /// Returns the number of blocks in use and of free ones below the highest that was ever used.
    pub(crate) fn blocks(&self) -> u32 {
        self.tables().map(BlockPool::blocks).sum()
    }

    /// Returns the number of complete blocks that can be found.
    pub(crate) fn indexed(&self) -> u64 {
        self.tables().map(BlockPool::indexed).sum()
    }

    /// Returns the index of the block that [`Self::allocate`] would return next.
    pub(crate) fn next_index(&self, slot: ModelSlot) -> u32 {
        let pool = self.pools.get(&slot);
        pool.map_or(0, |pool| pool.blocks.next_index())
    }

    /// Returns an empty block with one holder; `None` if stable memory cannot hold the table.
    pub(crate) fn allocate(&mut self, slot: ModelSlot) -> Option<KvBlock> {
        self.on(slot)?.allocate()
    }

    /// Takes one holder away; a block without any is free.
    pub(crate) fn release(&mut self, block: KvBlock) {
        if let Some(table) = self.of_mut(block) {
            table.release(block);
        }
    }

    /// Returns the complete block with this hash, with one holder more.
    pub(crate) fn find(&mut self, slot: ModelSlot, hash: &BlockHash) -> Option<KvBlock> {
        self.on(slot)?.find(hash)
    }

    /// Lets others find a complete block. If there is an equal one already, that one is held instead
    /// and returned.
    pub(crate) fn publish(&mut self, block: KvBlock, hash: &BlockHash) -> KvBlock {
        match self.of_mut(block) {
            Some(table) => table.publish(block, hash),
            None => block,
        }
    }

    /// Returns `true` if a block must not be written any more.
    pub(crate) fn is_frozen(&self, block: KvBlock) -> bool {
        self.of(block).is_none_or(|table| table.is_frozen(block))
    }

    /// Returns how many positions of a block may be read: 0 if it is somebody else's by now.
    pub(crate) fn filled(&self, block: KvBlock) -> usize {
        self.of(block).map_or(0, |table| table.filled(block))
    }

    /// Says that the first `positions` of a block are written.
    pub(crate) fn set_filled(&mut self, block: KvBlock, positions: usize) {
        if let Some(table) = self.of_mut(block) {
            table.set_filled(block, positions);
        }
    }
}

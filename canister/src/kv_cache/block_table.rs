//! Block tables: the blocks that hold the positions of one text, in order. Generations and chats have
//! one each.

use super::{BLOCK, BlockPools, block_hash};
use crate::stable::ids::{ModelSlot, Sha256};
use crate::stable::records::KvBlock;
use candid::Principal;

/// Keeps the blocks of the first `positions`, and releases the others.
pub(crate) fn truncate(table: &mut Vec<KvBlock>, positions: usize, pools: &mut BlockPools) {
    let kept = positions.div_ceil(BLOCK).min(table.len());
    for block in table.split_off(kept) {
        pools.release(block);
    }
}

/// Releases every block.
pub(crate) fn release_all(table: &mut Vec<KvBlock>, pools: &mut BlockPools) {
    truncate(table, 0, pools);
}

/// Returns how many blocks from the start hold what they should, if `positions` are wanted: they were
/// not given to somebody else, and are filled.
pub(crate) fn readable_blocks(table: &[KvBlock], positions: usize, pools: &BlockPools) -> usize {
    table
        .iter()
        .enumerate()
        .take_while(|(b, block)| {
            pools.filled(**block) >= BLOCK.min(positions.saturating_sub(b * BLOCK))
        })
        .count()
}

/// Prefix caching: takes over the complete blocks that are cached already for the beginning of
/// `tokens`, in place of the table's own. Returns how many positions are then cached, of which
/// `computed` were before. The last token is left to be read, for its logits.
pub(crate) fn reuse_cached_prefix(
    table: &mut Vec<KvBlock>,
    computed: usize,
    pools: &mut BlockPools,
    slot: ModelSlot,
    (model, owner, public): (&Sha256, &Principal, usize),
    tokens: &[u32],
) -> usize {
    let readable = &tokens[..tokens.len().saturating_sub(1)];
    let mut computed = computed;
    let hashes = block_hash::block_hashes(model, owner, public, readable);
    for (b, hash) in hashes.enumerate() {
        if (b + 1) * BLOCK <= computed {
            continue;
        }
        let Some(block) = pools.find(slot, &hash) else {
            break;
        };
        truncate(table, b * BLOCK, pools);
        table.push(block);
        computed = (b + 1) * BLOCK;
    }
    computed
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: ModelSlot = ModelSlot(2);
    const MODEL: Sha256 = Sha256([3; 32]);

    fn pools() -> BlockPools {
        let mut pools = BlockPools::default();
        pools.open(SLOT, 1_000);
        pools
    }

    /// A table with the complete blocks of these tokens, all of which can be found.
    fn written(
        pools: &mut BlockPools,
        owner: &Principal,
        public: usize,
        tokens: &[u32],
    ) -> Vec<KvBlock> {
        block_hash::block_hashes(&MODEL, owner, public, tokens)
            .map(|hash| {
                let block = pools.allocate(SLOT).unwrap();
                pools.set_filled(block, BLOCK);
                pools.publish(block, &hash)
            })
            .collect()
    }

    #[test]
    fn a_cached_prefix_is_held_twice_and_the_last_token_is_left_to_be_read() {
        let mut pools = pools();
        let owner = Principal::anonymous();
        let tokens: Vec<u32> = (0..3 * BLOCK as u32).collect();
        let mut first = written(&mut pools, &owner, 0, &tokens);
        let mut second = Vec::new();
        let text = (&MODEL, &owner, 0);
        let cached = reuse_cached_prefix(&mut second, 0, &mut pools, SLOT, text, &tokens);
        // The third block would leave no token to be read.
        assert_eq!((cached, &second[..]), (2 * BLOCK, &first[..2]));
        release_all(&mut first, &mut pools);
        assert_eq!(pools.used(), 2, "the second text still holds them");
        release_all(&mut second, &mut pools);
        assert_eq!((pools.used(), first.len(), second.len()), (0, 0, 0));
    }

    #[test]
    fn other_owners_find_the_public_blocks_only() {
        let mut pools = pools();
        let (a, b) = (Principal::anonymous(), Principal::management_canister());
        let tokens: Vec<u32> = (0..4 * BLOCK as u32).collect();
        written(&mut pools, &a, BLOCK, &tokens);
        let mut table = Vec::new();
        let text = (&MODEL, &b, BLOCK);
        assert_eq!(
            reuse_cached_prefix(&mut table, 0, &mut pools, SLOT, text, &tokens),
            BLOCK
        );
    }

    #[test]
    fn own_positions_stay_where_nothing_more_is_cached() {
        let mut pools = pools();
        let owner = Principal::anonymous();
        let tokens: Vec<u32> = (0..2 * BLOCK as u32).collect();
        let own = pools.allocate(SLOT).unwrap();
        pools.set_filled(own, 10);
        let mut table = vec![own];
        let text = (&MODEL, &owner, 0);
        let cached = reuse_cached_prefix(&mut table, 10, &mut pools, SLOT, text, &tokens);
        assert_eq!((cached, &table[..]), (10, &[own][..]));
    }

    #[test]
    fn blocks_of_others_and_unfilled_ones_end_what_is_readable() {
        let mut pools = pools();
        let table: Vec<_> = (0..3).map(|_| pools.allocate(SLOT).unwrap()).collect();
        for block in &table {
            pools.set_filled(*block, BLOCK);
        }
        pools.set_filled(table[2], 5);
        assert_eq!(readable_blocks(&table, 2 * BLOCK + 5, &pools), 3);
        assert_eq!(readable_blocks(&table, 2 * BLOCK + 6, &pools), 2);
        pools.release(table[1]);
        pools.allocate(SLOT).unwrap();
        assert_eq!(readable_blocks(&table, 2 * BLOCK + 5, &pools), 1);
    }
}

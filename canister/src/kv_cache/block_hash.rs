//! Hashes of complete blocks: of all tokens up to the block's end, of the model, and of the owner of
//! the text. (vLLM, `v1/core/kv_cache_utils.py`, names blocks in the same way.)

use crate::stable;
use candid::Principal;
use sha2::{Digest, Sha256};

/// Hash of a text (and its model and owner) up to the end of a block.
pub(crate) type BlockHash = [u8; 32];

/// Positions in a block.
pub(crate) const BLOCK: usize = engine::kernels::attention::BLOCK;

/// Returns the hashes of the complete blocks of `tokens`, in order.
///
/// Blocks within the first `public` tokens have the same hash for everybody. Other blocks are salted
/// with the owner, so that response time reveals nothing about other users' text.
pub(crate) fn block_hashes<'a>(
    model: &stable::Sha256,
    owner: &'a Principal,
    public: usize,
    tokens: &'a [u32],
) -> impl Iterator<Item = BlockHash> + 'a {
    let mut hash: BlockHash = model.0;
    tokens
        .chunks_exact(BLOCK)
        .enumerate()
        .map(move |(b, block)| {
            let mut hasher = Sha256::new_with_prefix(hash);
            if (b + 1) * BLOCK > public {
                hasher.update([1, owner.as_slice().len() as u8]);
                hasher.update(owner.as_slice());
            } else {
                hasher.update([0]);
            }
            for token in block {
                hasher.update(token.to_le_bytes());
            }
            hash = hasher.finalize().into();
            hash
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_beginning_is_the_same_for_everybody() {
        let (a, b) = (Principal::anonymous(), Principal::management_canister());
        let tokens: Vec<u32> = (0..300).collect();
        let of = |owner, public, tokens: &[u32]| {
            block_hashes(&stable::Sha256([1; 32]), owner, public, tokens).collect::<Vec<_>>()
        };
        let (x, y) = (of(&a, 130, &tokens), of(&b, 130, &tokens));
        assert_eq!(x.len(), 4);
        assert_eq!(x[..2], y[..2]);
        assert!(x[2] != y[2] && x[3] != y[3]);
        // A block's hash depends on everything before it.
        let mut other = tokens.clone();
        other[0] = 9;
        let z = of(&a, 130, &other);
        assert!(x.iter().zip(&z).all(|(x, z)| x != z));
        assert_eq!(of(&a, 130, &tokens[..255]), x[..3]);
    }
}

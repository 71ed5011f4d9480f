//! Names of complete blocks of text: the hash of all tokens up to a block's end, of the model, and of
//! whose text it is.

use crate::pages::Key;
use candid::Principal;
use sha2::{Digest, Sha256};

/// Positions of a block.
pub const BLOCK: usize = engine::kernels::attention::BLOCK;

/// The keys of the complete blocks of `tokens`, in order. Blocks within the first `public` tokens
/// have the same key for everybody; of the others each owner has keys of his own, so that nobody
/// learns from the time an answer takes what others have written.
pub fn keys<'a>(
    model: &[u8; 32],
    owner: &'a Principal,
    public: usize,
    tokens: &'a [u32],
) -> impl Iterator<Item = Key> + 'a {
    let mut key: Key = *model;
    tokens
        .chunks_exact(BLOCK)
        .enumerate()
        .map(move |(b, block)| {
            let mut hash = Sha256::new_with_prefix(key);
            if (b + 1) * BLOCK > public {
                hash.update([1, owner.as_slice().len() as u8]);
                hash.update(owner.as_slice());
            } else {
                hash.update([0]);
            }
            for token in block {
                hash.update(token.to_le_bytes());
            }
            key = hash.finalize().into();
            key
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
            keys(&[1; 32], owner, public, tokens).collect::<Vec<_>>()
        };
        let (x, y) = (of(&a, 130, &tokens), of(&b, 130, &tokens));
        assert_eq!(x.len(), 4);
        assert_eq!(x[..2], y[..2]);
        assert!(x[2] != y[2] && x[3] != y[3]);
        // A block's name depends on everything before it.
        let mut other = tokens.clone();
        other[0] = 9;
        let z = of(&a, 130, &other);
        assert!(x.iter().zip(&z).all(|(x, z)| x != z));
        assert_eq!(of(&a, 130, &tokens[..255]), x[..3]);
    }
}

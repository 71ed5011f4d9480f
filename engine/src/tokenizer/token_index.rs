//! Token numbers by spelling: a hash table of numbers over the vocabulary's one buffer of bytes.
//! It takes some 150 instructions a word to build, on chain after every upgrade.

use super::vocabulary::Vocabulary;
use crate::{Error, unsupported};

/// Open addressing with linear probing, at most a third full.
pub(super) struct TokenIndex {
    /// Token number + 1; 0 is free.
    slots: Vec<u32>,
}

/// Four bytes of a word from `at` on.
#[inline(always)]
fn four(word: &[u8], at: usize) -> u32 {
    match word.get(at..).and_then(<[u8]>::first_chunk::<4>) {
        Some(four) => u32::from_le_bytes(*four),
        None => 0,
    }
}

/// The bytes of a word shorter than four.
#[inline(always)]
fn short(word: &[u8]) -> u32 {
    match *word {
        [a, b, c] => u32::from_le_bytes([a, b, c, 0]),
        [a, b] => u32::from_le_bytes([a, b, 0, 0]),
        [a] => u32::from(a),
        _ => 0,
    }
}

/// Multiplies and folds four bytes at a time: the first, the last, which may overlap them, and those
/// between, for most words are four to eight bytes long.
#[inline(always)]
fn hash(word: &[u8]) -> u32 {
    let mix = |h: u32, v: u32| (h.rotate_left(5) ^ v).wrapping_mul(0x9e37_79b1);
    let len = word.len();
    let mut h = len as u32;
    if len < 4 {
        h = mix(h, short(word));
    } else {
        h = mix(mix(h, four(word, 0)), four(word, len - 4));
        let mut at = 4;
        while at + 4 < len {
            h = mix(h, four(word, at));
            at += 4;
        }
    }
    h ^ (h >> 15)
}

/// Equality without a call, in the steps of [`hash`].
#[inline(always)]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let len = a.len();
    if len != b.len() {
        return false;
    }
    if len < 4 {
        return short(a) == short(b);
    }
    if four(a, 0) != four(b, 0) || four(a, len - 4) != four(b, len - 4) {
        return false;
    }
    let mut at = 4;
    while at + 4 < len {
        if four(a, at) != four(b, at) {
            return false;
        }
        at += 4;
    }
    true
}

/// Slots that may be looked at for each word when the table is made. Real vocabularies need one or
/// two; those that were made to collide would take for ever.
const PROBES_A_WORD: usize = 32;
/// And for any one of them.
pub(super) const MOST_PROBES: usize = 256;

impl TokenIndex {
    /// Of the tokens for which `keep` holds; of two with one spelling the first counts.
    ///
    /// # Errors
    /// Words that were chosen to have one hash.
    pub(super) fn new(vocabulary: &Vocabulary, keep: impl Fn(u32) -> bool) -> Result<Self, Error> {
        let size = (3 * vocabulary.len()).next_power_of_two();
        let mut words = Self {
            slots: vec![0; size],
        };
        let mut probes = 1_000 + PROBES_A_WORD * vocabulary.len();
        let mask = size - 1;
        for token in (0..vocabulary.len() as u32).filter(|t| keep(*t)) {
            let start = hash(vocabulary.raw(token)) as usize;
            let slot = words.find(vocabulary, vocabulary.raw(token));
            let looked_at = slot.wrapping_sub(start) & mask;
            probes = probes.saturating_sub(looked_at);
            if probes == 0 || looked_at > MOST_PROBES {
                return Err(unsupported(
                    "tokenizer.ggml.tokens has too many words of one hash",
                ));
            }
            if words.slots[slot] == 0 {
                words.slots[slot] = token + 1;
            }
        }
        Ok(words)
    }

    /// The token of this spelling.
    pub(super) fn get(&self, vocabulary: &Vocabulary, word: &[u8]) -> Option<u32> {
        self.slots[self.find(vocabulary, word)].checked_sub(1)
    }

    /// The slot of this spelling, or the free one where it would go.
    fn find(&self, vocabulary: &Vocabulary, word: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash(word) as usize & mask;
        loop {
            match self.slots[at].checked_sub(1) {
                Some(token) if !same(vocabulary.raw(token), word) => at = (at + 1) & mask,
                _ => return at,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn comparing_is_equality(a in "[ab]{0,14}", b in "[ab]{0,14}") {
            prop_assert_eq!(same(a.as_bytes(), b.as_bytes()), a == b);
            prop_assert!(same(a.as_bytes(), a.clone().as_bytes()));
            prop_assert!(a != b || hash(a.as_bytes()) == hash(b.as_bytes()));
        }
    }
}

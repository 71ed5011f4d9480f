//! Token numbers by spelling: a hash table of numbers over the vocabulary's one buffer of bytes.
//! It takes some 150 instructions a word to build, on chain after every upgrade.

use super::vocabulary::Vocabulary;

/// Open addressing with linear probing, at most half full.
pub struct Words {
    /// Token number + 1; 0 is free.
    slots: Vec<u32>,
}

/// FNV-1a: short keys, no table, and it goes on where it stopped.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    })
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

impl Words {
    /// Of the tokens for which `keep` holds; of two with one spelling the first counts.
    pub fn new(vocabulary: &Vocabulary, keep: impl Fn(u32) -> bool) -> Self {
        let size = (2 * vocabulary.len()).next_power_of_two();
        let mut words = Self {
            slots: vec![0; size],
        };
        for token in (0..vocabulary.len() as u32).filter(|t| keep(*t)) {
            let slot = words.find(vocabulary, vocabulary.raw(token), &[]);
            if words.slots[slot] == 0 {
                words.slots[slot] = token + 1;
            }
        }
        words
    }

    /// The token spelled `a` followed by `b`.
    pub fn get(&self, vocabulary: &Vocabulary, a: &[u8], b: &[u8]) -> Option<u32> {
        self.slots[self.find(vocabulary, a, b)].checked_sub(1)
    }

    /// The slot of this spelling, or the free one where it would go.
    fn find(&self, vocabulary: &Vocabulary, a: &[u8], b: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let h = hash(hash(SEED, a), b);
        let mut at = (h ^ (h >> 32)) as usize & mask;
        loop {
            let Some(token) = self.slots[at].checked_sub(1) else {
                return at;
            };
            let word = vocabulary.raw(token);
            if word.len() == a.len() + b.len() && word.starts_with(a) && word.ends_with(b) {
                return at;
            }
            at = (at + 1) & mask;
        }
    }
}

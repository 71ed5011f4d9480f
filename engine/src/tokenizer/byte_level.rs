//! Byte-level BPE: cut up by the pre-tokenizers of the tokenizers crate, joined by a merge table of
//! our own. (The crate's table costs some 300 million instructions to build for 49,000 merges; this
//! one a twentieth. The tests compare the two.)

use super::bpe;
use super::pre_tokenizer::PreTokenizerSteps;
use super::token_index::{MOST_PROBES, TokenIndex, same};
use super::vocabulary::Vocabulary;
use crate::{Error, unsupported};
use std::collections::BTreeMap;
use tokenizers::{NormalizedString, OffsetReferential, OffsetType, PreTokenizedString};
use weights::{ByteSource, GgufFile};

/// The tokenizer.
pub(super) struct ByteLevelBpe {
    pre_tokenizer: PreTokenizerSteps,
    words: TokenIndex,
    merges: Merges,
    not_words: NotWords,
}

/// Results of merges that are no words. llama.cpp merges them all the same; what is left of them
/// in the end becomes single bytes. They have numbers after those of the vocabulary.
#[derive(Default)]
struct NotWords {
    first: u32,
    texts: Vec<Vec<u8>>,
    numbers: BTreeMap<Vec<u8>, u32>,
}

/// Results of merges that may be no words. Files have none, or a handful.
const MAX_NOT_WORDS: usize = 1 << 12;

impl NotWords {
    fn get(&self, text: &[u8]) -> Option<u32> {
        if self.texts.is_empty() {
            return None;
        }
        self.numbers.get(text).copied()
    }

    /// Returns the number of this text, a new one if it has none; `None` if there are too many.
    fn add(&mut self, text: Vec<u8>) -> Option<u32> {
        if let Some(number) = self.get(&text) {
            return Some(number);
        }
        if self.texts.len() == MAX_NOT_WORDS {
            return None;
        }
        let number = self.first.checked_add(self.texts.len() as u32)?;
        self.numbers.insert(text.clone(), number);
        self.texts.push(text);
        Some(number)
    }

    /// Returns the text of a number, `None` for a token.
    fn text(&self, number: u32) -> Option<&[u8]> {
        let i = number.checked_sub(self.first)?;
        self.texts.get(i as usize).map(Vec::as_slice)
    }
}

/// What two neighbouring tokens become: a hash table with linear probing, at most half full.
struct Merges {
    /// Left, right, rank, token; a free entry has `FREE` as its left.
    entries: Vec<[u32; 4]>,
}

const FREE: u32 = u32::MAX;
/// More merges than any model has: their table would take 128 MiB.
const MAX_MERGES: u64 = 1 << 22;
/// Entries that may be looked at for each merge when the table is made: real ones need one or two.
const PROBES_A_MERGE: usize = 32;

impl Merges {
    fn new(count: u64) -> Self {
        let size = (2 * count as usize).next_power_of_two();
        Self {
            entries: vec![[FREE; 4]; size],
        }
    }

    /// Where a pair's search begins.
    fn start(&self, left: u32, right: u32) -> usize {
        let key = u64::from(left) << 32 | u64::from(right);
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (self.entries.len() - 1)
    }

    fn find(&self, left: u32, right: u32) -> usize {
        let mask = self.entries.len() - 1;
        let mut at = self.start(left, right);
        loop {
            let [l, r, ..] = self.entries[at];
            if l == FREE || (l, r) == (left, right) {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    /// Rank and token.
    fn get(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let [l, _, rank, token] = self.entries[self.find(left, right)];
        (l != FREE).then_some((rank, token))
    }
}

/// Where the first space is, by words of four bytes: a byte at a time costs four times as much.
fn first_space(text: &[u8]) -> Option<usize> {
    let (fours, rest) = text.as_chunks::<4>();
    for (i, four) in fours.iter().enumerate() {
        // A byte becomes zero where there is a space; the lowest zero byte sets its top bit.
        let v = u32::from_le_bytes(*four) ^ 0x2020_2020;
        let zero = v.wrapping_sub(0x0101_0101) & !v & 0x8080_8080;
        if zero != 0 {
            return Some(4 * i + zero.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|b| *b == b' ')?;
    Some(4 * fours.len() + at)
}

/// Looks up what two words make together. Mostly it is the word after the one before.
#[derive(Default)]
struct Joined {
    next: u32,
    both: Vec<u8>,
}

impl Joined {
    fn get(
        &mut self,
        a: &[u8],
        b: &[u8],
        words: &TokenIndex,
        vocabulary: &Vocabulary,
    ) -> Option<u32> {
        let guess = vocabulary.raw(self.next).split_at_checked(a.len());
        let token = if guess.is_some_and(|(x, y)| same(x, a) && same(y, b)) {
            self.next
        } else {
            self.both.clear();
            self.both.extend_from_slice(a);
            self.both.extend_from_slice(b);
            words.get(vocabulary, &self.both)?
        };
        self.next = token + 1;
        Some(token)
    }
}

impl ByteLevelBpe {
    /// Reads `tokenizer.ggml.merges`; `pre` is the pre-tokenizer's name in llama.cpp.
    pub(super) fn build<S: ByteSource + ?Sized>(
        source: &S,
        file: &GgufFile,
        vocabulary: &Vocabulary,
        pre: &str,
    ) -> Result<Self, Error> {
        let pre_tokenizer = PreTokenizerSteps::new(pre)?;
        let words = TokenIndex::new(vocabulary, |_| true)?;
        let key = "tokenizer.ggml.merges";
        let count = file
            .array_len(key)
            .ok_or_else(|| unsupported(format!("{key} is missing")))?;
        if count > MAX_MERGES {
            return Err(unsupported(format!("{key} has {count} entries")));
        }
        let mut merges = Merges::new(count);
        let mut joined = Joined::default();
        let mut not_words = NotWords {
            first: vocabulary.len() as u32,
            ..NotWords::default()
        };
        let mut probes = 1_000 + PROBES_A_MERGE * count as usize;
        file.for_each_string(source, key, |rank, merge| {
            // A word may begin with a space's stand-in, but has no space inside.
            let refused = |why: &str| {
                weights::Error::Unsupported(format!("{key} has an entry (number {rank}) {why}"))
            };
            let not_two = || refused("that does not join two words to a third");
            let at = first_space(merge).ok_or_else(not_two)?;
            let (a, b) = (&merge[..at], &merge[at + 1..]);
            let known = |part: &[u8]| {
                let word = words.get(vocabulary, part);
                word.or_else(|| not_words.get(part))
            };
            let (left, right) = known(a).zip(known(b)).ok_or_else(not_two)?;
            let token = match joined.get(a, b, &words, vocabulary) {
                Some(token) => token,
                None => not_words
                    .add([a, b].concat())
                    .ok_or_else(|| refused("that makes no word, like many before it"))?,
            };
            let at = merges.find(left, right);
            let looked_at = at.wrapping_sub(merges.start(left, right)) & (merges.entries.len() - 1);
            probes = probes.saturating_sub(looked_at);
            if probes == 0 || looked_at > MOST_PROBES {
                return Err(weights::Error::Unsupported(format!(
                    "{key} has too many pairs of one hash"
                )));
            }
            // Of a merge that stands twice the first counts.
            if merges.entries[at][0] == FREE {
                merges.entries[at] = [left, right, rank as u32, token];
            }
            Ok(())
        })?;
        Ok(Self {
            pre_tokenizer,
            words,
            merges,
            not_words,
        })
    }

    /// Returns `true` if a text begins with BOS where the file does not say.
    pub(super) fn begins_with_bos(&self) -> bool {
        self.pre_tokenizer.add_bos
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(
        &self,
        text: &str,
        vocabulary: &Vocabulary,
        out: &mut Vec<u32>,
    ) -> Result<(), Error> {
        let mut text = NormalizedString::from(text);
        if self.pre_tokenizer.composed && !text.get().is_ascii() {
            text.nfc();
        }
        let mut pieces = PreTokenizedString::from(text);
        self.pre_tokenizer
            .cut(&mut pieces)
            .map_err(|e| Error::InvalidArgument(format!("the text cannot be tokenized: {e}")))?;
        for (piece, ..) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            if self.pre_tokenizer.whole_words
                && let Some(token) = self.words.get(vocabulary, piece.as_bytes())
            {
                out.push(token);
                continue;
            }
            bpe::merge_pairs(
                piece,
                |c| self.words.get(vocabulary, c),
                |left, right, _| {
                    let (rank, token) = self.merges.get(left?, right?)?;
                    // Of two ranks the lower is better.
                    Some((-(rank as i32), token))
                },
                // A byte without a word of its own is left out, as in the tokenizers crate.
                |token, _| match token.map(|t| (t, self.not_words.text(t))) {
                    Some((_, Some(bytes))) => {
                        let byte = |b| self.words.get(vocabulary, std::slice::from_ref(b));
                        out.extend(bytes.iter().filter_map(byte));
                    }
                    Some((token, None)) => out.push(token),
                    None => {}
                },
            );
        }
        Ok(())
    }
}

/// The byte a character of a byte-level word stands for: printable Latin-1 characters are
/// themselves, the other bytes were given the characters from U+0100 on, in order.
fn byte_of(c: char) -> Option<u8> {
    let n = u32::from(c);
    let printable = |n: u32| matches!(n, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if n < 0x100 {
        return printable(n).then_some(n as u8);
    }
    (0..=255u8)
        .filter(|b| !printable(u32::from(*b)))
        .nth((n - 0x100) as usize)
}

/// Appends the bytes of a byte-level word.
pub(super) fn decode(word: &[u8], out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(word) else {
        return;
    };
    for c in text.chars() {
        match byte_of(c) {
            Some(b) => out.push(b),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_space_is_found() {
        for text in [
            "", " ", "a", "abc d", "abcd e f", "Ġ Ġ", "abcdefg ", "abcdefgh",
        ] {
            assert_eq!(first_space(text.as_bytes()), text.find(' '), "{text:?}");
        }
    }

    #[test]
    fn every_byte_has_a_character() {
        let mut seen = [false; 256];
        for n in 0..0x144 {
            if let Some(b) = char::from_u32(n).and_then(byte_of) {
                assert!(!seen[b as usize], "byte {b} twice");
                seen[b as usize] = true;
            }
        }
        assert!(seen.iter().all(|s| *s));
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
    }
}

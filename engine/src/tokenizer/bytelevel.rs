//! Byte-level BPE: cut up by the pre-tokenizers of the tokenizers crate, joined by a merge table of
//! our own. (The crate's table costs some 300 million instructions to build for 49,000 merges; this
//! one a twentieth. The tests compare the two.)

use super::joins;
use super::vocabulary::Vocabulary;
use super::words::{MOST_PROBES, Words, same};
use crate::{Error, unsupported};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    NormalizedString, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    PreTokenizerWrapper, SplitDelimiterBehavior,
};
use weights::{ByteSource, GgufFile};

/// The tokenizer.
pub struct ByteLevelBpe {
    pre_tokenizer: PreTokenizerWrapper,
    /// Text is composed (Unicode's NFC) before it is cut up.
    composed: bool,
    /// A piece that is a word is that word, whatever the merges say.
    whole_words: bool,
    words: Words,
    merges: Merges,
}

/// The pre-tokenizer of this name in llama.cpp.
fn pre_tokenizer(name: &str) -> Result<PreTokenizerWrapper, Error> {
    let byte_level = |pattern| ByteLevel::new(false, false, pattern);
    let split = |pattern: &str| -> Result<PreTokenizerWrapper, Error> {
        let pattern = SplitPattern::Regex(pattern.into());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
            .map_err(|e| unsupported(format!("tokenizer.ggml.pre {name}: {e}")))?;
        Ok(Sequence::new(vec![split.into(), byte_level(false).into()]).into())
    };
    Ok(match name {
        // Every digit by itself, then GPT-2's pattern.
        "smollm" => Sequence::new(vec![Digits::new(true).into(), byte_level(true).into()]).into(),
        "gpt-2" | "default" => byte_level(true).into(),
        "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" | "lfm2" => split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )?,
        "qwen2" => split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )?,
        other => return Err(unsupported(format!("tokenizer.ggml.pre {other}"))),
    })
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
    fn get(&mut self, a: &[u8], b: &[u8], words: &Words, vocabulary: &Vocabulary) -> Option<u32> {
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
    pub fn build<S: ByteSource + ?Sized>(
        source: &S,
        file: &GgufFile,
        vocabulary: &Vocabulary,
        pre: &str,
    ) -> Result<Self, Error> {
        let pre_tokenizer = pre_tokenizer(pre)?;
        let words = Words::new(vocabulary, |_| true)?;
        let key = "tokenizer.ggml.merges";
        let count = file
            .array_len(key)
            .ok_or_else(|| unsupported(format!("{key} is missing")))?;
        if count > MAX_MERGES {
            return Err(unsupported(format!("{key} has {count} entries")));
        }
        let mut merges = Merges::new(count);
        let mut joined = Joined::default();
        let mut probes = 1_000 + PROBES_A_MERGE * count as usize;
        file.for_each_string(source, key, |rank, merge| {
            // A word may begin with a space's stand-in, but has no space inside.
            let space = first_space(merge);
            let found = space.and_then(|at| {
                let (a, b) = (&merge[..at], &merge[at + 1..]);
                let left = words.get(vocabulary, a)?;
                let right = words.get(vocabulary, b)?;
                Some((left, right, joined.get(a, b, &words, vocabulary)?))
            });
            let Some((left, right, token)) = found else {
                return Err(weights::Error::Unsupported(format!(
                    "{key} has an entry (number {rank}) that does not join two words to a third"
                )));
            };
            let at = merges.find(left, right);
            let looked_at = at.wrapping_sub(merges.start(left, right)) & (merges.entries.len() - 1);
            probes = probes.saturating_sub(looked_at);
            if probes == 0 || looked_at > MOST_PROBES {
                return Err(weights::Error::Unsupported(format!(
                    "{key} has too many pairs of one hash"
                )));
            }
            merges.entries[at] = [left, right, rank as u32, token];
            Ok(())
        })?;
        Ok(Self {
            pre_tokenizer,
            composed: pre == "qwen2",
            whole_words: matches!(pre, "llama-bpe" | "llama3" | "llama-v3" | "lfm2"),
            words,
            merges,
        })
    }

    /// Appends the tokens of `text`.
    pub fn encode(
        &self,
        text: &str,
        vocabulary: &Vocabulary,
        out: &mut Vec<u32>,
    ) -> Result<(), Error> {
        let mut text = NormalizedString::from(text);
        if self.composed && !text.get().is_ascii() {
            text.nfc();
        }
        let mut pieces = PreTokenizedString::from(text);
        self.pre_tokenizer
            .pre_tokenize(&mut pieces)
            .map_err(|e| Error::InvalidArgument(format!("the text cannot be tokenized: {e}")))?;
        for (piece, ..) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            if self.whole_words
                && let Some(token) = self.words.get(vocabulary, piece.as_bytes())
            {
                out.push(token);
                continue;
            }
            joins::join(
                piece,
                |c| self.words.get(vocabulary, c),
                |left, right, _| {
                    let (rank, token) = self.merges.get(left?, right?)?;
                    // Of two ranks the lower is better.
                    Some((-(rank as i32), token))
                },
                // A byte without a word of its own is left out, as in the tokenizers crate.
                |token, _| out.extend(token),
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
pub fn decode(word: &[u8], out: &mut Vec<u8>) {
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

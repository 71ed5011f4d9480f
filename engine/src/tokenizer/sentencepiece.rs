//! SentencePiece BPE with scores and byte fallback, as llama.cpp's "llama" tokenizer does it: the
//! neighbouring pair whose join is the word of the highest score is joined first; what is no word
//! in the end becomes bytes.

use super::vocabulary::Vocabulary;
use crate::{Error, unsupported};
use std::collections::{BinaryHeap, HashMap};
use std::hash::BuildHasherDefault;
use weights::{ByteSource, GgufFile};

/// The character SentencePiece writes for a space.
const SPACE: &str = "\u{2581}";

/// FNV-1a: short keys, and the same on every machine.
#[derive(Clone)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::hash::Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The words by their spelling, and their scores.
pub struct SentencePiece {
    ids: HashMap<Box<[u8]>, u32, BuildHasherDefault<Fnv>>,
    scores: Vec<f32>,
    bytes: Vec<Option<u32>>,
    space_prefix: bool,
}

/// A pair that could be joined; the heap's greatest is joined first.
struct Join {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl PartialEq for Join {
    fn eq(&self, o: &Self) -> bool {
        self.cmp(o).is_eq()
    }
}
impl Eq for Join {}
impl PartialOrd for Join {
    fn partial_cmp(&self, o: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for Join {
    fn cmp(&self, o: &Self) -> std::cmp::Ordering {
        self.score.total_cmp(&o.score).then(o.left.cmp(&self.left))
    }
}

/// A stretch of text on its way to be a token, in a doubly linked list.
struct Symbol {
    start: usize,
    len: usize,
    prev: usize,
    next: usize,
}

const NONE: usize = usize::MAX;

impl SentencePiece {
    pub fn build<S: ByteSource + ?Sized>(
        source: &S,
        file: &GgufFile,
        vocabulary: &Vocabulary,
        space_prefix: bool,
    ) -> Result<Self, Error> {
        let scores = file
            .floats(source, "tokenizer.ggml.scores")?
            .ok_or_else(|| unsupported("tokenizer.ggml.scores is missing"))?;
        if scores.len() != vocabulary.len() {
            return Err(unsupported(format!(
                "{} scores for {} tokens",
                scores.len(),
                vocabulary.len()
            )));
        }
        let mut ids = HashMap::with_capacity_and_hasher(vocabulary.len(), Default::default());
        for t in (0..vocabulary.len() as u32).filter(|t| vocabulary.is_text(*t)) {
            ids.entry(vocabulary.raw(t).into()).or_insert(t);
        }
        let bytes = (0..=255u8)
            .map(|b| ids.get(format!("<0x{b:02X}>").as_bytes()).copied())
            .collect();
        Ok(Self {
            ids,
            scores,
            bytes,
            space_prefix,
        })
    }

    /// Appends the tokens of `text`; `first`: nothing stands before it.
    pub fn encode(&self, text: &str, first: bool, vocabulary: &Vocabulary, out: &mut Vec<u32>) {
        let prefix = if self.space_prefix && first {
            SPACE
        } else {
            ""
        };
        let text = format!("{prefix}{}", text.replace(' ', SPACE));
        let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
        for (start, c) in text.char_indices() {
            let i = symbols.len();
            symbols.push(Symbol {
                start,
                len: c.len_utf8(),
                prev: i.wrapping_sub(1),
                next: i + 1,
            });
        }
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
        let mut heap = BinaryHeap::new();
        for i in 1..symbols.len() {
            self.consider(&text, &symbols, i - 1, i, &mut heap);
        }
        while let Some(j) = heap.pop() {
            let (l, r) = (&symbols[j.left], &symbols[j.right]);
            // A pair that has changed since it was found no longer counts.
            if l.len == 0 || r.len == 0 || l.next != j.right || l.len + r.len != j.len {
                continue;
            }
            let next = r.next;
            symbols[j.right].len = 0;
            symbols[j.left].len = j.len;
            symbols[j.left].next = next;
            if next != NONE {
                symbols[next].prev = j.left;
                self.consider(&text, &symbols, j.left, next, &mut heap);
            }
            let prev = symbols[j.left].prev;
            if prev != NONE {
                self.consider(&text, &symbols, prev, j.left, &mut heap);
            }
        }
        for s in symbols.iter().filter(|s| s.len > 0) {
            let piece = &text.as_bytes()[s.start..s.start + s.len];
            match self.ids.get(piece) {
                Some(t) => out.push(*t),
                None => out.extend(piece.iter().filter_map(|b| self.bytes[*b as usize])),
            }
        }
        debug_assert!(out.iter().all(|t| (*t as usize) < vocabulary.len()));
    }

    fn consider(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: usize,
        right: usize,
        heap: &mut BinaryHeap<Join>,
    ) {
        let (l, r) = (&symbols[left], &symbols[right]);
        let len = l.len + r.len;
        if let Some(t) = self.ids.get(&text.as_bytes()[l.start..l.start + len]) {
            heap.push(Join {
                score: self.scores[*t as usize],
                left,
                right,
                len,
            });
        }
    }
}

/// Appends the bytes of a word: `▁` is a space, `<0xNN>` a byte.
pub fn decode(word: &[u8], out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(word) else {
        return;
    };
    let hex = text
        .strip_prefix("<0x")
        .and_then(|t| t.strip_suffix('>'))
        .filter(|t| t.len() == 2);
    match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
        Some(b) => out.push(b),
        None => out.extend_from_slice(text.replace(SPACE, " ").as_bytes()),
    }
}

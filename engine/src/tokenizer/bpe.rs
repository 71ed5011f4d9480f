//! Joining neighbours, the best pair first: what byte-pair encoding and SentencePiece's BPE share.
//! O(n log n) in the length of the text, whatever the text.

use std::collections::BinaryHeap;

/// A stretch of text on its way to be a token, in a doubly linked list.
struct Symbol {
    start: usize,
    /// 0: it was joined to the one before it.
    len: usize,
    token: Option<u32>,
    prev: usize,
    next: usize,
}

/// A pair that could be joined. The greatest goes first: the best, then the leftmost.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    score: i32,
    left: std::cmp::Reverse<usize>,
    right: usize,
    len: usize,
    token: u32,
}

const NONE: usize = usize::MAX;

/// Cuts `text` into its characters (`single` gives a character's token) and bpe neighbours as
/// long as `pair` has a token for two of them and the text they span, with how good that is.
/// Calls `emit` with each stretch that is left and its token.
pub(super) fn merge_pairs<'t>(
    text: &'t str,
    single: impl Fn(&[u8]) -> Option<u32>,
    pair: impl Fn(Option<u32>, Option<u32>, &[u8]) -> Option<(i32, u32)>,
    mut emit: impl FnMut(Option<u32>, &'t [u8]),
) {
    let bytes = text.as_bytes();
    let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
    for (start, c) in text.char_indices() {
        let (i, len) = (symbols.len(), c.len_utf8());
        symbols.push(Symbol {
            start,
            len,
            token: single(&bytes[start..start + len]),
            prev: i.wrapping_sub(1),
            next: i + 1,
        });
    }
    if let Some(last) = symbols.last_mut() {
        last.next = NONE;
    }
    let mut heap = BinaryHeap::new();
    let consider =
        |symbols: &[Symbol], left: usize, right: usize, heap: &mut BinaryHeap<Candidate>| {
            let (l, r) = (&symbols[left], &symbols[right]);
            let len = l.len + r.len;
            if let Some((score, token)) = pair(l.token, r.token, &bytes[l.start..l.start + len]) {
                heap.push(Candidate {
                    score,
                    left: std::cmp::Reverse(left),
                    right,
                    len,
                    token,
                });
            }
        };
    for right in 1..symbols.len() {
        consider(&symbols, right - 1, right, &mut heap);
    }
    while let Some(j) = heap.pop() {
        let left = j.left.0;
        let (l, r) = (&symbols[left], &symbols[j.right]);
        // A pair that has changed since it was found no longer counts.
        if l.len == 0 || r.len == 0 || l.next != j.right || l.len + r.len != j.len {
            continue;
        }
        let (prev, next) = (l.prev, r.next);
        symbols[j.right].len = 0;
        symbols[left].len = j.len;
        symbols[left].token = Some(j.token);
        symbols[left].next = next;
        if next != NONE {
            symbols[next].prev = left;
            consider(&symbols, left, next, &mut heap);
        }
        if prev != NONE {
            consider(&symbols, prev, left, &mut heap);
        }
    }
    for s in symbols.iter().filter(|s| s.len > 0) {
        emit(s.token, &bytes[s.start..s.start + s.len]);
    }
}

//! SentencePiece BPE with scores and byte fallback, as llama.cpp's "llama" tokenizer does it: the
//! neighbouring pair whose join is the word of the highest score is joined first; what is no word
//! in the end becomes bytes.

use super::bpe;
use super::token_index::TokenIndex;
use super::vocabulary::Vocabulary;
use crate::{Error, unsupported};
use weights::{ByteSource, GgufFile};

/// The character SentencePiece writes for a space.
pub(super) const SPACE: &str = "\u{2581}";

/// The words by their spelling, and how good each is.
pub(super) struct SentencePiece {
    words: TokenIndex,
    /// Scores as whole numbers of the same order.
    score: Vec<i32>,
    bytes: Vec<Option<u32>>,
    space_prefix: bool,
}

/// Floats in their total order as integers in theirs.
fn in_order(score: f32) -> i32 {
    let bits = score.to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

impl SentencePiece {
    pub(super) fn build<S: ByteSource + ?Sized>(
        source: &S,
        file: &GgufFile,
        vocabulary: &Vocabulary,
        space_prefix: bool,
    ) -> Result<Self, Error> {
        // Without scores all are alike, as in llama.cpp: the leftmost pair goes first.
        let scores = file
            .floats(source, "tokenizer.ggml.scores")?
            .unwrap_or_else(|| vec![0.0; vocabulary.len()]);
        if scores.len() != vocabulary.len() {
            return Err(unsupported(format!(
                "{} scores for {} tokens",
                scores.len(),
                vocabulary.len()
            )));
        }
        let words = TokenIndex::new(vocabulary, |t| vocabulary.is_text(t))?;
        let bytes = (0..=255u8)
            .map(|b| words.get(vocabulary, format!("<0x{b:02X}>").as_bytes()))
            .collect();
        Ok(Self {
            words,
            score: scores.into_iter().map(in_order).collect(),
            bytes,
            space_prefix,
        })
    }

    /// Appends the tokens of `text`; `after_special`: it begins
    /// the text, or a special token stands before it.
    pub(super) fn encode(
        &self,
        text: &str,
        after_special: bool,
        vocabulary: &Vocabulary,
        out: &mut Vec<u32>,
    ) {
        let prefix = if self.space_prefix && after_special {
            SPACE
        } else {
            ""
        };
        let text = format!("{prefix}{}", text.replace(' ', SPACE));
        let word = |piece: &[u8]| self.words.get(vocabulary, piece);
        bpe::merge_pairs(
            &text,
            word,
            |_, _, both| word(both).map(|t| (self.score[t as usize], t)),
            |token, piece| match token {
                Some(t) => out.push(t),
                None => out.extend(piece.iter().filter_map(|b| self.bytes[usize::from(*b)])),
            },
        );
    }
}

/// Appends the bytes of a word: `▁` is a space, `<0xNN>` a byte.
pub(super) fn decode(word: &[u8], out: &mut Vec<u8>) {
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

#[cfg(test)]
mod tests {
    use super::in_order;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn scores_keep_their_order(a in any::<f32>(), b in any::<f32>()) {
            prop_assert_eq!(in_order(a).cmp(&in_order(b)), a.total_cmp(&b));
        }
    }
}

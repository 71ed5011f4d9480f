//! Tokens that text is cut into before the tokenizer sees it: the longest that stands at a place.

use super::vocabulary::Vocabulary;

/// Spellings of some tokens, looked up by what a text begins with. However many there are and
/// however alike, a place of a text costs a few binary searches.
pub(super) struct SpecialTokens {
    /// In the order of their spellings' bytes; of two with one spelling the first counts.
    tokens: Vec<u32>,
    /// Bytes that one of them begins with.
    first: [bool; 256],
}

impl SpecialTokens {
    /// Those of these tokens that are spelled at all.
    pub(super) fn new(vocabulary: &Vocabulary, tokens: impl Iterator<Item = u32>) -> Self {
        let mut tokens: Vec<u32> = tokens
            .filter(|t| !vocabulary.raw(*t).is_empty())
            .filter(|t| std::str::from_utf8(vocabulary.raw(*t)).is_ok())
            .collect();
        tokens.sort_by_key(|t| (vocabulary.raw(*t), *t));
        tokens.dedup_by_key(|t| vocabulary.raw(*t));
        let mut first = [false; 256];
        for t in &tokens {
            first[usize::from(vocabulary.raw(*t)[0])] = true;
        }
        Self { tokens, first }
    }

    /// The tokens, each spelling once.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Whether one of them is what `text` begins with, or begins with the whole of `text`.
    pub(super) fn could_start(&self, vocabulary: &Vocabulary, text: &[u8]) -> bool {
        if !text.first().is_some_and(|b| self.first[usize::from(*b)]) {
            return false;
        }
        let at = self.tokens.partition_point(|t| vocabulary.raw(*t) < text);
        let begins = |t: &u32| vocabulary.raw(*t).starts_with(text);
        self.tokens.get(at).is_some_and(begins) || self.longest(vocabulary, text).is_some()
    }

    /// The longest that `text` begins with, and its length in bytes.
    pub(super) fn longest(&self, vocabulary: &Vocabulary, text: &[u8]) -> Option<(u32, usize)> {
        if !text.first().is_some_and(|b| self.first[usize::from(*b)]) {
            return None;
        }
        // Beginnings of a text sort before it, the longest last. What sorts between that and the
        // text is longer than what the two have in common, so the search goes on with that alone.
        let mut text = text;
        loop {
            let after = self.tokens.partition_point(|t| vocabulary.raw(*t) <= text);
            let token = *self.tokens.get(after.checked_sub(1)?)?;
            let word = vocabulary.raw(token);
            let common = word.iter().zip(text).take_while(|(a, b)| a == b).count();
            if common == word.len() {
                return Some((token, common));
            }
            text = &text[..common];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_longest(words in proptest::collection::vec("[ab]{0,5}", 1..20), text in "[abc]{0,8}") {
            let bytes: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
            let vocabulary = Vocabulary::of(&bytes);
            let got = SpecialTokens::new(&vocabulary, 0..words.len() as u32).longest(&vocabulary, text.as_bytes());
            let best = words.iter().filter(|w| !w.is_empty() && text.starts_with(w.as_str())).max_by_key(|w| w.len());
            prop_assert_eq!(got.map(|g| g.1), best.map(|w| w.len()));
            prop_assert_eq!(got.map(|g| g.0 as usize), best.and_then(|b| words.iter().position(|w| w == b)));
        }
    }
}

//! Tokens to text as they come: never half a character, and never the beginning of a stop string.

use crate::tokenizer::Tokenizer;

/// The text of a generation so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextStream {
    /// Text that may be shown.
    pub text: String,
    /// Bytes that may still change meaning: an unfinished character, or what may become a stop
    /// string.
    pub pending: Vec<u8>,
}

impl TextStream {
    /// Takes a token. Returns `true` if a stop string is complete (it and what follows are left out).
    pub fn push(&mut self, token: u32, tokenizer: &Tokenizer, stops: &[String]) -> bool {
        tokenizer.decode(token, &mut self.pending);
        self.flush_certain_text(stops)
    }

    /// No more tokens: what is pending becomes text.
    pub fn finish(&mut self) {
        let rest = std::mem::take(&mut self.pending);
        self.text.push_str(&String::from_utf8_lossy(&rest));
    }

    /// Moves what is certain from `pending` to `text`.
    fn flush_certain_text(&mut self, stops: &[String]) -> bool {
        let first = stops
            .iter()
            .filter_map(|s| {
                self.pending
                    .windows(s.len().max(1))
                    .position(|w| w == s.as_bytes())
            })
            .min();
        if let Some(at) = first {
            self.pending.truncate(at);
            self.finish();
            return true;
        }
        let held = stops
            .iter()
            .map(|s| held_back(&self.pending, s.as_bytes()))
            .max()
            .unwrap_or(0);
        let free = self.pending.len() - held;
        let rest = self.pending.split_off(free);
        let mut bytes = std::mem::replace(&mut self.pending, rest);
        let tail = unfinished(&bytes);
        self.pending
            .splice(0..0, bytes.split_off(bytes.len() - tail));
        self.text.push_str(&String::from_utf8_lossy(&bytes));
        false
    }
}

/// Returns the length of the longest end of `bytes` that begins `stop`.
fn held_back(bytes: &[u8], stop: &[u8]) -> usize {
    let longest = bytes.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|n| stop.starts_with(&bytes[bytes.len() - n..]))
        .unwrap_or(0)
}

/// Returns the length of an unfinished but so far valid character at the end.
fn unfinished(bytes: &[u8]) -> usize {
    for n in 1..=bytes.len().min(3) {
        let tail = &bytes[bytes.len() - n..];
        if let Err(e) = std::str::from_utf8(tail)
            && e.valid_up_to() == 0
            && e.error_len().is_none()
        {
            return n;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_cutting_into_tokens_gives_the_same_text(
            s in "[a-c\u{e9}\u{4e16}\u{1f600} ]{0,40}",
            cuts in proptest::collection::vec(1usize..4, 1..80),
            stop in "[a-c ]{0,3}",
        ) {
            let stops: Vec<String> = if stop.is_empty() { vec![] } else { vec![stop.clone()] };
            let mut t = TextStream::default();
            let (mut rest, mut stopped) = (s.as_bytes(), false);
            for c in cuts.iter().cycle() {
                if rest.is_empty() || stopped { break; }
                let n = (*c).min(rest.len());
                t.pending.extend_from_slice(&rest[..n]);
                rest = &rest[n..];
                let shown = t.text.clone();
                stopped = t.flush_certain_text(&stops);
                prop_assert!(t.text.starts_with(&shown));
                let replaced = t.text.contains('\u{fffd}');
                prop_assert!(!replaced);
            }
            if !stopped { t.finish(); }
            let expected = match s.find(&stop) {
                Some(at) if !stop.is_empty() => &s[..at],
                _ => &s[..],
            };
            prop_assert_eq!(&t.text, expected);
        }
    }
}

//! The words of a model, in one buffer.

use crate::{Error, unsupported};
use weights::{ByteSource, GgufFile};

/// Token types of GGUF.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Longest word (bytes). The longest of real models have a few hundred.
const MAX_WORD_BYTES: usize = 4_096;

/// Names of tokens that end an answer (llama.cpp, `src/llama-vocab.cpp`: `special_eog_ids`).
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    // Padding, repository and file separators of code models.
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Names of other tokens that llama.cpp takes for control tokens, whatever their type.
const CONTROLS: &[&str] = &[
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];

/// Words by number.
pub struct Vocabulary {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Types, with those that names decide.
    kinds: Vec<i32>,
    /// Tokens whose names end an answer.
    end_tokens: Vec<u32>,
}

impl Vocabulary {
    /// Reads `tokenizer.ggml.tokens` and `tokenizer.ggml.token_type`.
    ///
    /// # Errors
    /// Words that are not as many as the embedding's rows, or one that is too long.
    pub fn read<S: ByteSource + ?Sized>(source: &S, file: &GgufFile) -> Result<Self, Error> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let mut candidates = Vec::new();
        let key = "tokenizer.ggml.tokens";
        let rows = file.tensor("token_embd.weight")?.rows;
        if let Some(words) = file.array_len(key)
            && words != rows
        {
            return Err(unsupported(format!(
                "{key} has {words} words, token_embd.weight {rows} rows"
            )));
        }
        let count = file.for_each_string(source, key, |i, word| {
            if word.len() > MAX_WORD_BYTES {
                return Err(weights::Error::Unsupported(format!(
                    "{key}: word {i} has {} bytes, at most {MAX_WORD_BYTES} are supported",
                    word.len()
                )));
            }
            // Most words begin otherwise: every start of a model pays for this look.
            if begins_as_a_name(word) {
                candidates.push(ends.len() as u32);
            }
            bytes.extend_from_slice(word);
            ends.push(bytes.len() as u32);
            Ok(())
        })?;
        let count = count.ok_or_else(|| unsupported(format!("{key} is missing")))? as usize;
        let kinds = file
            .ints(source, "tokenizer.ggml.token_type")?
            .unwrap_or_default();
        if count == 0 || (!kinds.is_empty() && kinds.len() != count) {
            return Err(unsupported(format!(
                "{count} tokens with {} token types",
                kinds.len()
            )));
        }
        let mut vocabulary = Self {
            bytes,
            ends,
            kinds,
            end_tokens: Vec::new(),
        };
        vocabulary.name_controls(&candidates);
        Ok(vocabulary)
    }

    /// Gives tokens with names that llama.cpp knows the type of control tokens. Where the file has
    /// no types, or says of all that they are text, so do names of the form `<|…|>`.
    ///
    /// `candidates` are the tokens that begin as one of these names does.
    fn name_controls(&mut self, candidates: &[u32]) {
        let special = |kind: &i32| matches!(*kind, CONTROL | USER_DEFINED);
        let untyped = !self.kinds.iter().any(special);
        if self.kinds.is_empty() {
            self.kinds = vec![NORMAL; self.len()];
        }
        let (mut ends, mut controls) = (Vec::new(), Vec::new());
        for &token in candidates {
            let word = self.raw(token);
            let named = |names: &[&str]| names.iter().any(|n| n.as_bytes() == word);
            if named(ENDS) {
                ends.push(token);
            } else if !(named(CONTROLS) || untyped && is_bar_name(word)) {
                continue;
            }
            controls.push(token);
        }
        for token in controls {
            self.kinds[token as usize] = CONTROL;
        }
        // gpt-oss and Solar say `<|end|>` between parts of one answer; Gemma 4's `</s>` is text.
        let find = |name: &str| {
            let mut found = ends.iter().copied();
            found.find(|t| self.raw(*t) == name.as_bytes())
        };
        let any = |names: &[&str]| names.iter().any(|n| find(n).is_some());
        let mut dropped = Vec::new();
        if any(&["<|call|>", "<|calls|>"]) && any(&["<|return|>", "<|flush|>"]) {
            dropped.extend(find("<|end|>").map(|t| (t, USER_DEFINED)));
        }
        if any(&["<|tool_response>"]) {
            dropped.extend(find("</s>").map(|t| (t, NORMAL)));
        }
        for (token, kind) in dropped {
            self.kinds[token as usize] = kind;
            ends.retain(|t| *t != token);
        }
        self.end_tokens = ends;
    }

    /// Returns the tokens that end an answer by their names, in ascending order.
    pub(super) fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// Of these words, all of them text.
    #[cfg(test)]
    pub fn of(words: &[&[u8]]) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for word in words {
            bytes.extend_from_slice(word);
            ends.push(bytes.len() as u32);
        }
        Self {
            bytes,
            ends,
            kinds: Vec::new(),
            end_tokens: Vec::new(),
        }
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no words (never: an empty vocabulary is refused).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The word as the file spells it ("" for a number out of range).
    #[inline(always)]
    pub fn raw(&self, token: u32) -> &[u8] {
        let i = token as usize;
        let Some(end) = self.ends.get(i) else {
            return &[];
        };
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start as usize..*end as usize]
    }

    /// Tokens that steer the model and stand for no text. Some files have theirs as user-defined:
    /// those are known by their spelling, `<|…|>`.
    pub fn is_control(&self, token: u32) -> bool {
        match self.kinds.get(token as usize) {
            Some(&CONTROL) => true,
            Some(&USER_DEFINED) => is_bar_name(self.raw(token)),
            _ => false,
        }
    }

    /// Tokens that are text, and that text is cut into before anything else: user-defined ones,
    /// such as Gemma's runs of line ends and Qwen's `<tool_call>`.
    pub fn is_added(&self, token: u32) -> bool {
        self.kinds.get(token as usize) == Some(&USER_DEFINED) && !self.is_control(token)
    }

    /// Whether text may be cut into this token.
    pub fn is_text(&self, token: u32) -> bool {
        !matches!(
            self.kinds.get(token as usize),
            Some(&(UNKNOWN | CONTROL | UNUSED))
        )
    }
}

/// Returns `true` if a word begins as one of [`ENDS`] and [`CONTROLS`] does, or as `<|…|>`.
#[inline(always)]
fn begins_as_a_name(word: &[u8]) -> bool {
    matches!(word, [b'<' | b'[' | b'_', ..] | [0xe2, _, _, b'<', ..])
}

/// Returns `true` for names of the form `<|…|>`.
fn is_bar_name(word: &[u8]) -> bool {
    word.len() > 4 && word.starts_with(b"<|") && word.ends_with(b"|>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(words: &[&str], kinds: &[i32]) -> Vocabulary {
        let words: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
        let mut vocabulary = Vocabulary::of(&words);
        vocabulary.kinds = kinds.to_vec();
        let tokens = 0..words.len() as u32;
        let candidates: Vec<u32> = tokens
            .filter(|t| begins_as_a_name(words[*t as usize]))
            .collect();
        vocabulary.name_controls(&candidates);
        vocabulary
    }

    #[test]
    fn ends_are_known_by_name_whatever_their_type() {
        for name in ENDS {
            for kind in [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED] {
                let vocabulary = named(&["a", name], &[NORMAL, kind]);
                assert_eq!(vocabulary.end_tokens(), [1], "{name}");
                assert!(vocabulary.is_control(1) && !vocabulary.is_control(0));
            }
        }
        assert!(
            ENDS.iter()
                .chain(CONTROLS)
                .all(|n| begins_as_a_name(n.as_bytes()))
        );
        assert!(named(&["<|im_start|>"], &[CONTROL]).end_tokens().is_empty());
        let harmony = ["<|end|>", "<|return|>", "<|call|>"];
        assert_eq!(named(&harmony, &[CONTROL; 3]).end_tokens(), [1, 2]);
    }

    #[test]
    fn without_types_names_make_control_tokens() {
        for kinds in [&[][..], &[NORMAL; 3]] {
            let vocabulary = named(&["<|im_start|>", "<|", "<fim_prefix>"], kinds);
            let control = [0, 1, 2].map(|t| vocabulary.is_control(t));
            assert_eq!(control, [true, false, true]);
        }
    }
}

//! The words of a model, in one buffer.

use crate::{Error, unsupported};
use weights::{ByteSource, GgufFile};

/// Token types of GGUF that are not ordinary text.
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Longest word (bytes). The longest of real models have a few hundred.
const MAX_WORD_BYTES: usize = 4_096;

/// Words by number.
pub struct Vocabulary {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    kinds: Vec<i32>,
}

impl Vocabulary {
    /// Reads `tokenizer.ggml.tokens` and `tokenizer.ggml.token_type`.
    ///
    /// # Errors
    /// Words that are not as many as the embedding's rows, or one that is too long.
    pub fn read<S: ByteSource + ?Sized>(source: &S, file: &GgufFile) -> Result<Self, Error> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
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
        Ok(Self { bytes, ends, kinds })
    }

    /// Of these words, all of them text.
    #[cfg(test)]
    pub fn of(words: &[&[u8]]) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for word in words {
            bytes.extend_from_slice(word);
            ends.push(bytes.len() as u32);
        }
        let kinds = Vec::new();
        Self { bytes, ends, kinds }
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
            Some(&USER_DEFINED) => {
                let word = self.raw(token);
                word.starts_with(b"<|") && word.ends_with(b"|>")
            }
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

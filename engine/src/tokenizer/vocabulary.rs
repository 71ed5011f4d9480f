//! The words of a model, in one buffer.

use crate::{Error, unsupported};
use weights::{ByteSource, GgufFile};

/// Token types of GGUF that are not ordinary text.
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Words by number.
pub struct Vocabulary {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    kinds: Vec<i32>,
}

impl Vocabulary {
    /// Reads `tokenizer.ggml.tokens` and `tokenizer.ggml.token_type`.
    pub fn read<S: ByteSource + ?Sized>(source: &S, file: &GgufFile) -> Result<Self, Error> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let count = file.for_each_string(source, "tokenizer.ggml.tokens", |_, word| {
            bytes.extend_from_slice(word);
            ends.push(bytes.len() as u32);
            Ok(())
        })?;
        let count = count.ok_or_else(|| unsupported("tokenizer.ggml.tokens is missing"))? as usize;
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

    /// Control and user-defined tokens.
    pub fn is_special(&self, token: u32) -> bool {
        matches!(
            self.kinds.get(token as usize),
            Some(&(CONTROL | USER_DEFINED))
        )
    }

    /// Whether text may be cut into this token.
    pub fn is_text(&self, token: u32) -> bool {
        !matches!(
            self.kinds.get(token as usize),
            Some(&(UNKNOWN | CONTROL | UNUSED))
        )
    }
}

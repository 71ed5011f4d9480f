//! Byte-level BPE on the tokenizers crate.

use super::vocabulary::Vocabulary;
use crate::{Error, unsupported};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{PreTokenizerWrapper, Tokenizer};
use weights::{ByteSource, GgufFile};

/// Builds the tokenizer; `pre` is the pre-tokenizer's name in llama.cpp.
pub fn build<S: ByteSource + ?Sized>(
    source: &S,
    file: &GgufFile,
    vocabulary: &Vocabulary,
    pre: &str,
) -> Result<Tokenizer, Error> {
    let byte_level = ByteLevel::new(false, false, true);
    let pre_tokenizer: PreTokenizerWrapper = match pre {
        // Every digit by itself, then GPT-2's pattern.
        "smollm" => Sequence::new(vec![Digits::new(true).into(), byte_level.into()]).into(),
        "gpt-2" | "default" => byte_level.into(),
        other => return Err(unsupported(format!("tokenizer.ggml.pre {other}"))),
    };
    let words: Vec<(String, u32)> = (0..vocabulary.len() as u32)
        .filter_map(|t| Some((std::str::from_utf8(vocabulary.raw(t)).ok()?.to_owned(), t)))
        .collect();
    let mut merges = Vec::new();
    let found = file.for_each_string(source, "tokenizer.ggml.merges", |_, merge| {
        let text = std::str::from_utf8(merge).ok();
        let (a, b) = text.and_then(|t| t.split_once(' ')).ok_or_else(|| {
            weights::Error::Unsupported("tokenizer.ggml.merges has an entry that is no pair".into())
        })?;
        merges.push((a.to_owned(), b.to_owned()));
        Ok(())
    })?;
    if found.is_none() {
        return Err(unsupported("tokenizer.ggml.merges is missing"));
    }
    let bpe = BPE::builder()
        .vocab_and_merges(words.into_iter().collect::<tokenizers_map::Map>(), merges)
        .cache_capacity(0)
        .build()
        .map_err(|e| unsupported(format!("tokenizer.ggml.merges: {e}")))?;
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    Ok(tokenizer)
}

/// The map type the BPE builder takes.
mod tokenizers_map {
    pub type Map = std::collections::HashMap<String, u32, ahash::RandomState>;
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

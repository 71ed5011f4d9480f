//! The engine's byte-level BPE against that of the tokenizers crate, on the model's own vocabulary.

use anyhow::{Context, Result};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use weights::GgufFile;
use weights::gguf::source::FileSource;

/// Many scripts, emoji, code and odd whitespace.
const TEXTS: [&str; 8] = [
    include_str!("../../data/alice.txt"),
    include_str!("../../data/texts/code.txt"),
    include_str!("../../data/texts/french.txt"),
    "日本語のテキスト。한국어 문장. Ελληνικά, русский язык, العربية, עברית, हिन्दी, ไทย",
    "👩‍👩‍👧‍👦 flags 🇨🇭🇫🇷 and ☃︎, \u{1F600}\u{200D}\u{FE0F} zero width\u{200B}joined",
    "  leading, \t tabs\t\t, \r\n lines\n\n\n   and trailing   \u{a0}\u{3000} ",
    "1234567890 3.14159 0x1F 1e-9 -- != <= => :: /* */ #!/usr/bin/env",
    "don't I'll we've they're she'd it's 'quoted' aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

#[test]
fn tokens_are_those_of_the_tokenizers_crate() -> Result<()> {
    let source = FileSource::open(e2e::model()?)?;
    let file = GgufFile::read(&source)?;
    let ours = engine::Tokenizer::from_gguf(&source, &file)?;

    let mut vocabulary = tokenizers::models::bpe::Vocab::default();
    file.for_each_string(&source, "tokenizer.ggml.tokens", |i, word| {
        vocabulary.insert(String::from_utf8_lossy(word).into_owned(), i as u32);
        Ok(())
    })?;
    let mut merges = Vec::new();
    file.for_each_string(&source, "tokenizer.ggml.merges", |_, merge| {
        let text = String::from_utf8_lossy(merge);
        let (a, b) = text.split_once(' ').unwrap_or((&text, ""));
        merges.push((a.to_owned(), b.to_owned()));
        Ok(())
    })?
    .context("merges")?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .build()
        .map_err(anyhow::Error::msg)?;
    let mut theirs = tokenizers::Tokenizer::new(bpe);
    theirs.with_pre_tokenizer(Some(Sequence::new(vec![
        Digits::new(true).into(),
        ByteLevel::new(false, false, true).into(),
    ])));

    for text in TEXTS {
        let expected = theirs.encode(text, false).map_err(anyhow::Error::msg)?;
        assert_eq!(ours.encode_plain(text)?, expected.get_ids(), "{text:?}");
    }
    // Every beginning of a text with multi-byte characters, so that words end anywhere.
    let text = TEXTS[3];
    for (end, _) in text.char_indices() {
        let expected = theirs
            .encode(&text[..end], false)
            .map_err(anyhow::Error::msg)?;
        assert_eq!(ours.encode_plain(&text[..end])?, expected.get_ids());
    }
    Ok(())
}

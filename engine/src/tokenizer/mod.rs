//! Text to tokens and back, from a GGUF file's metadata.
//!
//! `tokenizer.ggml.model` says which: "gpt2" is byte-level BPE ([`bytelevel`]), "llama" is
//! SentencePiece ([`sentencepiece`]). Special tokens are cut out before either sees the text.

mod bytelevel;
mod joins;
mod sentencepiece;
mod specials;
mod vocabulary;
mod words;

pub use vocabulary::Vocabulary;

use specials::Specials;

use crate::{Error, unsupported};
use std::ops::Range;
use weights::{ByteSource, GgufFile};

enum Kind {
    ByteLevel(Box<bytelevel::ByteLevelBpe>),
    SentencePiece(sentencepiece::SentencePiece),
}

/// A model's tokenizer.
pub struct Tokenizer {
    kind: Kind,
    vocabulary: Vocabulary,
    /// Control tokens and those that are text, for what a template writes.
    specials: Specials,
    controls: Specials,
    /// Those that are text, for what people write.
    added: Specials,
    bos: Option<u32>,
    add_bos: bool,
    ends: Vec<u32>,
}

/// Longest prompt taken at all (bytes).
pub const MAX_PROMPT_BYTES: usize = 1 << 20;

impl Tokenizer {
    /// Reads the vocabulary from `source`.
    ///
    /// # Errors
    /// A tokenizer this engine does not run, or metadata that does not fit itself.
    pub fn from_gguf<S: ByteSource + ?Sized>(source: &S, file: &GgufFile) -> Result<Self, Error> {
        let vocabulary = Vocabulary::read(source, file)?;
        let kind = match file.string("tokenizer.ggml.model") {
            Some("gpt2") => {
                let pre = file.string("tokenizer.ggml.pre").unwrap_or("default");
                let bpe = bytelevel::ByteLevelBpe::build(source, file, &vocabulary, pre)?;
                Kind::ByteLevel(Box::new(bpe))
            }
            Some("llama") => {
                let prefix = file.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true);
                Kind::SentencePiece(sentencepiece::SentencePiece::build(
                    source,
                    file,
                    &vocabulary,
                    prefix,
                )?)
            }
            Some(other) => return Err(unsupported(format!("tokenizer.ggml.model {other}"))),
            None => return Err(unsupported("tokenizer.ggml.model is missing")),
        };
        let id = |key: &str| {
            file.uint(&format!("tokenizer.ggml.{key}"))
                .and_then(|v| u32::try_from(v).ok())
                .filter(|v| (*v as usize) < vocabulary.len())
        };
        let list: Vec<u32> = (0..vocabulary.len() as u32)
            .filter(|t| vocabulary.is_control(*t) || vocabulary.is_added(*t))
            .collect();
        let (mut control, mut added) = (list.clone(), list.clone());
        control.retain(|t| vocabulary.is_control(*t));
        added.retain(|t| vocabulary.is_added(*t));
        let of = |tokens: Vec<u32>| Specials::new(&vocabulary, tokens.into_iter());
        let (specials, controls, added) = (of(list), of(control), of(added));
        // Tokens that end an answer: those the file names, and the usual names of end-of-turn.
        let mut ends: Vec<u32> = ["eos_token_id", "eot_token_id", "eom_token_id"]
            .into_iter()
            .filter_map(id)
            .collect();
        let names = [
            "<|im_end|>",
            "<|endoftext|>",
            "<end_of_turn>",
            "<|eot_id|>",
            "<|end|>",
            "</s>",
        ];
        let named = |t: &u32| names.iter().any(|n| n.as_bytes() == vocabulary.raw(*t));
        ends.extend(specials.tokens().iter().copied().filter(named));
        ends.sort_unstable();
        ends.dedup();
        let bos = id("bos_token_id");
        let add_bos = file
            .bool("tokenizer.ggml.add_bos_token")
            .unwrap_or(matches!(kind, Kind::SentencePiece(_)));
        Ok(Self {
            kind,
            vocabulary,
            specials,
            controls,
            added,
            bos,
            add_bos,
            ends,
        })
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this token ends an answer.
    pub fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The text of the token a text begins with, for templates ("" if there is none).
    pub fn bos_text(&self) -> &str {
        self.bos
            .and_then(|t| std::str::from_utf8(self.vocabulary.raw(t)).ok())
            .unwrap_or("")
    }

    /// The text of the token that ends a text, for templates.
    pub fn eos_text(&self) -> &str {
        let first = self.ends.first();
        first
            .and_then(|t| std::str::from_utf8(self.vocabulary.raw(*t)).ok())
            .unwrap_or("")
    }

    /// Appends the bytes this token stands for; control tokens stand for none.
    pub fn decode(&self, token: u32, out: &mut Vec<u8>) {
        if self.vocabulary.is_control(token) {
            return;
        }
        match &self.kind {
            // Spelled as it is, not byte by byte.
            Kind::ByteLevel(_) if self.vocabulary.is_added(token) => {
                out.extend_from_slice(self.vocabulary.raw(token));
            }
            Kind::ByteLevel(_) => bytelevel::decode(self.vocabulary.raw(token), out),
            Kind::SentencePiece(_) => sentencepiece::decode(self.vocabulary.raw(token), out),
        }
    }

    /// Tokens of plain text: names of control tokens in it are text.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, Error> {
        let everything = 0..text.len();
        self.encode_template(text, std::slice::from_ref(&everything))
    }

    /// Tokens of text in which control tokens count, except within the ranges `literal` (sorted).
    pub fn encode_template(&self, text: &str, literal: &[Range<usize>]) -> Result<Vec<u32>, Error> {
        let out = self.start(text)?;
        self.encode_marked(text, literal, out, true)
    }

    /// The same for text that goes on from text that is tokens already.
    pub fn encode_more(&self, text: &str, literal: &[Range<usize>]) -> Result<Vec<u32>, Error> {
        check_length(text)?;
        self.encode_marked(text, literal, Vec::new(), false)
    }

    fn encode_marked(
        &self,
        text: &str,
        literal: &[Range<usize>],
        mut out: Vec<u32>,
        first: bool,
    ) -> Result<Vec<u32>, Error> {
        let mut literal = literal.iter().peekable();
        let (mut begin, mut at) = (0, 0);
        while at < text.len() {
            while literal.peek().is_some_and(|r| r.end <= at) {
                literal.next();
            }
            let (inside, limit) = match literal.peek() {
                Some(r) if r.start <= at => (true, r.end),
                Some(r) => (false, r.start),
                None => (false, text.len()),
            };
            let specials = if inside { &self.added } else { &self.specials };
            // A special token lies on one side of a border.
            let hit = specials.longest(&self.vocabulary, &text.as_bytes()[at..limit]);
            let Some((token, len)) = hit else {
                at += 1;
                continue;
            };
            self.encode_piece(&text[begin..at], first && begin == 0, &mut out)?;
            // A template that writes the first token itself does not get it twice.
            let again = first && at == 0 && self.add_bos && Some(token) == self.bos;
            if !(again && out.len() == 1) {
                out.push(token);
            }
            at += len;
            begin = at;
        }
        self.encode_piece(&text[begin..], first && begin == 0, &mut out)?;
        Ok(out)
    }

    /// Where in a text a control token could be read, had the text come from the template: where
    /// there is a control token's name, or the beginning of one that the text's end cuts off.
    pub fn control_names<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        (0..text.len()).filter(|at| {
            self.controls
                .meets(&self.vocabulary, &text.as_bytes()[*at..])
        })
    }

    fn start(&self, text: &str) -> Result<Vec<u32>, Error> {
        check_length(text)?;
        Ok(if self.add_bos {
            self.bos.into_iter().collect()
        } else {
            Vec::new()
        })
    }

    fn encode_piece(&self, text: &str, first: bool, out: &mut Vec<u32>) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        match &self.kind {
            Kind::ByteLevel(t) => t.encode(text, &self.vocabulary, out)?,
            // What stands for a space is one, also before added tokens are looked for.
            Kind::SentencePiece(_) if text.contains(sentencepiece::SPACE) => {
                let text = text.replace(sentencepiece::SPACE, " ");
                let everything = 0..text.len();
                let literal = std::slice::from_ref(&everything);
                *out = self.encode_marked(&text, literal, std::mem::take(out), first)?;
            }
            Kind::SentencePiece(s) => s.encode(text, first, &self.vocabulary, out),
        }
        Ok(())
    }
}

fn check_length(text: &str) -> Result<(), Error> {
    if text.len() > MAX_PROMPT_BYTES {
        return Err(Error::InvalidArgument(format!(
            "the prompt has {} bytes: at most {MAX_PROMPT_BYTES} are taken",
            text.len()
        )));
    }
    Ok(())
}

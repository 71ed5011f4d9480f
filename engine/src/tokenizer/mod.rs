//! Text to tokens and back, from a GGUF file's metadata.
//!
//! `tokenizer.ggml.model` says which: "gpt2" is byte-level BPE (`byte_level`), "llama" is
//! SentencePiece (`sentencepiece`). Special tokens are cut out before either sees the text.

mod bpe;
mod byte_level;
mod pre_tokenizer;
mod sentencepiece;
mod special_tokens;
mod token_index;
mod vocabulary;

pub use vocabulary::Vocabulary;

use special_tokens::SpecialTokens;

use crate::{Error, unsupported};
use std::ops::Range;
use weights::{ByteSource, GgufFile};

enum Kind {
    ByteLevel(Box<byte_level::ByteLevelBpe>),
    SentencePiece(sentencepiece::SentencePiece),
}

/// A model's tokenizer.
pub struct Tokenizer {
    kind: Kind,
    vocabulary: Vocabulary,
    /// Control tokens and those that are text, for what a template writes.
    specials: SpecialTokens,
    controls: SpecialTokens,
    /// Those that are text, for what people write.
    added: SpecialTokens,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    ends: Vec<u32>,
    /// White space after a special token is no text (Phi-3).
    strips_after: Vec<u32>,
    warning: Option<String>,
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
        let mut warning = None;
        let kind = match file.string("tokenizer.ggml.model") {
            Some("gpt2") => {
                let pre = file.string("tokenizer.ggml.pre").unwrap_or("");
                let pre = match pre {
                    "" | "default" => {
                        warning = Some(
                            "the file does not name its pre-tokenizer (tokenizer.ggml.pre): \
                             llama.cpp's default is used, and answers may be worse"
                                .into(),
                        );
                        "default"
                    }
                    name => name,
                };
                let bpe = byte_level::ByteLevelBpe::build(source, file, &vocabulary, pre)?;
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
        let of = |tokens: Vec<u32>| SpecialTokens::new(&vocabulary, tokens.into_iter());
        let (specials, controls, added) = (of(list), of(control), of(added));
        // llama.cpp's defaults for SentencePiece are BOS 1, EOS 2 (`llama_vocab::impl::load`).
        let default = |id: u32| {
            let known = matches!(kind, Kind::SentencePiece(_)) && (id as usize) < vocabulary.len();
            known.then_some(id)
        };
        let bos = id("bos_token_id").or_else(|| default(1));
        let eos = id("eos_token_id").or_else(|| default(2));
        // Tokens that end an answer: those the file names, and those with names that end one.
        let mut ends: Vec<u32> = ["eot_token_id", "eom_token_id", "fim_pad_token_id"]
            .into_iter()
            .chain(["fim_rep_token_id", "fim_sep_token_id"])
            .filter_map(id)
            .chain(eos)
            .chain(vocabulary.end_tokens().iter().copied())
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let add_bos = file
            .bool("tokenizer.ggml.add_bos_token")
            .unwrap_or(match &kind {
                Kind::SentencePiece(_) => true,
                Kind::ByteLevel(bpe) => bpe.begins_with_bos(),
            });
        // llama.cpp knows Phi-3 by the model's name.
        let name = file.string("general.name").unwrap_or("").to_lowercase();
        let mut strips_after: Vec<u32> = match name.contains("phi-3") || name.contains("phi3") {
            true => specials
                .tokens()
                .iter()
                .copied()
                .filter(|t| {
                    let word = vocabulary.raw(*t);
                    !matches!(word, b"<unk>" | b"<s>" | b"<|endoftext|>")
                })
                .collect(),
            false => Vec::new(),
        };
        strips_after.sort_unstable();
        Ok(Self {
            kind,
            vocabulary,
            specials,
            controls,
            added,
            bos,
            eos,
            add_bos,
            ends,
            strips_after,
            warning,
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

    /// Returns what a reader of this file should know, if anything.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Returns the text of the file's `bos_token_id`, for templates ("" if there is none).
    pub fn bos_text(&self) -> &str {
        self.text_of(self.bos)
    }

    /// Returns the text of the file's `eos_token_id`, for templates ("" if there is none).
    pub fn eos_text(&self) -> &str {
        self.text_of(self.eos)
    }

    fn text_of(&self, token: Option<u32>) -> &str {
        let word = token.map_or(&[][..], |t| self.vocabulary.raw(t));
        std::str::from_utf8(word).unwrap_or("")
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
            Kind::ByteLevel(_) => byte_level::decode(self.vocabulary.raw(token), out),
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

    /// Appends the tokens of a text to `out`. `first`: the text begins here, so that BOS, which
    /// `out` may have already, does not come twice, and SentencePiece puts a space before it.
    fn encode_marked(
        &self,
        text: &str,
        literal: &[Range<usize>],
        mut out: Vec<u32>,
        first: bool,
    ) -> Result<Vec<u32>, Error> {
        let mut literal = literal.iter().peekable();
        let (mut begin, mut at) = (0, 0);
        // The beginning counts as if a special token stood before it (llama.cpp's
        // `is_prev_special`).
        let mut after_special = first;
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
            self.encode_piece(&text[begin..at], after_special, &mut out)?;
            // A template that writes the first token itself does not get it twice.
            let again = first && at == 0 && self.add_bos && Some(token) == self.bos;
            if !(again && out.len() == 1) {
                out.push(token);
            }
            at += len;
            after_special = true;
            if self.strips_after.binary_search(&token).is_ok() {
                let space = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
                at += text.as_bytes()[at..]
                    .iter()
                    .take_while(|b| space(b))
                    .count();
            }
            begin = at;
        }
        self.encode_piece(&text[begin..], after_special, &mut out)?;
        Ok(out)
    }

    /// Where in a text a control token could be read, had the text come from the template: where
    /// there is a control token's name, or the beginning of one that the text's end cuts off.
    pub fn control_names<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        (0..text.len()).filter(|at| {
            self.controls
                .could_start(&self.vocabulary, &text.as_bytes()[*at..])
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

    fn encode_piece(
        &self,
        text: &str,
        after_special: bool,
        out: &mut Vec<u32>,
    ) -> Result<(), Error> {
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
                *out = self.encode_marked(&text, literal, std::mem::take(out), after_special)?;
            }
            Kind::SentencePiece(s) => s.encode(text, after_special, &self.vocabulary, out),
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

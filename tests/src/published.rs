//! Published tokenizers as GGUF files have them: the words, types, merges and template of a
//! `tokenizer.json`, around a model that is nothing but an embedding of zeros.

use crate::raw_gguf::{Raw, array, text, texts};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const U32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A published tokenizer.
pub struct Published {
    /// `tokenizer.json`.
    pub path: PathBuf,
    tokenizer: Value,
    config: Value,
}

fn read(path: &Path) -> Result<Value> {
    let file = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_slice(&file)?)
}

/// A text, or the text of a token.
fn content(value: &Value) -> &str {
    let text = value.as_str().or_else(|| value["content"].as_str());
    text.unwrap_or("")
}

/// The two words of a merge.
fn pair(merge: &Value) -> Option<(&str, &str)> {
    match merge.as_array() {
        Some(pair) => Some((pair.first()?.as_str()?, pair.get(1)?.as_str()?)),
        None => merge.as_str()?.split_once(' '),
    }
}

impl Published {
    /// Fetches it with `scripts/fetch-tokenizer`.
    ///
    /// # Errors
    /// When it cannot be fetched or read.
    pub fn fetch(name: &str) -> Result<Self> {
        let folder = crate::files::run(&["fetch-tokenizer", name])?;
        let path = folder.join("tokenizer.json");
        Ok(Self {
            tokenizer: read(&path)?,
            config: read(&folder.join("tokenizer_config.json"))?,
            path,
        })
    }

    /// Words by number, and GGUF's type of each.
    fn words(&self) -> Result<Vec<(String, i32)>> {
        let vocabulary = self.tokenizer["model"]["vocab"].as_object();
        let vocabulary = vocabulary.context("a vocabulary")?;
        let added = self.tokenizer["added_tokens"].as_array().context("added")?;
        let spm = self.tokenizer["model"]["byte_fallback"] == true;
        let mut words: Vec<(String, i32)> = Vec::new();
        let mut put = |id: &Value, word: &str, kind: i32| -> Result<()> {
            let id = id.as_u64().context("a number")? as usize;
            if words.len() <= id {
                words.resize(id + 1, ("".into(), 5));
            }
            words[id] = (word.into(), kind);
            Ok(())
        };
        for (word, id) in vocabulary {
            let byte = spm && word.len() == 6 && word.starts_with("<0x");
            put(id, word, if byte { 6 } else { 1 })?;
        }
        for token in added {
            let word = content(token);
            let kind = match (word, token["special"] == true) {
                ("<unk>", _) => 2,
                (_, true) => 3,
                _ => 4,
            };
            put(&token["id"], word, kind)?;
        }
        // Numbers that are not taken.
        for (i, (word, kind)) in words.iter_mut().enumerate() {
            if *kind == 5 {
                *word = format!("[PAD{i}]");
            }
        }
        Ok(words)
    }

    /// Pairs of words that become one, the first first.
    fn merges(&self) -> Result<Vec<(&str, &str)>> {
        let merges = self.tokenizer["model"]["merges"].as_array();
        let merges = merges.context("merges")?.iter();
        merges.map(|m| pair(m).context("a pair")).collect()
    }

    /// A GGUF file; `pre` is the pre-tokenizer's name in llama.cpp, or "" for SentencePiece.
    ///
    /// # Errors
    /// When the JSON is not as these are.
    pub fn gguf(&self, pre: &str) -> Result<Vec<u8>> {
        let words = self.words()?;
        let mut raw = Raw::parse(&crate::tiny_model::smallest().bytes()?)?;
        let rows = words.len() as u64;
        raw.tensors.retain(|t| t.name != b"output.weight");
        let end = raw.data.len().next_multiple_of(32);
        raw.data.resize(end + rows as usize * 34, 0);
        let embedding = raw.tensor("token_embd.weight");
        (embedding.dims, embedding.offset) = (vec![32, rows], end as u64);

        let spelled: Vec<&str> = words.iter().map(|w| w.0.as_str()).collect();
        raw.set("tokenizer.ggml.tokens", ARRAY, texts(&spelled));
        let types: Vec<u8> = words.iter().flat_map(|w| w.1.to_le_bytes()).collect();
        raw.set("tokenizer.ggml.token_type", ARRAY, array(5, rows, &types));
        let merges = self.merges()?;
        if pre.is_empty() {
            // The merges were made from the scores, the best first.
            let mut scores: HashMap<String, f32> = HashMap::new();
            for (rank, (a, b)) in merges.iter().enumerate() {
                scores.entry(format!("{a}{b}")).or_insert(-(rank as f32));
            }
            let score = |word: &str| scores.get(word).copied().unwrap_or(-1e9);
            let scores: Vec<u8> = spelled
                .iter()
                .flat_map(|w| score(w).to_le_bytes())
                .collect();
            raw.set("tokenizer.ggml.scores", ARRAY, array(6, rows, &scores));
            raw.set("tokenizer.ggml.model", STRING, text(b"llama"));
            raw.remove("tokenizer.ggml.merges");
        } else {
            let merges: Vec<String> = merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
            raw.set("tokenizer.ggml.merges", ARRAY, texts(&merges));
            raw.set("tokenizer.ggml.pre", STRING, text(pre.as_bytes()));
        }
        for (key, name) in [("bos_token", "bos_token_id"), ("eos_token", "eos_token_id")] {
            let word = content(&self.config[key]);
            let key = format!("tokenizer.ggml.{name}");
            match spelled.iter().position(|w| *w == word) {
                Some(id) => raw.set(&key, U32, (id as u32).to_le_bytes().to_vec()),
                None => raw.remove(&key),
            }
        }
        let key = "tokenizer.chat_template";
        match self.config["chat_template"].as_str() {
            Some(template) => raw.set(key, STRING, text(template.as_bytes())),
            None => raw.remove(key),
        }
        Ok(raw.bytes())
    }
}

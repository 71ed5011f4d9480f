//! A tiny model with random weights and a real tokenizer's layout, as a GGUF file: what a test is
//! about when it is not about a model's words, in milliseconds instead of seconds.
//!
//! Byte-level BPE with 256 bytes, a few merges and three special tokens; matrices in Q8_0, norms in
//! F32; the same seed gives the same file.

use anyhow::Result;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};

/// ChatML with a system prompt where there is none, as SmolLM2 has it.
pub const CHAT_TEMPLATE: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are tiny.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Pairs that are merged, most frequent first. A pair's parts are bytes or earlier merges; Ġ is a
/// blank.
const MERGES: [&str; 24] = [
    "t h", "Ġ th", "e r", "i n", "Ġ a", "o n", "Ġ w", "r e", "Ġth e", "e n", "a t", "o r", "Ġ s",
    "in g", "Ġ o", "o u", "a n", "Ġ h", "e s", "i s", "Ġ b", "Ġ c", "an d", "Ġ and",
];

/// What the model is like.
#[derive(Clone, Debug)]
pub struct Tiny {
    /// GGUF's name of the architecture.
    pub architecture: &'static str,
    /// Layers.
    pub layers: u32,
    /// Width of the residual stream; a multiple of 32.
    pub dim: u32,
    /// Width of the feed-forward network; a multiple of 32.
    pub ffn_dim: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Values a head.
    pub head_dim: u32,
    /// Longest context (tokens).
    pub context: u32,
    /// Seed of the random weights.
    pub seed: u64,
    /// Metadata besides what every model has.
    pub metadata: Vec<(String, Value)>,
    /// Vectors besides those every model has: a name and a length.
    pub vectors: Vec<(String, u32)>,
    /// Normally distributed weights, quantized by candle to this, instead of random bytes in Q8_0.
    pub quantization: Option<GgmlDType>,
}

/// A metadata value.
#[derive(Clone, Debug)]
pub enum Value {
    /// `UINT32`.
    U32(u32),
    /// `FLOAT32`.
    F32(f32),
    /// `BOOL`.
    Bool(bool),
    /// `STRING`.
    Text(String),
    /// An array of `STRING`.
    Texts(Vec<String>),
    /// An array of `INT32`.
    I32s(Vec<i32>),
}

impl Default for Tiny {
    /// A llama of 140,000 weights.
    fn default() -> Self {
        Self {
            architecture: "llama",
            layers: 2,
            dim: 64,
            ffn_dim: 128,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            context: 4_096,
            seed: 1,
            metadata: Vec::new(),
            vectors: Vec::new(),
            quantization: None,
        }
    }
}

/// A model so small that a token costs next to nothing.
pub fn smallest() -> Tiny {
    Tiny {
        layers: 1,
        dim: 32,
        ffn_dim: 32,
        heads: 2,
        kv_heads: 1,
        ..Tiny::default()
    }
}

/// The character that stands for a byte in byte-level words.
fn character(byte: u8) -> char {
    let printable = |n: u32| matches!(n, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let n = u32::from(byte);
    if printable(n) {
        return char::from(byte);
    }
    let before = (0..n).filter(|n| !printable(*n)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or(' ')
}

/// The words: special tokens, bytes, merges.
fn words() -> Vec<String> {
    let specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    let bytes = (0..=255).map(|b| character(b).to_string());
    let merged = MERGES.iter().map(|m| m.replace(' ', ""));
    let specials = specials.iter().map(|s| (*s).to_string());
    specials.chain(bytes).chain(merged).collect()
}

impl Tiny {
    /// The file's bytes.
    ///
    /// # Errors
    /// When candle cannot quantize to what was asked for.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let words = words();
        let vocabulary = words.len() as u32;
        let types = (0..words.len())
            .map(|i| if i < 3 { 3 } else { 1 })
            .collect();
        let text = |s: &str| Value::Text(s.into());
        let mut metadata = vec![
            ("general.architecture".to_string(), text(self.architecture)),
            ("general.name".into(), text("tiny")),
            ("tokenizer.ggml.model".into(), text("gpt2")),
            ("tokenizer.ggml.pre".into(), text("smollm")),
            ("tokenizer.ggml.tokens".into(), Value::Texts(words)),
            ("tokenizer.ggml.token_type".into(), Value::I32s(types)),
            (
                "tokenizer.ggml.merges".into(),
                Value::Texts(MERGES.iter().map(|m| (*m).into()).collect()),
            ),
            ("tokenizer.ggml.bos_token_id".into(), Value::U32(1)),
            ("tokenizer.ggml.eos_token_id".into(), Value::U32(2)),
            ("tokenizer.ggml.add_bos_token".into(), Value::Bool(false)),
            ("tokenizer.chat_template".into(), text(CHAT_TEMPLATE)),
        ];
        for (key, value) in [
            ("block_count", self.layers),
            ("context_length", self.context),
            ("embedding_length", self.dim),
            ("feed_forward_length", self.ffn_dim),
            ("attention.head_count", self.heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("rope.dimension_count", self.head_dim),
        ] {
            let key = format!("{}.{key}", self.architecture);
            metadata.push((key, Value::U32(value)));
        }
        let key = format!("{}.attention.head_count_kv", self.architecture);
        let lfm2 = self.architecture == "lfm2";
        let convolution = |layer: u32| lfm2 && layer % 3 != 2;
        metadata.push(match lfm2 {
            // A number for each layer, none where there is a convolution.
            true => {
                let heads = (0..self.layers).map(|l| match convolution(l) {
                    true => 0,
                    false => self.kv_heads as i32,
                });
                (key, Value::I32s(heads.collect()))
            }
            false => (key, Value::U32(self.kv_heads)),
        });
        if lfm2 {
            metadata.push(("lfm2.shortconv.l_cache".into(), Value::U32(3)));
        }
        let key = format!("{}.attention.layer_norm_rms_epsilon", self.architecture);
        metadata.push((key, Value::F32(1e-5)));
        metadata.extend(self.metadata.iter().cloned());

        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut tensors = vec![
            ("token_embd.weight".to_string(), vocabulary, Some(self.dim)),
            (
                match lfm2 {
                    true => "token_embd_norm.weight".into(),
                    false => "output_norm.weight".into(),
                },
                self.dim,
                None,
            ),
        ];
        // The output head of these is their embedding.
        if !matches!(self.architecture, "gemma3" | "lfm2") {
            tensors.push(("output.weight".into(), vocabulary, Some(self.dim)));
        }
        for layer in 0..self.layers {
            // Phi-3 has queries, keys and values in one matrix, gate and up in another.
            let fused = self.architecture == "phi3";
            let (dim, ffn) = (self.dim, self.ffn_dim);
            let attention = match fused {
                _ if convolution(layer) => vec![("shortconv.in_proj", 3 * dim, Some(dim))],
                true => vec![("attn_qkv", q + 2 * kv, Some(dim))],
                false => vec![
                    ("attn_q", q, Some(dim)),
                    ("attn_k", kv, Some(dim)),
                    ("attn_v", kv, Some(dim)),
                ],
            };
            let gates = match fused {
                true => vec![("ffn_up", 2 * ffn, Some(dim))],
                false => vec![("ffn_gate", ffn, Some(dim)), ("ffn_up", ffn, Some(dim))],
            };
            let mut parts = vec![("attn_norm", dim, None)];
            parts.extend(attention);
            let output = match convolution(layer) {
                true => "shortconv.out_proj",
                false => "attn_output",
            };
            parts.extend([(output, dim, Some(q)), ("ffn_norm", dim, None)]);
            if lfm2 && !convolution(layer) {
                let norms = ["attn_q_norm", "attn_k_norm"];
                parts.extend(norms.map(|n| (n, self.head_dim, None)));
            }
            if convolution(layer) {
                parts.push(("shortconv.conv", dim, Some(3)));
            }
            parts.extend(gates);
            parts.push(("ffn_down", dim, Some(ffn)));
            for (part, rows, cols) in parts {
                tensors.push((format!("blk.{layer}.{part}.weight"), rows, cols));
            }
        }
        tensors.extend(
            self.vectors
                .iter()
                .map(|(name, len)| (name.clone(), *len, None)),
        );
        write(&metadata, &tensors, self.seed, self.quantization)
    }

    /// Writes the file into a folder; gives its path.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("tiny-{}-{}.gguf", self.architecture, self.seed));
        std::fs::write(&path, self.bytes()?)?;
        Ok(path)
    }
}

/// GGUF 3 with these tensors: rows and columns of a Q8_0 matrix, or the length of an F32 vector.
fn write(
    metadata: &[(String, Value)],
    tensors: &[(String, u32, Option<u32>)],
    seed: u64,
    quantization: Option<GgmlDType>,
) -> Result<Vec<u8>> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        string(&mut out, key);
        put(&mut out, value);
    }
    let mut random = Random(seed);
    let mut data: Vec<u8> = Vec::new();
    for (name, rows, cols) in tensors {
        string(&mut out, name);
        data.resize(data.len().next_multiple_of(32), 0);
        let (dims, kind) = match cols {
            Some(cols) if name.contains("shortconv.conv") => (vec![*cols, *rows], 0),
            Some(cols) => (vec![*cols, *rows], quantization.map_or(8, number)),
            None => (vec![*rows], 0),
        };
        out.extend((dims.len() as u32).to_le_bytes());
        dims.iter()
            .for_each(|d| out.extend(u64::from(*d).to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        match cols {
            // Taps of both signs, so few that no block holds them.
            Some(cols) if name.contains("shortconv.conv") => (0..*rows * *cols).for_each(|_| {
                data.extend((random.normal() * 0.6).to_le_bytes());
            }),
            Some(cols) if quantization.is_some() => {
                let count = *rows as usize * *cols as usize;
                let values: Vec<f32> = (0..count).map(|_| random.normal() * 0.06).collect();
                let tensor =
                    Tensor::from_vec(values, (*rows as usize, *cols as usize), &Device::Cpu)?;
                let to = quantization.unwrap_or(GgmlDType::F32);
                data.extend_from_slice(&QTensor::quantize(&tensor, to)?.data()?);
            }
            Some(cols) => {
                let blocks = u64::from(*rows) * u64::from(*cols) / 32;
                // The special tokens' logits are zero: hardly ever does an answer end by itself.
                let silent = match name.as_str() {
                    "output.weight" => 3 * u64::from(*cols) / 32,
                    _ => 0,
                };
                for block in 0..blocks {
                    // 1/256 as a half-precision scale.
                    let scale = if block < silent { 0 } else { 0x1c00u16 };
                    data.extend(scale.to_le_bytes());
                    data.extend((0..32).map(|_| (random.next() >> 33) as u8));
                }
            }
            None => (0..*rows).for_each(|_| {
                let near_one = 1.0 + (random.next() >> 40) as f32 / (1 << 26) as f32;
                data.extend(near_one.to_le_bytes());
            }),
        }
    }
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    Ok(out)
}

/// GGUF's number of a type.
fn number(quantization: GgmlDType) -> u32 {
    match quantization {
        GgmlDType::F32 => 0,
        GgmlDType::F16 => 1,
        GgmlDType::Q4_0 => 2,
        GgmlDType::Q4_1 => 3,
        GgmlDType::Q5_0 => 6,
        GgmlDType::Q5_1 => 7,
        GgmlDType::Q8_0 => 8,
        GgmlDType::Q8_1 => 9,
        GgmlDType::Q2K => 10,
        GgmlDType::Q3K => 11,
        GgmlDType::Q4K => 12,
        GgmlDType::Q5K => 13,
        GgmlDType::Q6K => 14,
        GgmlDType::Q8K => 15,
        GgmlDType::BF16 => 30,
    }
}

fn string(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s.as_bytes());
}

fn put(out: &mut Vec<u8>, value: &Value) {
    let kind: u32 = match value {
        Value::U32(_) => 4,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::Text(_) => 8,
        Value::Texts(_) | Value::I32s(_) => 9,
    };
    out.extend(kind.to_le_bytes());
    match value {
        Value::U32(n) => out.extend(n.to_le_bytes()),
        Value::F32(n) => out.extend(n.to_le_bytes()),
        Value::Bool(b) => out.push(u8::from(*b)),
        Value::Text(s) => string(out, s),
        Value::Texts(all) => {
            out.extend(8u32.to_le_bytes());
            out.extend((all.len() as u64).to_le_bytes());
            all.iter().for_each(|s| string(out, s));
        }
        Value::I32s(all) => {
            out.extend(5u32.to_le_bytes());
            out.extend((all.len() as u64).to_le_bytes());
            all.iter().for_each(|n| out.extend(n.to_le_bytes()));
        }
    }
}

/// SplitMix64: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A normally distributed number, nearly: the sum of twelve even ones.
    pub fn normal(&mut self) -> f32 {
        (0..12)
            .map(|_| (self.next() >> 40) as f32 / (1u64 << 24) as f32 - 0.5)
            .sum()
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// Whether something of `percent` happens.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

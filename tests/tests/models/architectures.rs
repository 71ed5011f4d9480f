//! Every architecture in three quantizations: tiny models with random weights, the engine's logits
//! against candle-transformers' with everything in `f32`.

use anyhow::{Result, ensure};
use candle_core::quantized::GgmlDType;
use e2e::tiny_model::{Random, Tiny, Value};
use oracle::agreement::{margin, top};
use oracle::native_run::Native;
use oracle::reference::Reference;

pub(crate) const QUANTIZATIONS: [GgmlDType; 3] = [GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::Q4K];
/// Tokens read, and tokens generated after them.
pub(crate) const PROMPT: usize = 24;
pub(crate) const GENERATED: usize = 16;
/// Where the reference's two best logits are closer than this, either may be the likeliest.
pub(crate) const CLOSE: f32 = 0.02;

/// A model of this architecture: three layers, heads of 64.
pub(crate) fn model(architecture: &'static str) -> Tiny {
    let base = (
        format!("{architecture}.rope.freq_base"),
        Value::F32(100_000.0),
    );
    Tiny {
        architecture,
        layers: 3,
        dim: 256,
        ffn_dim: 512,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        context: 512,
        metadata: vec![base],
        ..Tiny::default()
    }
}

/// Adds vectors to each layer: names after `blk.N.` and lengths.
pub(crate) fn with(mut model: Tiny, vectors: &[(&str, u32)]) -> Tiny {
    for layer in 0..model.layers {
        for (name, len) in vectors {
            model.vectors.push((format!("blk.{layer}.{name}"), *len));
        }
    }
    model
}

/// Cosine of the angle between two vectors.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn agree(model: &Tiny) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (seed, quantization) in (1..).zip(QUANTIZATIONS) {
        let model = Tiny {
            seed,
            quantization: Some(quantization),
            ..model.clone()
        };
        let path = model.write(folder.path())?;
        let mut native = Native::load(&path)?;
        let mut reference = Reference::load(&path)?;
        let mut random = Random(seed);
        let mut tokens: Vec<u32> = (0..PROMPT).map(|_| 3 + random.below(250) as u32).collect();
        let mut worst = 1f64;
        for position in 0..PROMPT + GENERATED {
            let token = tokens[position];
            let expected = reference.logits(token, position)?;
            let got = native.logits(token, position)?;
            let near = cosine(got, &expected);
            worst = worst.min(near);
            let name = model.architecture;
            ensure!(
                near >= 0.999,
                "{name} {quantization:?} at {position}: cosine {near}"
            );
            if margin(&expected) > CLOSE {
                ensure!(
                    top(got) == top(&expected),
                    "{name} {quantization:?} at {position}"
                );
            }
            if position + 1 == tokens.len() {
                tokens.push(top(&expected) as u32);
            }
        }
        println!(
            "{:8} {quantization:?}: smallest cosine {worst:.6}",
            model.architecture
        );
    }
    Ok(())
}

#[test]
fn llama_is_candle_s() -> Result<()> {
    agree(&model("llama"))
}

#[test]
fn qwen2_is_candle_s() -> Result<()> {
    let biases = [
        ("attn_q.bias", 256),
        ("attn_k.bias", 128),
        ("attn_v.bias", 128),
    ];
    agree(&with(model("qwen2"), &biases))
}

#[test]
fn qwen3_is_candle_s() -> Result<()> {
    let norms = [("attn_q_norm.weight", 64), ("attn_k_norm.weight", 64)];
    agree(&with(model("qwen3"), &norms))
}

#[test]
fn gemma3_is_candle_s() -> Result<()> {
    let norms = [
        ("attn_q_norm.weight", 64),
        ("attn_k_norm.weight", 64),
        ("post_attention_norm.weight", 256),
        ("post_ffw_norm.weight", 256),
    ];
    let mut model = with(model("gemma3"), &norms);
    // Six layers: the last looks back all the way, the others over sixteen positions.
    model.layers = 6;
    model.vectors.clear();
    let window = ("gemma3.attention.sliding_window".into(), Value::U32(16));
    model.metadata.push(window);
    agree(&with(model, &norms))
}

/// candle's Phi-3 has RoPE's base fixed at 10,000.
#[test]
fn phi3_is_candle_s() -> Result<()> {
    agree(&Tiny {
        metadata: Vec::new(),
        ..model("phi3")
    })
}

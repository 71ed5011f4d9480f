//! What candle has no model for: layers without RoPE (SmolLM3), YaRN and LongRoPE, against logits that
//! `tests/data/models/reference.py` computes from the papers' formulas with numpy.
//!
//! Its results are kept in `tests/data/models`; a file's SHA-256 says that the tiny model of the test is
//! the one they were computed from. To make them anew:
//!
//! ```text
//! TINY_MODELS=/tmp/tiny cargo test --release -p e2e --test models -- --ignored formulas::write
//! python3 tests/data/models/reference.py /tmp/tiny
//! ```

use super::architectures::{CLOSE, GENERATED, PROMPT, QUANTIZATIONS, cosine, model, with};
use anyhow::{Context, Result, ensure};
use e2e::agreement::{margin, top};
use e2e::native::Native;
use e2e::tiny::{Random, Tiny, Value};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::path::Path;

/// What the script writes for each file.
#[derive(Deserialize)]
struct Expected {
    name: String,
    sha256: String,
    /// The prompt and what was drawn.
    tokens: Vec<u32>,
}

fn models() -> Vec<(&'static str, Tiny)> {
    let text = |s: &str| Value::Text(s.into());
    let mut smollm3 = model("smollm3");
    // The fourth layer has no RoPE.
    smollm3.layers = 5;

    let mut yarn = with(
        model("qwen2"),
        &[
            ("attn_q.bias", 256),
            ("attn_k.bias", 128),
            ("attn_v.bias", 128),
        ],
    );
    for (key, value) in [
        ("type", text("yarn")),
        ("factor", Value::F32(4.0)),
        ("original_context_length", Value::U32(128)),
    ] {
        let key = format!("qwen2.rope.scaling.{key}");
        yarn.metadata.push((key, value));
    }

    let mut longrope = model("phi3");
    for (key, value) in [
        ("attn_factor", Value::F32(1.19)),
        ("original_context_length", Value::U32(64)),
    ] {
        let key = format!("phi3.rope.scaling.{key}");
        longrope.metadata.push((key, value));
    }
    let long = ("rope_factors_long.weight".into(), 32);
    let short = ("rope_factors_short.weight".into(), 32);
    longrope.vectors.extend([long, short]);
    let mut shortrope = longrope.clone();
    shortrope.context = 64;
    vec![
        ("smollm3", smollm3),
        ("yarn", yarn),
        ("longrope-long", longrope),
        ("longrope-short", shortrope),
    ]
}

/// A model's file, and what it is asked.
struct File {
    name: String,
    bytes: Vec<u8>,
    prompt: Vec<u32>,
}

fn files() -> Result<Vec<File>> {
    let mut all = Vec::new();
    for (name, model) in models() {
        for (seed, quantization) in (1..).zip(QUANTIZATIONS) {
            let model = Tiny {
                seed,
                quantization: Some(quantization),
                ..model.clone()
            };
            let mut random = Random(seed);
            let prompt = (0..PROMPT).map(|_| 3 + random.below(250) as u32).collect();
            let name = format!("{name}-{quantization:?}").to_lowercase();
            let bytes = model.bytes()?;
            all.push(File {
                name,
                bytes,
                prompt,
            });
        }
    }
    Ok(all)
}

#[test]
#[ignore = "writes the files that the script reads"]
fn write() -> Result<()> {
    let folder = std::env::var("TINY_MODELS").context("TINY_MODELS")?;
    std::fs::create_dir_all(&folder)?;
    for File {
        name,
        bytes,
        prompt,
    } in files()?
    {
        let path = Path::new(&folder).join(&name);
        std::fs::write(path.with_extension("gguf"), bytes)?;
        std::fs::write(path.with_extension("json"), serde_json::to_string(&prompt)?)?;
    }
    Ok(())
}

#[test]
fn logits_are_those_of_the_formulas() -> Result<()> {
    let expected: Vec<Expected> =
        serde_json::from_str(include_str!("../../data/models/reference.json"))?;
    let logits = include_bytes!("../../data/models/reference.bin");
    let mut logits = logits
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b));
    let files = files()?;
    ensure!(files.len() == expected.len());
    let folder = tempfile::tempdir()?;
    for (file, expected) in files.into_iter().zip(expected) {
        let File {
            name,
            bytes,
            prompt,
        } = file;
        let sha256: String = Sha256::digest(&bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        ensure!(
            name == expected.name && sha256 == expected.sha256,
            "{name}: another file"
        );
        ensure!(
            expected.tokens.starts_with(&prompt) && expected.tokens.len() == PROMPT + GENERATED
        );
        let path = folder.path().join(&name);
        std::fs::write(&path, bytes)?;
        let mut native = Native::load(&path)?;
        let mut worst = 1f64;
        for (position, token) in expected.tokens.iter().enumerate() {
            let got = native.logits(*token, position)?;
            // The script keeps what follows the prompt and each drawn token.
            if position + 1 < PROMPT {
                continue;
            }
            let reference: Vec<f32> = logits.by_ref().take(got.len()).collect();
            let near = cosine(got, &reference);
            worst = worst.min(near);
            ensure!(near >= 0.999, "{name} at {position}: cosine {near}");
            if margin(&reference) > CLOSE {
                ensure!(top(got) == top(&reference), "{name} at {position}");
            }
        }
        println!("{name}: smallest cosine {worst:.6}");
    }
    ensure!(logits.next().is_none());
    Ok(())
}

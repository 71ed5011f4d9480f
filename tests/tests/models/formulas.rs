//! What candle has no model for: layers without RoPE (SmolLM3), short convolutions (LFM2), YaRN and
//! LongRoPE, against logits that `tests/data/models/reference.py` computes from the papers' formulas with numpy.
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
use e2e::tiny_model::{Random, Tiny, Value};
use oracle::agreement::{margin, top};
use oracle::native_run::Native;
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
    // Two convolutions, then attention, and so on.
    let mut lfm2 = model("lfm2");
    lfm2.layers = 6;
    vec![
        ("smollm3", smollm3),
        ("yarn", yarn),
        ("longrope-long", longrope),
        ("longrope-short", shortrope),
        ("lfm2", lfm2),
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

/// A convolution looks back; a cache that was kept and brought back must give the same.
#[test]
fn a_convolution_goes_on_from_a_cache_brought_back() -> Result<()> {
    use engine::inference::budget::{CostModel, InstructionBudget, Unmetered};
    use engine::inference::forward::{Forward, TokenInput, Workspace};
    use engine::kv_cache::KvCache;
    let models = models();
    let (_, lfm2) = models.iter().find(|m| m.0 == "lfm2").context("lfm2")?;
    let bytes = lfm2.bytes()?;
    let (model, _) = engine::Model::load(&bytes)?;
    let shape = model.config.kv_shape();
    let read = |from: usize, to: usize, kv: &mut KvCache| -> Result<Vec<f32>> {
        let mut workspace = Workspace::new(&model.config);
        let mut experience = CostModel::default();
        for position in from..to {
            let mut budget = InstructionBudget::new(&Unmetered, &mut experience, u64::MAX, 0);
            let input = TokenInput {
                generation: 0,
                position,
                token: 3 + (position as u32 * 37) % 250,
            };
            let mut forward = Forward::new();
            forward.run_layers(&model, &mut workspace, kv, input, &mut budget)?;
            forward.run_head(&model, &mut workspace, input, &mut budget)?;
        }
        Ok(workspace.logits)
    };
    let mut whole = KvCache::new(shape);
    let expected = read(0, 70, &mut whole)?;
    for cut in [1, 2, 3, 4, 5, 63, 64, 65, 66, 69] {
        let mut first = KvCache::new(shape);
        read(0, cut, &mut first)?;
        // Only what stable memory keeps comes back.
        let mut second = KvCache::new(shape);
        second.grow(cut)?;
        (0..shape.blocks(cut)).for_each(|b| second.block_mut(b).fill(0xa5));
        shape.rows(0, cut, |block, at, len| -> Result<()> {
            let from = first.block(block)[at..at + len].to_vec();
            second.block_mut(block)[at..at + len].copy_from_slice(&from);
            Ok(())
        })?;
        ensure!(read(cut, 70, &mut second)? == expected, "cut at {cut}");
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

//! Perplexity over the tests' long text, beside candle-transformers' on the same file.
//!
//! The text is cut into windows, each read from an empty context. candle's figures of each position
//! are kept under tests/data/perplexity (it takes many minutes to make them: scripts/perplexity
//! --record); how true they are is checked by running candle again over the first positions.

use crate::agreement::{log_softmax, top};
use crate::native_run::Native;
use crate::reference::Reference;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The text: public domain.
const TEXT: &str = include_str!("../../data/alice.txt");
/// Tokens of a window.
const WINDOW: usize = 1_024;
/// Tokens of the text that are used.
const TOKENS: usize = 4_096;

/// What a model says at one position: minus the logarithm of the next token's probability, and the
/// token it holds likeliest.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Position(pub f32, pub u32);

/// A model's figures of every position of every window.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// What made the figures.
    pub made_with: String,
    /// One entry a window, one position a token but the first.
    pub windows: Vec<Vec<Position>>,
}

/// How close the engine is to candle.
#[derive(Debug, Serialize, Deserialize)]
pub struct Quality {
    /// Tokens predicted.
    pub tokens: usize,
    /// The engine's perplexity.
    pub perplexity: f64,
    /// candle's perplexity.
    pub candle_perplexity: f64,
    /// Share of positions with the same likeliest token.
    pub same_top: f64,
}

/// Where candle's figures for the model of this name are kept.
pub fn record_path(model: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/perplexity");
    data.join(format!("{model}.json"))
}

/// candle's figures for the model of this name.
pub fn read_record(model: &str) -> Result<Record> {
    let path = record_path(model);
    let bytes = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// The windows of the text in the tokens of this model, each after what its texts begin with.
pub fn windows(native: &Native) -> Result<Vec<Vec<u32>>> {
    let begin = native.tokenizer.encode_plain("")?;
    let tokens = native.tokenizer.encode_plain(TEXT)?;
    let text = &tokens[begin.len()..];
    ensure!(text.len() >= TOKENS, "the text has {} tokens", text.len());
    let window = |w: &[u32]| begin.iter().chain(w).copied().collect();
    Ok(text[..TOKENS].chunks(WINDOW).map(window).collect())
}

fn position(logits: &[f32], next: u32) -> Position {
    let nll = -log_softmax(logits)[next as usize];
    Position(nll as f32, top(logits) as u32)
}

/// The engine's figures of one window.
pub fn engine(native: &mut Native, window: &[u32]) -> Result<Vec<Position>> {
    let pairs = window.windows(2).enumerate();
    pairs
        .map(|(i, pair)| Ok(position(native.logits(pair[0], i)?, pair[1])))
        .collect()
}

/// candle's figures of the beginning of a window; `told` hears of every position.
pub fn candle(
    reference: &mut Reference,
    window: &[u32],
    positions: usize,
    told: impl Fn(usize),
) -> Result<Vec<Position>> {
    let pairs = window.windows(2).take(positions).enumerate();
    pairs
        .map(|(i, pair)| {
            told(i);
            Ok(position(&reference.logits(pair[0], i)?, pair[1]))
        })
        .collect()
}

/// Compares the engine with what is recorded, over the first `count` windows, on two threads.
pub fn compare(path: &Path, record: &Record, count: usize) -> Result<Quality> {
    let jobs = Mutex::new(0..count.min(record.windows.len()));
    let total = Mutex::new((0usize, 0f64, 0f64, 0usize));
    let work = || -> Result<()> {
        let mut native = Native::load(path)?;
        let windows = windows(&native)?;
        loop {
            let next = jobs
                .lock()
                .map_err(|_| anyhow::anyhow!("a thread failed"))?
                .next();
            let Some(i) = next else { return Ok(()) };
            let ours = engine(&mut native, &windows[i])?;
            let theirs = &record.windows[i];
            ensure!(ours.len() == theirs.len(), "the record is of another text");
            let mut sum = total
                .lock()
                .map_err(|_| anyhow::anyhow!("a thread failed"))?;
            for (a, b) in ours.iter().zip(theirs) {
                sum.0 += 1;
                sum.1 += f64::from(a.0);
                sum.2 += f64::from(b.0);
                sum.3 += usize::from(a.1 == b.1);
            }
        }
    };
    std::thread::scope(|s| -> Result<()> {
        let other = s.spawn(work);
        work()?;
        other
            .join()
            .map_err(|_| anyhow::anyhow!("a thread failed"))?
    })?;
    let (n, ours, theirs, same) = total
        .into_inner()
        .map_err(|_| anyhow::anyhow!("a thread failed"))?;
    Ok(Quality {
        tokens: n,
        perplexity: (ours / n as f64).exp(),
        candle_perplexity: (theirs / n as f64).exp(),
        same_top: same as f64 / n as f64,
    })
}

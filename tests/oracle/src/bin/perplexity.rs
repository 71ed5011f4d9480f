//! Perplexity of the engine beside candle-transformers' over the tests' long text.

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use oracle::native_run::Native;
use oracle::perplexity::{self, Quality, Record};
use oracle::reference::Reference;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Parser)]
#[command(name = "perplexity")]
struct Options {
    /// Run candle over the whole text first and keep its figures (many minutes).
    #[arg(long)]
    record: bool,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
    /// Models: NAME=FILE, with the names of scripts/fetch-model.
    #[arg(required = true)]
    models: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/perplexity.json");
    let mut kept: BTreeMap<String, Quality> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).context("bench/perplexity.json")?,
        Err(_) => BTreeMap::new(),
    };
    for model in &options.models {
        let (name, file) = model
            .split_once('=')
            .context("models are given as NAME=FILE")?;
        let file = Path::new(file);
        if options.record {
            record(name, file)?;
        }
        let quality = perplexity::compare(file, &perplexity::read_record(name)?, usize::MAX)?;
        if !options.json {
            println!(
                "{name}: {} tokens, perplexity {:.4}, candle's {:.4} ({:+.3} %), same likeliest token {:.2} %",
                quality.tokens,
                quality.perplexity,
                quality.candle_perplexity,
                100.0 * (quality.perplexity / quality.candle_perplexity - 1.0),
                100.0 * quality.same_top
            );
        }
        kept.insert(name.into(), quality);
    }
    let text = serde_json::to_string_pretty(&kept)? + "\n";
    if options.json {
        print!("{text}");
    }
    std::fs::write(&path, text)?;
    Ok(())
}

fn record(name: &str, file: &Path) -> Result<()> {
    let windows = perplexity::windows(&Native::load(file)?)?;
    let bar = ProgressBar::new(windows.iter().map(|w| w.len() as u64 - 1).sum());
    bar.set_style(ProgressStyle::with_template(
        "candle {wide_bar} {pos}/{len} {per_sec} {eta}",
    )?);
    let mut reference = Reference::load(file)?;
    let mut record = Record {
        made_with: "candle-transformers 0.10.2, weights and activations as f32".into(),
        windows: Vec::new(),
    };
    for window in &windows {
        let positions = perplexity::candle(&mut reference, window, window.len(), |_| bar.inc(1))?;
        record.windows.push(positions);
    }
    let path = perplexity::record_path(name);
    std::fs::create_dir_all(path.parent().context("a folder")?)?;
    std::fs::write(&path, serde_json::to_string(&record)? + "\n")?;
    Ok(())
}

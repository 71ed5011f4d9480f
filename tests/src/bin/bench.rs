//! Measures what the canister costs in instructions and keeps the figures in bench/figures.json.

use anyhow::{Context, Result};
use clap::Parser;
use e2e::bench::{Figures, Plan, measure};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Instruction figures of the compiled canister, as the replica meters them.
#[derive(Parser)]
#[command(name = "bench")]
struct Options {
    /// Compare with bench/figures.json instead of writing it; more than 2 % of difference fails.
    #[arg(long)]
    check: bool,
    /// Leave out contexts of more than 1024 tokens (minutes of prefill).
    #[arg(long)]
    quick: bool,
    /// Tell where the instructions go, by part and by function; nothing is written.
    #[arg(long)]
    profile: bool,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
    /// Models: NAME=FILE, with the names of scripts/fetch-model.
    #[arg(required = true)]
    models: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    if options.profile {
        replica::enable_profile();
    }
    let path = e2e::folder().join("bench/figures.json");
    let mut kept: BTreeMap<String, Figures> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).context("bench/figures.json")?,
        Err(_) => BTreeMap::new(),
    };
    let mut measured = BTreeMap::new();
    for model in &options.models {
        let (name, file) = model
            .split_once('=')
            .context("models are given as NAME=FILE")?;
        let contexts: &[usize] = match (options.quick, name) {
            (false, "smollm2-135m") => &[1024, 4096],
            _ => &[1024],
        };
        let tell = |stage: &str, profile: e2e::profile::Profile, total: u64| {
            println!(
                "\n{name}: {stage}, {total} instructions\n{}",
                profile.table(total)
            );
        };
        let plan = Plan {
            file: &PathBuf::from(file),
            contexts,
            progress: &|what| eprintln!("{name}: {what}"),
            profile: options.profile.then_some(&tell),
        };
        measured.insert(name.to_owned(), measure(&plan).await?);
    }
    let mut failures = 0;
    for (model, figures) in &measured {
        if !options.json {
            println!("\n{model:42} {:>16} {:>16}", "measured", "checked in");
        }
        for (name, value) in figures {
            let before = kept.get(model).and_then(|f| f.get(name)).copied();
            let off = before.is_some_and(|b| e2e::bench::differs(b, *value));
            failures += usize::from(off);
            if !options.json {
                let before = before.map_or("-".into(), |b| format!("{b:.3}"));
                println!(
                    "{name:42} {value:16.3} {before:>16}{}",
                    if off { "  differs" } else { "" }
                );
            }
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
    }
    if options.check {
        anyhow::ensure!(failures == 0, "{failures} figures differ by more than 2 %");
        return Ok(());
    }
    if options.profile {
        return Ok(());
    }
    for (model, figures) in measured {
        kept.entry(model).or_default().extend(figures);
    }
    std::fs::create_dir_all(path.parent().context("bench/")?)?;
    std::fs::write(&path, serde_json::to_string_pretty(&kept)? + "\n")?;
    eprintln!("written: bench/figures.json");
    Ok(())
}

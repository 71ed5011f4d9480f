//! The instruction figures are those checked in under bench/, within 2 %, and within their bounds.

use anyhow::{Context, Result};
use e2e::bench::{Figures, Plan, differs, measure};
use std::collections::BTreeMap;

/// What may not be passed: the figure's name and its most.
const BOUNDS: [(&str, f64); 3] = [
    ("decode_instructions_per_weight", 0.77),
    ("decode_instructions_per_token", 103.5e6),
    ("prefill_instructions_per_weight", 0.80),
];
/// Tokens one update of 40 billion instructions gives at least.
const TOKENS_PER_UPDATE: f64 = 386.0;

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_those_checked_in() -> Result<()> {
    let path = e2e::folder().join("bench/figures.json");
    let kept = std::fs::read(&path).context("bench/figures.json: run scripts/bench")?;
    let kept: BTreeMap<String, Figures> = serde_json::from_slice(&kept)?;
    let kept = kept
        .get("smollm2-135m")
        .context("figures of smollm2-135m")?;
    let plan = Plan {
        file: &e2e::model()?,
        contexts: &[],
        progress: &|what| println!("{what}"),
        profile: None,
    };
    let now = measure(&plan).await?;
    let mut off = Vec::new();
    for (name, value) in &now {
        let before = kept.get(name).copied().unwrap_or(f64::NAN);
        println!("{name:42} {value:16.3} {before:16.3}");
        // The module's size hangs on the compiler's version; instructions hardly do.
        if name != "wasm_bytes" && (before.is_nan() || differs(before, *value)) {
            off.push(name);
        }
    }
    assert!(
        off.is_empty(),
        "more than 2 % off what is checked in: {off:?}"
    );
    for (name, most) in BOUNDS {
        assert!(
            now[name] <= most,
            "{name} is {}: {most} is the bound",
            now[name]
        );
    }
    assert!(now["tokens_per_40b_update"] >= TOKENS_PER_UPDATE);
    Ok(())
}

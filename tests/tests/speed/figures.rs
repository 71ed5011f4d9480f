//! The instruction figures, as `scripts/bench` measures them.

use anyhow::{Context, Result};
use e2e::bench::{Figures, Plan, differs, measure};
use std::collections::BTreeMap;
use std::path::Path;

/// What may not be passed by any model: the figure's name and its most.
const BOUNDS: [(&str, f64); 5] = [
    ("decode_instructions_per_weight", 0.77),
    ("prefill_instructions_per_weight", 0.80),
    ("receive_instructions_per_byte", 5.0),
    ("load_instructions_per_byte", 10.0),
    ("restore_instructions_per_byte", 2.0),
];
/// Most instructions for one multiply-accumulate of attention, between positions 64 and 4,096. (Those
/// of 4,096 take minutes of prefill: checked in the figures of the last run.)
const ATTENTION_MAC: f64 = 1.0;

#[tokio::test(flavor = "multi_thread")]
async fn smollm2_costs_what_is_checked_in() -> Result<()> {
    let _alone = super::ALONE.lock().await;
    let kept = check("smollm2-135m", &e2e::model()?, 103.5e6, 386.0).await?;
    assert!(kept["instructions_per_attention_mac"] <= ATTENTION_MAC);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn gemma3_costs_what_is_checked_in() -> Result<()> {
    let _alone = super::ALONE.lock().await;
    check("gemma3-270m", &e2e::gemma()?, 206e6, 194.0).await?;
    Ok(())
}

/// Measures a model and compares; gives what is checked in.
async fn check(model: &str, file: &Path, most_a_token: f64, tokens: f64) -> Result<Figures> {
    let path = e2e::folder().join("bench/figures.json");
    let kept = std::fs::read(&path).context("bench/figures.json: run scripts/bench")?;
    let mut kept: BTreeMap<String, Figures> = serde_json::from_slice(&kept)?;
    let kept = kept
        .remove(model)
        .with_context(|| format!("figures of {model}"))?;
    let plan = Plan {
        file,
        contexts: &[],
        progress: &|what| println!("{model}: {what}"),
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
        let value = now[name];
        assert!(value <= most, "{name} is {value}: {most} is the bound");
    }
    assert!(now["decode_instructions_per_token"] <= most_a_token);
    assert!(now["tokens_per_40b_update"] >= tokens);
    Ok(kept)
}

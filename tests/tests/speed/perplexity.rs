//! Perplexity beside candle's, over a text of 4,096 tokens.

use anyhow::Result;
use oracle::native_run::Native;
use oracle::perplexity::{candle, compare, read_record, windows};
use oracle::reference::Reference;
use std::path::Path;

/// By how much perplexity may differ from candle's.
const MOST: f64 = 0.005;
/// Positions at which candle is run again: what is recorded of it is true.
const CHECKED: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn smollm2_is_as_good_as_candle_makes_it() -> Result<()> {
    let _alone = super::ALONE.lock().await;
    check("smollm2-135m", &e2e::model()?, usize::MAX)
}

/// One window of four; all with LLM_NIGHTLY=1, and with scripts/perplexity.
#[tokio::test(flavor = "multi_thread")]
async fn gemma3_is_as_good_as_candle_makes_it() -> Result<()> {
    let _alone = super::ALONE.lock().await;
    let all = std::env::var_os("LLM_NIGHTLY").is_some();
    check(
        "gemma3-270m",
        &e2e::gemma()?,
        if all { usize::MAX } else { 1 },
    )
}

fn check(model: &str, file: &Path, count: usize) -> Result<()> {
    let record = read_record(model)?;
    let text = windows(&Native::load(file)?)?;
    let again = candle(&mut Reference::load(file)?, &text[0], CHECKED, |_| ())?;
    for (now, then) in again.iter().zip(&record.windows[0]) {
        assert!(
            (now.0 - then.0).abs() < 1e-3,
            "candle: {now:?}, recorded {then:?}"
        );
        assert_eq!(now.1, then.1, "candle's likeliest token");
    }
    let q = compare(file, &record, count)?;
    println!(
        "{model}: {} tokens, perplexity {:.4}, candle's {:.4}; same likeliest token {:.2} %",
        q.tokens,
        q.perplexity,
        q.candle_perplexity,
        100.0 * q.same_top
    );
    let off = (q.perplexity / q.candle_perplexity - 1.0).abs();
    assert!(off <= MOST, "perplexity is {} % off", 100.0 * off);
    assert!(q.same_top >= 0.98, "{q:?}");
    Ok(())
}

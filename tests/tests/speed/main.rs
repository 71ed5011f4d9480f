//! What a token costs, and how good it is: the instruction figures are those checked in under bench/,
//! within 2 %, and within their bounds; perplexity is candle's.

use tokio::sync::Mutex;

/// Held by a test while it measures: both have large models.
static ALONE: Mutex<()> = Mutex::const_new(());

mod figures;
mod perplexity;

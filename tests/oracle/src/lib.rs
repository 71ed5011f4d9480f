//! What the end-to-end tests compare with: candle-transformers' models, and this project's engine run
//! natively on the same file.
//!
//! A crate of its own, so that candle is compiled once and only tests that compare link it.

pub mod agreement;
pub mod native_run;
pub mod perplexity;
pub mod reference;

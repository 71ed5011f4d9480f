//! Models of every architecture and quantization the engine reads, tiny and random, against
//! candle or the papers' formulas; tokenizers and templates against the published ones.

mod architectures;
mod formulas;
mod quantizations;
mod templates;
mod tokenizers;

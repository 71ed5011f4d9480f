//! Models of every architecture and quantization the engine reads, tiny and random, against
//! candle or the papers' formulas; tokenizers and templates against the published ones.

#[path = "models/architectures.rs"]
mod architectures;
#[path = "models/formulas.rs"]
mod formulas;
#[path = "models/quantizations.rs"]
mod quantizations;
#[path = "models/templates.rs"]
mod templates;
#[path = "models/tokenizers.rs"]
mod tokenizers;

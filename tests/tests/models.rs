//! Models of every architecture and quantization the engine reads, tiny and random, against candle.

#[path = "models/architectures.rs"]
mod architectures;
#[path = "models/quantizations.rs"]
mod quantizations;
#[path = "models/templates.rs"]
mod templates;
#[path = "models/tokenizers.rs"]
mod tokenizers;

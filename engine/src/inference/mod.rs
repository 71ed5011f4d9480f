//! From tokens to tokens: the forward pass, the sampler, and what decides when to pause.

mod attention;
pub mod budget;
pub mod forward;
pub mod generation;
pub mod sampler;
mod short_conv;
pub mod text_stream;

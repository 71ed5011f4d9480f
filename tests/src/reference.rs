//! The reference: candle-transformers' own quantized models, run natively with the weights
//! dequantized to `f32`.

use anyhow::{Context, Result};
use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::models::{
    quantized_gemma3, quantized_llama, quantized_phi3, quantized_qwen2, quantized_qwen3,
};
use std::path::Path;

enum Model {
    Llama(quantized_llama::ModelWeights),
    Gemma3(quantized_gemma3::ModelWeights),
    Qwen2(quantized_qwen2::ModelWeights),
    Qwen3(quantized_qwen3::ModelWeights),
    Phi3(quantized_phi3::ModelWeights),
}

/// A model of candle's.
pub struct Reference(Model);

impl Reference {
    /// Loads a GGUF file with every weight as `f32`.
    pub fn load(path: &Path) -> Result<Self> {
        // candle reads this once, when the thread first makes a matrix; without it activations
        // would be quantized to 8 bits. Safety: no other thread of a test reads the environment
        // at this moment through anything but std, which locks.
        unsafe { std::env::set_var("CANDLE_DEQUANTIZE_ALL", "1") };
        let mut file = std::fs::File::open(path)?;
        let content = gguf_file::Content::read(&mut file)?;
        let architecture = content
            .metadata
            .get("general.architecture")
            .context("architecture")?
            .to_string()?;
        let device = Device::Cpu;
        Ok(Self(match architecture.as_str() {
            "gemma3" => Model::Gemma3(quantized_gemma3::ModelWeights::from_gguf(
                content, &mut file, &device,
            )?),
            "qwen2" => Model::Qwen2(quantized_qwen2::ModelWeights::from_gguf(
                content, &mut file, &device,
            )?),
            "qwen3" => Model::Qwen3(quantized_qwen3::ModelWeights::from_gguf(
                content, &mut file, &device,
            )?),
            "phi3" => Model::Phi3(quantized_phi3::ModelWeights::from_gguf(
                false, content, &mut file, &device,
            )?),
            _ => Model::Llama(quantized_llama::ModelWeights::from_gguf(
                content, &mut file, &device,
            )?),
        }))
    }

    /// The logits after the token at `position`, which must follow the one before (position 0
    /// begins a new text).
    pub fn logits(&mut self, token: u32, position: usize) -> Result<Vec<f32>> {
        let input = Tensor::new(&[[token]], &Device::Cpu)?;
        let logits = match &mut self.0 {
            Model::Llama(m) => m.forward(&input, position)?,
            Model::Gemma3(m) => m.forward(&input, position)?,
            Model::Qwen2(m) => m.forward(&input, position)?,
            Model::Qwen3(m) => m.forward(&input, position)?,
            Model::Phi3(m) => m.forward(&input, position)?,
        };
        Ok(logits.flatten_all()?.to_vec1()?)
    }
}

//! The reference: candle-transformers' own models, run natively with the weights dequantized to `f32`.
//!
//! They are its quantized models, but for Gemma 3: of candle 0.10's two that one gates with SiLU where
//! the model has GELU, and does not keep to the sliding window token by token. So the file's tensors
//! are given to the model that candle runs from safetensors.

use anyhow::{Context, Result};
use candle_core::quantized::gguf_file;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{
    gemma3, quantized_llama, quantized_phi3, quantized_qwen2, quantized_qwen3,
};
use std::collections::HashMap;
use std::path::Path;

enum Model {
    Llama(quantized_llama::ModelWeights),
    Gemma3(gemma3::Model),
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
            "gemma3" => Model::Gemma3(load_gemma3(&content, &mut file, &device)?),
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
            Model::Gemma3(m) => {
                if position == 0 {
                    m.clear_kv_cache();
                }
                m.forward(&input, position)?
            }
            Model::Qwen2(m) => m.forward(&input, position)?,
            Model::Qwen3(m) => m.forward(&input, position)?,
            Model::Phi3(m) => m.forward(&input, position)?,
        };
        Ok(logits.flatten_all()?.to_vec1()?)
    }
}

/// Where candle's model looks for a tensor of the file, and whether it adds 1 to it (the file's norms
/// have that already).
fn gemma3_name(name: &str) -> Option<(String, bool)> {
    match name {
        "token_embd.weight" => return Some(("model.embed_tokens.weight".into(), false)),
        "output_norm.weight" => return Some(("model.norm.weight".into(), true)),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let (there, norm) = match part.strip_suffix(".weight")? {
        "attn_norm" => ("input_layernorm", true),
        "attn_q" => ("self_attn.q_proj", false),
        "attn_k" => ("self_attn.k_proj", false),
        "attn_v" => ("self_attn.v_proj", false),
        "attn_output" => ("self_attn.o_proj", false),
        "attn_q_norm" => ("self_attn.q_norm", true),
        "attn_k_norm" => ("self_attn.k_norm", true),
        "post_attention_norm" => ("post_attention_layernorm", true),
        "ffn_norm" => ("pre_feedforward_layernorm", true),
        "ffn_gate" => ("mlp.gate_proj", false),
        "ffn_up" => ("mlp.up_proj", false),
        "ffn_down" => ("mlp.down_proj", false),
        "post_ffw_norm" => ("post_feedforward_layernorm", true),
        _ => return None,
    };
    Some((format!("model.layers.{layer}.{there}.weight"), norm))
}

fn load_gemma3(
    content: &gguf_file::Content,
    file: &mut std::fs::File,
    device: &Device,
) -> Result<gemma3::Model> {
    let mut tensors = HashMap::new();
    for name in content.tensor_infos.keys() {
        if let Some((there, norm)) = gemma3_name(name) {
            let tensor = content.tensor(file, name, device)?.dequantize(device)?;
            let tensor = if norm { (tensor - 1.0)? } else { tensor };
            tensors.insert(there, tensor);
        }
    }
    let get = |key: &str| {
        let value = content.metadata.get(&format!("gemma3.{key}"));
        value.with_context(|| format!("gemma3.{key}"))
    };
    let size = |key: &str| -> Result<usize> { Ok(get(key)?.to_u32()? as usize) };
    let head_dim = size("attention.key_length")?;
    let vocabulary = tensors["model.embed_tokens.weight"].dim(0)?;
    let config = gemma3::Config {
        attention_bias: false,
        head_dim,
        hidden_activation: Activation::GeluPytorchTanh,
        hidden_size: size("embedding_length")?,
        intermediate_size: size("feed_forward_length")?,
        num_attention_heads: size("attention.head_count")?,
        num_hidden_layers: size("block_count")?,
        num_key_value_heads: size("attention.head_count_kv")?,
        rms_norm_eps: f64::from(get("attention.layer_norm_rms_epsilon")?.to_f32()?),
        rope_theta: f64::from(get("rope.freq_base")?.to_f32()?),
        rope_local_base_freq: 10_000.0,
        vocab_size: vocabulary,
        final_logit_softcapping: None,
        attn_logit_softcapping: None,
        query_pre_attn_scalar: head_dim,
        sliding_window: size("attention.sliding_window")?,
        sliding_window_pattern: 6,
        max_position_embeddings: size("context_length")?.min(4_096),
    };
    let builder = VarBuilder::from_tensors(tensors, DType::F32, device);
    Ok(gemma3::Model::new(false, &config, builder)?)
}

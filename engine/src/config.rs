//! A model's configuration, from its GGUF metadata.

use crate::kernels::attention::{BLOCK, unit_bytes};
use crate::{Error, unsupported};
use weights::GgufFile;

/// Model families this engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Gemma3,
    Qwen2,
    Qwen3,
    SmolLm3,
    Phi3,
    Lfm2,
}

impl Architecture {
    const ALL: [Self; 7] = [
        Self::Llama,
        Self::Gemma3,
        Self::Qwen2,
        Self::Qwen3,
        Self::SmolLm3,
        Self::Phi3,
        Self::Lfm2,
    ];

    /// The name GGUF uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Gemma3 => "gemma3",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::SmolLm3 => "smollm3",
            Self::Phi3 => "phi3",
            Self::Lfm2 => "lfm2",
        }
    }

    /// Which dimensions its files rotate together: those of llama's kind were permuted for it when
    /// they were converted.
    fn rope_pairs(self) -> RopePairs {
        match self {
            Self::Llama | Self::SmolLm3 => RopePairs::Interleaved,
            Self::Gemma3 | Self::Qwen2 | Self::Qwen3 | Self::Phi3 | Self::Lfm2 => RopePairs::Halves,
        }
    }
}

/// Which dimensions of a head RoPE rotates together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// (0, 1), (2, 3), …
    Interleaved,
    /// (0, n/2), (1, n/2 + 1), …
    Halves,
}

/// The gate of the feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// SwiGLU.
    Silu,
    /// GeGLU with the tanh approximation.
    GeluTanh,
}

/// Attention that looks back only so far in some layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlidingWindow {
    /// Positions a local layer sees, its own included.
    pub size: usize,
    /// Every `period`-th layer is global.
    pub period: usize,
    /// RoPE base of the local layers.
    pub rope_base: f64,
}

/// How RoPE's angles are changed for contexts longer than those of the first training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeScaling {
    /// Positions count as so many times less.
    pub factor: f64,
    /// YaRN: only slow angles are scaled.
    pub yarn: Option<Yarn>,
    /// Rotated queries and keys become so many times longer.
    pub magnitude: f64,
    /// The tensor of numbers that frequencies are divided by, one for each pair of dimensions.
    pub divisors: Option<&'static str>,
}

/// Which angles YaRN (arXiv 2309.00071) leaves as they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// The context of the first training (tokens).
    pub original_context: f64,
    /// Angles that turn more often than this in it are left.
    pub beta_fast: f64,
    /// Those that turn less often are scaled; the ones in between, in part.
    pub beta_slow: f64,
}

/// Everything the forward pass needs to know of a model's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub architecture: Architecture,
    pub layers: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Width of the feed-forward network.
    pub ffn_dim: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocabulary: usize,
    /// Longest context the model was trained for (tokens).
    pub context_length: usize,
    pub rope_pairs: RopePairs,
    pub rope_base: f64,
    pub rope: RopeScaling,
    /// Every so many layers one has no RoPE.
    pub no_rope_period: Option<usize>,
    pub norm_eps: f32,
    pub activation: Activation,
    /// Factor on the embedding.
    pub embedding_scale: f32,
    pub sliding_window: Option<SlidingWindow>,
    /// RMSNorm on each head of queries and keys.
    pub head_norms: bool,
    /// Positions that a short convolution sees, its own included, where layers may have one instead
    /// of attention.
    pub short_conv: Option<usize>,
    /// RMSNorm on the outputs of attention and feed-forward, before they are added.
    pub post_norms: bool,
}

/// The head sizes the attention kernels are built for.
pub const HEAD_DIMS: [usize; 7] = [16, 32, 64, 80, 96, 128, 256];

/// Most bytes of one block of the KV cache: it is had and kept in one piece.
const MAX_KV_BLOCK_BYTES: u64 = 256 << 20;

impl Config {
    /// Reads the metadata.
    ///
    /// # Errors
    /// [`weights::Error::Unsupported`] naming the key for what is missing, out of range, or of an
    /// architecture this engine does not run.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, Error> {
        let name = file
            .string("general.architecture")
            .ok_or_else(|| unsupported("general.architecture is missing"))?;
        let architecture = Architecture::ALL
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| {
                let known = Architecture::ALL.map(Architecture::name).join(", ");
                unsupported(format!(
                    "architecture {name} is not supported: these are: {known}"
                ))
            })?;
        let key = |k: &str| format!("{name}.{k}");
        let size = |k: &str, max: u64| -> Result<usize, Error> {
            match file.uint(&key(k)) {
                Some(v) if (1..=max).contains(&v) => Ok(v as usize),
                Some(v) => Err(unsupported(format!(
                    "{} is {v}: 1 to {max} is supported",
                    key(k)
                ))),
                None => Err(unsupported(format!("{} is missing", key(k)))),
            }
        };
        let float = |k: &str, default: Option<f64>| -> Result<f64, Error> {
            match file.float(&key(k)).or(default) {
                Some(v) if v.is_finite() && v > 0.0 => Ok(v),
                Some(v) => Err(unsupported(format!("{} is {v}", key(k)))),
                None => Err(unsupported(format!("{} is missing", key(k)))),
            }
        };

        let dim = size("embedding_length", 1 << 15)?;
        let heads = size("attention.head_count", 1 << 10)?;
        let head_dim = match file.uint(&key("attention.key_length")) {
            Some(_) => size("attention.key_length", 1 << 12)?,
            None => dim / heads,
        };
        let conv = architecture == Architecture::Lfm2;
        let kv_heads = match file.uint(&key("attention.head_count_kv")) {
            Some(_) => size("attention.head_count_kv", heads as u64)?,
            // A number for each layer: none where there is a convolution, else the same.
            None if conv && head_dim > 0 => kv_heads_of_tensors(file, head_dim, heads)?,
            None => heads,
        };
        if file
            .uint(&key("attention.value_length"))
            .is_some_and(|v| v != head_dim as u64)
        {
            return Err(unsupported(format!(
                "{} differs from the key's",
                key("attention.value_length")
            )));
        }
        if !HEAD_DIMS.contains(&head_dim) {
            return Err(unsupported(format!(
                "head size {head_dim} is not supported"
            )));
        }
        let ffn_dim = size("feed_forward_length", 1 << 16)?;
        if !heads.is_multiple_of(kv_heads) || !dim.is_multiple_of(4) || !ffn_dim.is_multiple_of(4) {
            return Err(unsupported(format!(
                "{heads} heads, {kv_heads} KV heads, widths {dim} and {ffn_dim}"
            )));
        }
        if conv && heads * head_dim != dim {
            return Err(unsupported(format!(
                "{heads} heads of {head_dim} beside convolutions of width {dim}"
            )));
        }
        let short_conv = match conv {
            true => Some(size("shortconv.l_cache", 16)?),
            false => None,
        };
        let layers = size("block_count", 512)?;
        let rows = cache_heads(kv_heads, head_dim, dim, short_conv);
        let block = (layers * rows) as u64 * unit_bytes(head_dim) as u64;
        if block > MAX_KV_BLOCK_BYTES {
            return Err(unsupported(format!(
                "{layers} layers of {rows} KV heads of {head_dim}: {BLOCK} positions of the KV \
                 cache would take {block} bytes, at most {MAX_KV_BLOCK_BYTES} are supported"
            )));
        }
        if file.uint(&key("expert_count")).is_some_and(|n| n > 0) {
            return Err(unsupported(format!(
                "{}: mixtures of experts",
                key("expert_count")
            )));
        }
        let rope_dim = file
            .uint(&key("rope.dimension_count"))
            .unwrap_or(head_dim as u64);
        if rope_dim != head_dim as u64 {
            return Err(unsupported(format!(
                "{} is {rope_dim}",
                key("rope.dimension_count")
            )));
        }
        let rope = rope_scaling(file, name)?;

        let vocabulary = file.tensor("token_embd.weight")?.rows;
        if vocabulary == 0 || vocabulary > 1 << 21 {
            return Err(unsupported(format!("vocabulary of {vocabulary}")));
        }
        let gemma = architecture == Architecture::Gemma3;
        let sliding_window = match (gemma, file.uint(&key("attention.sliding_window"))) {
            (true, Some(_)) => Some(SlidingWindow {
                size: size("attention.sliding_window", 1 << 20)?,
                period: 6,
                rope_base: 10_000.0,
            }),
            _ => None,
        };
        let mut context_length = size("context_length", 1 << 20)?;
        if architecture == Architecture::Phi3 {
            // Within its window a sliding one sees everything.
            if let Some(window) = file.uint(&key("attention.sliding_window"))
                && window > 0
            {
                context_length = window.min(context_length as u64) as usize;
            }
        }
        Ok(Self {
            architecture,
            layers,
            dim,
            ffn_dim,
            heads,
            kv_heads,
            head_dim,
            vocabulary: vocabulary as usize,
            context_length,
            rope_pairs: architecture.rope_pairs(),
            rope_base: float("rope.freq_base", Some(10_000.0))?,
            rope,
            no_rope_period: (architecture == Architecture::SmolLm3).then_some(4),
            norm_eps: float("attention.layer_norm_rms_epsilon", None)? as f32,
            activation: if gemma {
                Activation::GeluTanh
            } else {
                Activation::Silu
            },
            // Gemma multiplies by the square root of the width.
            embedding_scale: if gemma { (dim as f32).sqrt() } else { 1.0 },
            sliding_window,
            short_conv,
            head_norms: gemma || conv || architecture == Architecture::Qwen3,
            post_norms: gemma,
        })
    }

    /// Width of all query heads.
    pub fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads (and of all value heads).
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// KV heads that a cache has room for in each layer: where convolutions keep what they have seen
    /// in it, also those.
    pub fn cache_heads(&self) -> usize {
        cache_heads(self.kv_heads, self.head_dim, self.dim, self.short_conv)
    }

    /// The window of `layer`, if it looks back only so far.
    pub fn window(&self, layer: usize) -> Option<SlidingWindow> {
        self.sliding_window
            .filter(|w| !(layer + 1).is_multiple_of(w.period))
    }

    /// Whether `layer` has RoPE.
    pub fn has_rope(&self, layer: usize) -> bool {
        self.no_rope_period
            .is_none_or(|period| !(layer + 1).is_multiple_of(period))
    }

    /// Weight multiply-accumulates of one layer for one token, without attention.
    pub fn layer_macs(&self) -> u64 {
        let (d, q, kv, f) = (
            self.dim as u64,
            self.q_dim() as u64,
            self.kv_dim() as u64,
            self.ffn_dim as u64,
        );
        let conv = match self.short_conv {
            Some(_) => 4 * d * d,
            None => 0,
        };
        (d * (q + 2 * kv) + q * d).max(conv) + 3 * d * f
    }

    /// Weight multiply-accumulates of the output head.
    pub fn head_macs(&self) -> u64 {
        self.dim as u64 * self.vocabulary as u64
    }
}

fn cache_heads(kv_heads: usize, head_dim: usize, dim: usize, conv: Option<usize>) -> usize {
    match conv {
        // A row of keys and one of values have room for what a position brings.
        Some(_) => kv_heads.max(dim.div_ceil(2 * head_dim)),
        None => kv_heads,
    }
}

/// KV heads by the shape of the first layer that has attention.
fn kv_heads_of_tensors(file: &GgufFile, head_dim: usize, heads: usize) -> Result<usize, Error> {
    let layer = |l| file.tensors.get(&format!("blk.{l}.attn_k.weight"));
    let rows = (0..512).find_map(layer).map_or(0, |t| t.rows);
    let kv_heads = rows / head_dim as u64;
    if rows % head_dim as u64 != 0 || !(1..=heads as u64).contains(&kv_heads) {
        return Err(unsupported(format!(
            "no layer has attention with heads of {head_dim}"
        )));
    }
    Ok(kv_heads as usize)
}

/// Reads the keys of `rope.scaling` as llama.cpp does.
fn rope_scaling(file: &GgufFile, architecture: &str) -> Result<RopeScaling, Error> {
    let key = |k: &str| format!("{architecture}.rope.{k}");
    let positive = |k: &str| match file.float(&key(k)) {
        Some(v) if v.is_finite() && v > 0.0 && v <= 1e6 => Ok(Some(v)),
        Some(v) => Err(unsupported(format!("{} is {v}", key(k)))),
        None => Ok(None),
    };
    let factor = match positive("scaling.factor")? {
        Some(factor) => factor,
        None => positive("scale_linear")?.unwrap_or(1.0),
    };
    let magnitude = match positive("scaling.attn_factor")? {
        Some(magnitude) => magnitude,
        None => positive("scaling.yarn_attn_factor")?.unwrap_or(1.0),
    };
    let original_context = file
        .uint(&key("scaling.original_context_length"))
        .filter(|n| (1..=1 << 20).contains(n));
    let kind = file.string(&key("scaling.type")).unwrap_or("none");
    let tables = ["rope_factors_short.weight", "rope_factors_long.weight"];
    let tables = tables.map(|t| file.tensors.get_key_value(t).map(|_| t));
    let scaling = RopeScaling {
        // Without a type a factor is a linear one.
        factor,
        yarn: None,
        magnitude,
        divisors: None,
    };
    let original = || {
        original_context.ok_or_else(|| {
            let key = key("scaling.original_context_length");
            unsupported(format!("{key} is missing or out of range"))
        })
    };
    match (kind, tables) {
        ("none" | "linear" | "longrope" | "su", [Some(short), Some(long)]) => {
            let context = file.uint(&format!("{architecture}.context_length"));
            // One of the two holds for all positions: a cache has rows of one kind.
            let divisors = match context.unwrap_or(0) > original()? {
                true => long,
                false => short,
            };
            Ok(RopeScaling {
                factor: 1.0,
                divisors: Some(divisors),
                ..scaling
            })
        }
        ("none" | "linear", [None, None]) => Ok(RopeScaling {
            divisors: file
                .tensors
                .contains_key("rope_freqs.weight")
                .then_some("rope_freqs.weight"),
            ..scaling
        }),
        ("yarn", [None, None]) => Ok(RopeScaling {
            yarn: Some(Yarn {
                original_context: original()? as f64,
                beta_fast: positive("scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: positive("scaling.yarn_beta_slow")?.unwrap_or(1.0),
            }),
            magnitude: magnitude * (1.0 + 0.1 * libm::log(factor)),
            ..scaling
        }),
        _ => Err(unsupported(format!(
            "{} {kind} is not supported",
            key("scaling.type")
        ))),
    }
}

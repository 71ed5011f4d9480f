//! A model's configuration, from its GGUF metadata.

use super::architecture::{FAMILIES, Family, WindowRule};
use super::rope::RopeScaling;
use super::short_conv::{self, ShortConv};
use crate::kernels::attention::{BLOCK, HEAD_DIMS};
use crate::kv_cache::KvShape;
use crate::{Error, unsupported};
use weights::GgufFile;

/// Attention that sees only part of the context in some layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlidingWindow {
    /// Positions a local layer sees, its own included.
    pub size: usize,
    /// Every `period`-th layer is global.
    pub period: usize,
    /// RoPE base of the local layers.
    pub rope_base: f64,
}

/// A model's shape, and how its family differs from others.
///
/// ```no_run
/// use engine::model::Config;
/// use weights::{GgufFile, gguf::source::FileSource};
/// let file = GgufFile::read(&FileSource::open("model.gguf")?)?;
/// let config = Config::from_gguf(&file)?;
/// println!("{}: {} layers", config.family.name, config.layers);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The row of the architecture.
    pub family: &'static Family,
    /// Number of layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Width of the feed-forward network.
    pub ffn_dim: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key heads, and of value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Number of tokens.
    pub vocabulary: usize,
    /// Longest context that the model was trained for (tokens).
    pub context_length: usize,
    /// RoPE base of layers that see the whole context.
    pub rope_base: f64,
    /// Scaling of RoPE in layers that see the whole context.
    pub rope: RopeScaling,
    /// Added to the mean of squares in RMSNorm.
    pub norm_eps: f32,
    /// Factor on the embedding.
    pub embedding_scale: f32,
    /// Layers that see only part of the context.
    pub sliding_window: Option<SlidingWindow>,
    /// Short convolutions, in layers without attention.
    pub short_conv: Option<ShortConv>,
}

/// Most layers.
pub(super) const MAX_LAYERS: usize = 512;
/// Most bytes of one block of the KV cache: it is allocated contiguously.
const MAX_KV_BLOCK_BYTES: u64 = 256 << 20;

impl Config {
    /// Reads the metadata.
    ///
    /// # Errors
    /// [`weights::Error::Unsupported`], naming the key that is missing, out of range, or outside what
    /// this engine runs.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, Error> {
        let name = file
            .string("general.architecture")
            .ok_or_else(|| unsupported("general.architecture is missing"))?;
        let family = Family::by_name(name).ok_or_else(|| {
            let known: Vec<_> = FAMILIES.iter().map(|f| f.name).collect();
            unsupported(format!(
                "architecture {name} is not supported: these are: {}",
                known.join(", ")
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
        let kv_heads = match file.uint(&key("attention.head_count_kv")) {
            Some(_) => size("attention.head_count_kv", heads as u64)?,
            None if family.short_conv => short_conv::kv_heads(file, head_dim, heads)?,
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
        let short_conv = if family.short_conv {
            if heads * head_dim != dim {
                return Err(unsupported(format!(
                    "{heads} heads of {head_dim} beside convolutions of width {dim}"
                )));
            }
            let taps = size("shortconv.l_cache", short_conv::MAX_TAPS)?;
            Some(ShortConv { taps })
        } else {
            None
        };
        let layers = size("block_count", MAX_LAYERS as u64)?;
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
        let rope = RopeScaling::from_gguf(file, name)?;

        let vocabulary = file.tensor("token_embd.weight")?.rows;
        if vocabulary == 0 || vocabulary > 1 << 21 {
            return Err(unsupported(format!("vocabulary of {vocabulary}")));
        }
        let mut context_length = size("context_length", 1 << 20)?;
        let window = file.uint(&key("attention.sliding_window"));
        let mut sliding_window = None;
        match family.sliding_window {
            WindowRule::Ignored => {}
            WindowRule::Local { period, rope_base } => {
                if window.is_some() {
                    sliding_window = Some(SlidingWindow {
                        size: size("attention.sliding_window", 1 << 20)?,
                        period,
                        rope_base,
                    });
                }
            }
            WindowRule::LimitsContext => {
                if let Some(window) = window.filter(|w| *w > 0) {
                    context_length = window.min(context_length as u64) as usize;
                }
            }
        }
        let config = Self {
            family,
            layers,
            dim,
            ffn_dim,
            heads,
            kv_heads,
            head_dim,
            vocabulary: vocabulary as usize,
            context_length,
            rope_base: float("rope.freq_base", Some(10_000.0))?,
            rope,
            norm_eps: float("attention.layer_norm_rms_epsilon", None)? as f32,
            embedding_scale: if family.scaled_embedding {
                (dim as f32).sqrt()
            } else {
                1.0
            },
            sliding_window,
            short_conv,
        };
        let kv = config.kv_shape();
        let block = kv.layers as u64 * kv.layer_bytes() as u64;
        if block > MAX_KV_BLOCK_BYTES {
            return Err(unsupported(format!(
                "{layers} layers of {} KV heads of {head_dim}: {BLOCK} positions of the KV \
                 cache would take {block} bytes, at most {MAX_KV_BLOCK_BYTES} are supported",
                kv.kv_heads
            )));
        }
        Ok(config)
    }

    /// Returns the width of all query heads.
    pub fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Returns the width of all key heads (and of all value heads).
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Returns the shape of the KV cache.
    pub fn kv_shape(&self) -> KvShape {
        let heads = match &self.short_conv {
            Some(_) => short_conv::cache_heads(self.kv_heads, self.head_dim, self.dim),
            None => self.kv_heads,
        };
        KvShape {
            layers: self.layers,
            kv_heads: heads,
            head_dim: self.head_dim,
        }
    }

    /// Returns the window of `layer`; `None` if it sees the whole context.
    pub fn window(&self, layer: usize) -> Option<SlidingWindow> {
        self.sliding_window
            .filter(|w| !(layer + 1).is_multiple_of(w.period))
    }

    /// Returns `true` if `layer` has RoPE.
    pub fn has_rope(&self, layer: usize) -> bool {
        self.family
            .no_rope_period
            .is_none_or(|period| !(layer + 1).is_multiple_of(period))
    }

    /// Returns the multiply-accumulates with weights in one layer for one token (attention's own not
    /// counted).
    pub fn layer_macs(&self) -> u64 {
        let (d, q, kv, f) = (
            self.dim as u64,
            self.q_dim() as u64,
            self.kv_dim() as u64,
            self.ffn_dim as u64,
        );
        let conv = match &self.short_conv {
            Some(_) => 4 * d * d,
            None => 0,
        };
        (d * (q + 2 * kv) + q * d).max(conv) + 3 * d * f
    }

    /// Returns the multiply-accumulates of the output head.
    pub fn head_macs(&self) -> u64 {
        self.dim as u64 * self.vocabulary as u64
    }
}

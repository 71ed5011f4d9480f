//! The architectures that this engine runs: one row of [`FAMILIES`] each.
//!
//! A row says how a family differs from Llama. What no row can say yet (a new kind of layer, say) is a
//! field here and one file that reads it; `short_conv.rs` is the example.

use crate::kernels::activation::Activation;
use crate::kernels::rope::RopePairs;

/// What is special about the models of one architecture.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// `general.architecture` in GGUF, and the prefix of the other keys.
    pub name: &'static str,
    /// Dimensions that its files rotate together. Files of Llama's kind are permuted for
    /// [`RopePairs::Interleaved`] when they are converted.
    pub rope_pairs: RopePairs,
    /// The gate of the feed-forward network.
    pub activation: Activation,
    /// `true` if embeddings are multiplied by the square root of the model's width.
    pub scaled_embedding: bool,
    /// `true` if each head of queries and keys has an RMSNorm.
    pub head_norms: bool,
    /// `true` if the outputs of attention and feed-forward have an RMSNorm before they are added.
    pub post_norms: bool,
    /// Every so many layers one has no RoPE.
    pub no_rope_period: Option<usize>,
    /// What `attention.sliding_window` means.
    pub sliding_window: WindowRule,
    /// `true` if layers may have a short convolution instead of attention.
    pub short_conv: bool,
    /// Names that the last norm's tensor may have, without `.weight`; the first that is in the file
    /// counts.
    pub output_norm: &'static [&'static str],
}

/// What the key `attention.sliding_window` means to a family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WindowRule {
    /// Nothing: published files carry the key, but the models do not use it.
    Ignored,
    /// All layers but every `period`-th see only so far back, with a RoPE base of their own.
    Local {
        /// Every `period`-th layer is global.
        period: usize,
        /// RoPE base of the local layers.
        rope_base: f64,
    },
    /// Every layer sees only so far back. Within the window that is the same as seeing everything, so
    /// the context is limited to it.
    LimitsContext,
}

/// What most families share.
const LLAMA: Family = Family {
    name: "llama",
    rope_pairs: RopePairs::Interleaved,
    activation: Activation::Silu,
    scaled_embedding: false,
    head_norms: false,
    post_norms: false,
    no_rope_period: None,
    sliding_window: WindowRule::Ignored,
    short_conv: false,
    output_norm: &["output_norm"],
};

/// The architectures, one row each. Sources: `llama_model_*` in llama.cpp's src/models and the models'
/// published configurations.
pub const FAMILIES: &[Family] = &[
    LLAMA,
    Family {
        name: "gemma3",
        rope_pairs: RopePairs::Halves,
        activation: Activation::GeluTanh,
        scaled_embedding: true,
        head_norms: true,
        post_norms: true,
        sliding_window: WindowRule::Local {
            period: 6,
            rope_base: 10_000.0,
        },
        ..LLAMA
    },
    Family {
        name: "qwen2",
        rope_pairs: RopePairs::Halves,
        ..LLAMA
    },
    Family {
        name: "qwen3",
        rope_pairs: RopePairs::Halves,
        head_norms: true,
        ..LLAMA
    },
    Family {
        name: "smollm3",
        no_rope_period: Some(4),
        ..LLAMA
    },
    Family {
        name: "phi3",
        rope_pairs: RopePairs::Halves,
        sliding_window: WindowRule::LimitsContext,
        ..LLAMA
    },
    Family {
        name: "lfm2",
        rope_pairs: RopePairs::Halves,
        head_norms: true,
        short_conv: true,
        // Files of this family name their last norm after the embedding.
        output_norm: &["token_embd_norm", "output_norm"],
        ..LLAMA
    },
];

impl Family {
    /// Returns the family with this name in GGUF.
    ///
    /// ```
    /// use engine::model::architecture::Family;
    /// assert!(Family::by_name("qwen3").is_some_and(|f| f.head_norms));
    /// assert_eq!(Family::by_name("gpt2"), None);
    /// ```
    pub fn by_name(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|f| f.name == name)
    }
}

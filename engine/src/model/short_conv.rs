//! Short convolutions in place of attention (LFM2; `build_shortconv_block` in llama.cpp): configuration
//! and weights. `inference/short_conv.rs` runs them.

use super::config::MAX_LAYERS;
use super::layout::{Builder, Matrix, Vector};
use crate::{Error, unsupported};
use weights::GgufFile;

/// Most positions that a convolution sees.
pub(super) const MAX_TAPS: u64 = 16;

/// The short convolutions of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortConv {
    /// Positions that a convolution sees, its own included.
    pub taps: usize,
}

/// The weights of a layer's short convolution.
#[derive(Debug, Clone)]
pub struct ShortConvLayer {
    /// Two gates and the input, stacked: `[3 × dim, dim]`.
    pub input: Matrix,
    /// The weights `[dim, taps]`, oldest position first.
    pub taps: Vector,
    /// `[dim, dim]`.
    pub output: Matrix,
}

/// Names of a convolution's parts in a file.
pub(super) const PARTS: [&str; 3] = ["shortconv.in_proj", "shortconv.conv", "shortconv.out_proj"];

/// Returns the number of KV heads by the shape of the first layer that has attention: these files have a
/// number for each layer, 0 where there is a convolution.
pub(super) fn kv_heads(file: &GgufFile, head_dim: usize, heads: usize) -> Result<usize, Error> {
    let layer = |l| file.tensors.get(&format!("blk.{l}.attn_k.weight"));
    let rows = (0..MAX_LAYERS).find_map(layer).map_or(0, |t| t.rows);
    let head_dim = head_dim as u64;
    match rows.checked_div(head_dim) {
        Some(n) if n * head_dim == rows && (1..=heads as u64).contains(&n) => Ok(n as usize),
        _ => Err(unsupported(format!(
            "no layer has attention with heads of {head_dim}"
        ))),
    }
}

/// Returns the KV heads of the cache: a row of keys and one of values have room for what a position
/// brings to a convolution.
pub(super) fn cache_heads(kv_heads: usize, head_dim: usize, dim: usize) -> usize {
    kv_heads.max(dim.div_ceil(2 * head_dim))
}

impl ShortConv {
    /// Plans the weights of layer `l`; `None` if it has attention.
    pub(super) fn plan(
        &self,
        b: &mut Builder<'_>,
        l: usize,
        dim: usize,
    ) -> Result<Option<ShortConvLayer>, Error> {
        let [input, taps, output] = PARTS.map(|part| format!("blk.{l}.{part}.weight"));
        if !b.has(&taps) {
            return Ok(None);
        }
        Ok(Some(ShortConvLayer {
            input: b.matrix(&[(input, 3 * dim)], dim)?,
            taps: b.table(taps, dim, self.taps)?,
            output: b.matrix(&[(output, dim)], dim)?,
        }))
    }
}

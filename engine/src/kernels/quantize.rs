//! Activations as 16-bit integers with one scale for each vector.

use weights::pack::{ACTIVATION_NORM_MAX, row_scale};
use weights::simd::{ROUND_MAGIC, V128, Vector};

/// A quantized vector: `value[i] ≈ q[i] × scale`, |q| ≤ [`VALUE_MAX`](weights::pack::VALUE_MAX), its Euclidean norm at most
/// [`ACTIVATION_NORM_MAX`]. Its length is padded with zeros to a multiple of 8.
pub struct Quantized {
    /// The integers, in the column order of packed rows.
    pub q: Vec<i16>,
    /// What an integer is multiplied by.
    pub scale: f32,
}

/// Vectors whose scale is smaller than one part in this are zero: the sum of their squares would
/// be inexact.
const MAX_INVERSE: f32 = 1e20;

impl Quantized {
    /// Returns room for `len` values.
    pub fn new(len: usize) -> Self {
        Self {
            q: vec![0; len.next_multiple_of(8)],
            scale: 0.0,
        }
    }

    /// Quantizes `x`. Its length must be at most that of this vector, and a multiple of 4.
    pub fn set(&mut self, x: &[f32]) {
        self.scale = row_scale(x, ACTIVATION_NORM_MAX);
        let inverse = 1.0 / self.scale;
        // All zeros, or so small that squares or the inverse are out of range: zeros.
        let inverse = if inverse < MAX_INVERSE { inverse } else { 0.0 };
        round::<true>(x, inverse, &mut self.q);
    }
}

/// Writes `round(x × factor)` as 16-bit integers; |x × factor| must be at most 32,767. Values of
/// `out` past `x` become zero up to the next multiple of 8.
pub fn to_i16(x: &[f32], factor: f32, out: &mut [i16]) {
    round::<false>(x, factor, out);
}

/// [`to_i16`], with `CROSSED` in the order of packed weights' columns.
#[inline(always)]
fn round<const CROSSED: bool>(x: &[f32], factor: f32, out: &mut [i16]) {
    let narrow = |lo: V128, hi: V128| {
        if CROSSED {
            lo.low_i16_crossed(hi)
        } else {
            lo.low_i16(hi)
        }
    };
    let factor = V128::splat_f32(factor);
    let magic = V128::splat_f32(ROUND_MAGIC);
    let (pairs, rest) = x.as_chunks::<8>();
    let (outs, _) = out.as_chunks_mut::<8>();
    assert!(outs.len() >= x.len().div_ceil(8), "room for the integers");
    for (c, o) in pairs.iter().zip(outs.iter_mut()) {
        // SAFETY: a chunk is eight floats, an output chunk eight 16-bit integers.
        unsafe {
            let lo = V128::load(c.as_ptr()).mul(factor).add(magic);
            let hi = V128::load(c.as_ptr().add(4)).mul(factor).add(magic);
            narrow(lo, hi).store(o.as_mut_ptr());
        }
    }
    if rest.len() == 4 {
        let o = &mut outs[pairs.len()];
        // SAFETY: four floats are there; the output chunk has eight integers.
        unsafe {
            let lo = V128::load(rest.as_ptr()).mul(factor).add(magic);
            narrow(lo, V128::zero()).store(o.as_mut_ptr());
        }
    }
}

//! Activations as 16-bit integers with one scale a vector.

use weights::pack::{ACTIVATION_NORM_MAX, VALUE_MAX};
use weights::simd::{ROUND_MAGIC, V128};

/// A quantized vector: `value[i] ≈ q[i] × scale`, |q| ≤ [`VALUE_MAX`], its Euclidean norm at most
/// [`ACTIVATION_NORM_MAX`]. Its length is padded with zeros to a multiple of 8.
pub struct Quantized {
    pub q: Vec<i16>,
    pub scale: f32,
}

/// Vectors whose scale is smaller than one part in this are zero: the sum of their squares would
/// be inexact.
const MAX_INVERSE: f32 = 1e20;

impl Quantized {
    /// Room for `len` values.
    pub fn new(len: usize) -> Self {
        Self {
            q: vec![0; len.next_multiple_of(8)],
            scale: 0.0,
        }
    }

    /// Quantizes `x`. Its length must be at most that of this vector, and a multiple of 4.
    pub fn set(&mut self, x: &[f32]) {
        let (mut max, mut squares) = (V128::zero(), V128::zero());
        let (chunks, _) = x.as_chunks::<4>();
        for c in chunks {
            // Safety: a chunk is four floats.
            let v = unsafe { V128::load(c.as_ptr()) };
            max = max.pmax(v.abs());
            squares = squares.add(v.mul(v));
        }
        // Rounding may add half a unit a value to the norm; the factor covers the sum's rounding.
        let budget = 0.999 * ACTIVATION_NORM_MAX - 0.5 * (x.len() as f32).sqrt();
        let by_norm = squares.sum_f32().sqrt() / budget;
        let by_size = max.max_f32() / VALUE_MAX;
        self.scale = if by_norm < by_size { by_size } else { by_norm };
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
        // Safety: a chunk is eight floats, an output chunk eight 16-bit integers.
        unsafe {
            let lo = V128::load(c.as_ptr()).mul(factor).add(magic);
            let hi = V128::load(c.as_ptr().add(4)).mul(factor).add(magic);
            narrow(lo, hi).store(o.as_mut_ptr());
        }
    }
    if rest.len() == 4 {
        let o = &mut outs[pairs.len()];
        // Safety: four floats are there; the output chunk has eight integers.
        unsafe {
            let lo = V128::load(rest.as_ptr()).mul(factor).add(magic);
            narrow(lo, V128::zero()).store(o.as_mut_ptr());
        }
    }
}

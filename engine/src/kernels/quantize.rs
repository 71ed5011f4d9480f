//! Activations as 16-bit integers with one scale a vector.

use weights::pack::ACTIVATION_MAX;
use weights::simd::{ROUND_MAGIC, V128};

/// A quantized vector: `value[i] ≈ q[i] × scale`, |q| ≤ [`ACTIVATION_MAX`]. Its length is padded
/// with zeros to a multiple of 8.
pub struct Quantized {
    pub q: Vec<i16>,
    pub scale: f32,
}

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
        let mut max = V128::zero();
        let (chunks, _) = x.as_chunks::<4>();
        for c in chunks {
            // Safety: a chunk is four floats.
            max = max.pmax(unsafe { V128::load(c.as_ptr()) }.abs());
        }
        let max = max.max_f32();
        self.scale = max / ACTIVATION_MAX as f32;
        let inverse = ACTIVATION_MAX as f32 / max;
        // All zeros, or so small that the inverse overflows: zeros.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        to_i16(x, inverse, &mut self.q);
    }
}

/// Writes `round(x × factor)` as 16-bit integers; |x × factor| must be at most 32,767. Values of
/// `out` past `x` become zero up to the next multiple of 8.
pub fn to_i16(x: &[f32], factor: f32, out: &mut [i16]) {
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
            lo.low_i16(hi).store(o.as_mut_ptr());
        }
    }
    if rest.len() == 4 {
        let o = &mut outs[pairs.len()];
        // Safety: four floats are there; the output chunk has eight integers.
        unsafe {
            let lo = V128::load(rest.as_ptr()).mul(factor).add(magic);
            lo.low_i16(V128::zero()).store(o.as_mut_ptr());
        }
    }
}

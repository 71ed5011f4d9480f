//! RMSNorm and adding vectors.

use weights::simd::V128;

/// `out = x / rms(x) × weight`, with rms(x) = √(mean(x²) + eps). All of one length, a multiple of 4.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let factor = inverse_rms(x, eps);
    assert!(weight.len() == x.len() && out.len() == x.len(), "lengths");
    let f = V128::splat_f32(factor);
    for i in (0..x.len() & !3).step_by(4) {
        // Safety: i + 4 <= x.len(), and the lengths are equal.
        unsafe {
            let v = V128::load(x.as_ptr().add(i))
                .mul(f)
                .mul(V128::load(weight.as_ptr().add(i)));
            v.store(out.as_mut_ptr().add(i));
        }
    }
}

/// RMSNorm in place.
pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    let f = V128::splat_f32(inverse_rms(x, eps));
    assert!(weight.len() == x.len(), "lengths");
    for i in (0..x.len() & !3).step_by(4) {
        // Safety: i + 4 <= x.len(), and the lengths are equal.
        unsafe {
            let v = V128::load(x.as_ptr().add(i))
                .mul(f)
                .mul(V128::load(weight.as_ptr().add(i)));
            v.store(x.as_mut_ptr().add(i));
        }
    }
}

fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    let mut sum = V128::zero();
    let (chunks, _) = x.as_chunks::<4>();
    for c in chunks {
        // Safety: a chunk is four floats.
        let v = unsafe { V128::load(c.as_ptr()) };
        sum = sum.add(v.mul(v));
    }
    1.0 / (sum.sum_f32() / x.len() as f32 + eps).sqrt()
}

/// `x += y`, of one length, a multiple of 4.
pub fn add(x: &mut [f32], y: &[f32]) {
    assert!(x.len() == y.len(), "lengths");
    for i in (0..x.len() & !3).step_by(4) {
        // Safety: i + 4 <= x.len(), and the lengths are equal.
        unsafe {
            let v = V128::load(x.as_ptr().add(i)).add(V128::load(y.as_ptr().add(i)));
            v.store(x.as_mut_ptr().add(i));
        }
    }
}

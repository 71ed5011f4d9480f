//! RMSNorm and adding vectors.

use weights::simd::{V128, Vector};

/// `out = x / rms(x) × weight`, with rms(x) = √(mean(x²) + eps) (arXiv 1910.07467).
///
/// # Panics
/// If the lengths differ. They must be multiples of 4.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(weight.len() == x.len() && out.len() == x.len(), "lengths");
    // SAFETY: three slices of one length.
    unsafe { normalize(x.as_ptr(), weight.as_ptr(), x.len(), eps, out.as_mut_ptr()) };
}

/// [`rms_norm`] with `x` as its own output.
///
/// # Panics
/// If the lengths differ. They must be multiples of 4.
pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    assert!(weight.len() == x.len(), "lengths");
    let p = x.as_mut_ptr();
    // SAFETY: two slices of one length; the values of a step are read before they are written.
    unsafe { normalize(p, weight.as_ptr(), x.len(), eps, p) };
}

/// # Safety
/// `len` values at each pointer must be valid; `out` may be `x`.
#[inline(always)]
unsafe fn normalize(x: *const f32, weight: *const f32, len: usize, eps: f32, out: *mut f32) {
    // SAFETY: i + 4 <= len.
    unsafe {
        let mut sum = V128::zero();
        for i in (0..len & !3).step_by(4) {
            let v = V128::load(x.add(i));
            sum = sum.add(v.mul(v));
        }
        let factor = 1.0 / (sum.sum_f32() / len as f32 + eps).sqrt();
        let f = V128::splat_f32(factor);
        for i in (0..len & !3).step_by(4) {
            let v = V128::load(x.add(i)).mul(f).mul(V128::load(weight.add(i)));
            v.store(out.add(i));
        }
    }
}

/// `x += y`.
///
/// # Panics
/// If the lengths differ. They must be multiples of 4.
pub fn add(x: &mut [f32], y: &[f32]) {
    assert!(x.len() == y.len(), "lengths");
    for i in (0..x.len() & !3).step_by(4) {
        // SAFETY: i + 4 <= x.len(), and the lengths are equal.
        unsafe {
            let v = V128::load(x.as_ptr().add(i)).add(V128::load(y.as_ptr().add(i)));
            v.store(x.as_mut_ptr().add(i));
        }
    }
}

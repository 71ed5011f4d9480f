//! The exponential, in arithmetic that is the same everywhere.

use weights::simd::{ROUND_MAGIC, V128, Vector};

/// Smaller exponents count as this: the result is the smallest normal numbers, not zero.
pub const EXP_MIN: f32 = -87.0;

/// Returns e^x in four lanes, for x up to 88; below [`EXP_MIN`], e^[`EXP_MIN`]. The relative error is
/// below 3e-7 and the rounding of the argument.
///
/// 2^(x·log2 e) = 2^n · 2^f with f in [-1/2, 1/2]; 2^f by the polynomial of degree 5 whose
/// largest relative error there is smallest (7.5e-8).
#[inline(always)]
pub fn exp(x: V128) -> V128 {
    let s = V128::splat_f32;
    let x = x.pmax(s(EXP_MIN));
    let t = x.mul(s(std::f32::consts::LOG2_E));
    let shifted = t.add(s(ROUND_MAGIC));
    let f = t.sub(shifted.sub(s(ROUND_MAGIC)));
    let p = s(1.327_647_7e-3);
    let p = p.mul(f).add(s(9.675_54e-3));
    let p = p.mul(f).add(s(5.550_713e-2));
    let p = p.mul(f).add(s(2.402_212e-1));
    let p = p.mul(f).add(s(6.931_469_7e-1));
    let p = p.mul(f).add(s(1.000_000_1));
    // The low bits of `shifted` are n: add it to the exponent of p.
    shifted.shl_i32::<23>().add_i32(p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_library_s() {
        let mut x = EXP_MIN;
        while x < 88.0 {
            let got = exp(V128::splat_f32(x)).to_f32()[0];
            let expected = f64::from(x).exp();
            let error = (f64::from(got) / expected - 1.0).abs();
            // The argument's own rounding grows with its size.
            assert!(
                error < 3e-7 + 1.2e-7 * f64::from(x.abs()),
                "exp({x}) = {got}, error {error}"
            );
            x += 0.001_3;
        }
        assert!(exp(V128::splat_f32(-1e30)).to_f32()[0] < 2e-38);
    }
}

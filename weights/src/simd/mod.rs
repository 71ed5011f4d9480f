//! One 128-bit vector type with three bodies: Wasm SIMD, SSE2, and plain arrays.
//!
//! All three give the same bits: integer operations wrap, `f32` operations are single IEEE 754
//! operations in the order written, nothing is fused or reassociated. `pmax(a, b)` is
//! `if a < b { b } else { a }`.

// Lane-wise operations are methods beside `dot_i16` and `add_i32`: operators would hide which lanes.
#![allow(clippy::should_implement_trait)]

#[cfg(target_arch = "wasm32")]
mod wasm;
#[cfg(target_arch = "wasm32")]
pub use wasm::V128;

#[cfg(target_arch = "x86_64")]
mod sse2;
#[cfg(target_arch = "x86_64")]
pub use sse2::V128;

#[cfg(not(any(target_arch = "wasm32", target_arch = "x86_64")))]
pub use scalar::V128;

#[cfg(any(test, not(any(target_arch = "wasm32", target_arch = "x86_64"))))]
pub mod scalar;

/// Adding this to a float below 2^22 in size rounds it to a whole number, ties to even, and leaves
/// that number in the low bits (1.5 × 2^23).
pub const ROUND_MAGIC: f32 = 12_582_912.0;

impl V128 {
    /// Sum of the four `f32` lanes as (0 + 1) + (2 + 3).
    #[inline(always)]
    pub fn sum_f32(self) -> f32 {
        let [a, b, c, d] = self.to_f32();
        (a + b) + (c + d)
    }

    /// Largest of the four `f32` lanes.
    #[inline(always)]
    pub fn max_f32(self) -> f32 {
        let [a, b, c, d] = self.to_f32();
        let (e, f) = (if a < b { b } else { a }, if c < d { d } else { c });
        if e < f { f } else { e }
    }

    /// Four rows of four 32-bit lanes become four columns.
    #[inline(always)]
    pub fn transpose_32(r: [Self; 4]) -> [Self; 4] {
        let (a, b) = (r[0].zip_lo_32(r[1]), r[0].zip_hi_32(r[1]));
        let (c, d) = (r[2].zip_lo_32(r[3]), r[2].zip_hi_32(r[3]));
        [
            a.zip_lo_64(c),
            a.zip_hi_64(c),
            b.zip_lo_64(d),
            b.zip_hi_64(d),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::scalar::V128 as Reference;
    use super::*;
    use proptest::prelude::*;

    fn bits(v: V128) -> [u32; 4] {
        v.to_f32().map(f32::to_bits)
    }
    fn ref_bits(v: Reference) -> [u32; 4] {
        v.to_f32().map(f32::to_bits)
    }

    proptest! {
        #[test]
        fn native_vectors_are_the_scalar_reference(a in any::<[i32; 4]>(), b in any::<[i32; 4]>()) {
            let (x, y) = (V128::from_i32(a), V128::from_i32(b));
            let (p, q) = (Reference::from_i32(a), Reference::from_i32(b));
            prop_assert_eq!(bits(x.dot_i16(y)), ref_bits(p.dot_i16(q)));
            prop_assert_eq!(bits(x.add_i32(y)), ref_bits(p.add_i32(q)));
            prop_assert_eq!(bits(x.sub_i32(y)), ref_bits(p.sub_i32(q)));
            prop_assert_eq!(bits(x.i32_to_f32()), ref_bits(p.i32_to_f32()));
            prop_assert_eq!(bits(x.shl_i32::<23>()), ref_bits(p.shl_i32::<23>()));
            prop_assert_eq!(bits(x.low_i16(y)), ref_bits(p.low_i16(q)));
            prop_assert_eq!(bits(x.zip_lo_32(y)), ref_bits(p.zip_lo_32(q)));
            prop_assert_eq!(bits(x.zip_hi_32(y)), ref_bits(p.zip_hi_32(q)));
            prop_assert_eq!(bits(x.zip_lo_64(y)), ref_bits(p.zip_lo_64(q)));
            prop_assert_eq!(bits(x.zip_hi_64(y)), ref_bits(p.zip_hi_64(q)));
        }

        #[test]
        fn native_floats_are_the_scalar_reference(a in any::<[f32; 4]>(), b in any::<[f32; 4]>()) {
            let (x, y) = (V128::from_f32(a), V128::from_f32(b));
            let (p, q) = (Reference::from_f32(a), Reference::from_f32(b));
            prop_assert_eq!(bits(x.pmax(y)), ref_bits(p.pmax(q)));
            prop_assert_eq!(bits(x.abs()), ref_bits(p.abs()));
            for (got, expected) in [
                (x.add(y), p.add(q)), (x.sub(y), p.sub(q)), (x.mul(y), p.mul(q)), (x.div(y), p.div(q)),
            ] {
                for (g, e) in got.to_f32().iter().zip(expected.to_f32()) {
                    prop_assert!(g.to_bits() == e.to_bits() || (g.is_nan() && e.is_nan()));
                }
            }
        }
    }
}

//! One 128-bit vector, [`V128`]: Wasm SIMD on chain, SSE2 on x86-64, plain arrays elsewhere. What it
//! can do is the trait [`Vector`], which all three implement.

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
mod scalar;

/// Adding this to a float below 2^22 in size rounds it to a whole number, ties to even, and leaves
/// that number in the low bits (1.5 × 2^23).
pub const ROUND_MAGIC: f32 = 12_582_912.0;

/// 2^(127 − 15): between the biases of half and single precision.
const F16_BIAS: f32 = f32::from_bits((127 + 112) << 23);

/// 128 bits as lanes of 8, 16 or 32 bits. The method says which: there is one register, not a type for
/// each kind of lane.
///
/// Every implementation returns the same bits, on every machine: integer operations wrap (unless they
/// say that they saturate), `f32` operations are single IEEE 754 operations, nothing is fused or
/// reassociated. `scalar.rs` is the reference that the tests hold the others to.
///
/// Lane 0 is the first in memory; memory is little-endian.
///
/// ```
/// use weights::simd::{V128, Vector};
/// let v = V128::from_f32([1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(v.mul(V128::splat_f32(2.0)).to_f32(), [2.0, 4.0, 6.0, 8.0]);
/// assert_eq!(v.sum_f32(), 10.0);
/// ```
pub trait Vector: Copy {
    /// Returns a vector of zero bits.
    fn zero() -> Self;
    /// Returns `x` in four `f32` lanes.
    fn splat_f32(x: f32) -> Self;
    /// Returns `x` in four 32-bit lanes.
    fn splat_i32(x: i32) -> Self;
    /// Returns `x` in sixteen 8-bit lanes.
    fn splat_i8(x: i8) -> Self;
    /// Returns `x` in eight 16-bit lanes.
    fn splat_i16(x: i16) -> Self;
    /// Returns four `f32` lanes.
    fn from_f32(a: [f32; 4]) -> Self;
    /// Returns four 32-bit lanes.
    fn from_i32(a: [i32; 4]) -> Self;
    /// Returns the four `f32` lanes.
    fn to_f32(self) -> [f32; 4];

    /// Loads 16 bytes. No alignment is needed.
    ///
    /// # Safety
    /// 16 bytes at `p` must be readable.
    unsafe fn load<T>(p: *const T) -> Self;
    /// Stores 16 bytes. No alignment is needed.
    ///
    /// # Safety
    /// 16 bytes at `p` must be writable.
    unsafe fn store<T>(self, p: *mut T);
    /// Loads one 32-bit value into all four lanes. No alignment is needed.
    ///
    /// # Safety
    /// 4 bytes at `p` must be readable.
    unsafe fn load_splat_32<T>(p: *const T) -> Self;

    /// `f32` lanes `a + b`.
    fn add(self, o: Self) -> Self;
    /// `f32` lanes `a − b`.
    fn sub(self, o: Self) -> Self;
    /// `f32` lanes `a × b`.
    fn mul(self, o: Self) -> Self;
    /// `f32` lanes `a / b`.
    fn div(self, o: Self) -> Self;
    /// `f32` lanes `if a < b { b } else { a }` (as Wasm's `pmax`: `a` if either is NaN).
    fn pmax(self, o: Self) -> Self;
    /// `f32` lanes without their sign.
    fn abs(self) -> Self;

    /// 32-bit lanes: the sum of the products of the lane's two signed 16-bit halves.
    fn dot_i16(self, o: Self) -> Self;
    /// 32-bit lanes `a + b`.
    fn add_i32(self, o: Self) -> Self;
    /// 32-bit lanes `a − b`.
    fn sub_i32(self, o: Self) -> Self;
    /// 32-bit lanes shifted left by `N`.
    fn shl_i32<const N: u32>(self) -> Self;
    /// Signed 32-bit lanes shifted right by `N`.
    fn shr_i32<const N: u32>(self) -> Self;
    /// Signed 32-bit lanes to `f32`.
    fn i32_to_f32(self) -> Self;

    /// 16-bit lanes `a + b`.
    fn add_i16(self, o: Self) -> Self;
    /// 16-bit lanes: the low 16 bits of `a × b`.
    fn mul_i16(self, o: Self) -> Self;
    /// Unsigned 16-bit lanes shifted right by `N`.
    fn shr_u16<const N: u32>(self) -> Self;
    /// Signed 16-bit lanes `(a × b + 2^14) >> 15`, saturated.
    fn mul_q15(self, o: Self) -> Self;
    /// The low 16 bits of each 32-bit lane: four of `self`, then four of `o`.
    fn low_i16(self, o: Self) -> Self;
    /// The low 16 bits of each 32-bit lane: lanes 0, 2, 1, 3 of `self`, then of `o`. This is the order
    /// of columns in packed rows ([`crate::pack`]).
    fn low_i16_crossed(self, o: Self) -> Self;
    /// The low 16 bits of each 32-bit lane in both of its halves.
    fn double_low_i16(self) -> Self;

    /// Bits `a & b`.
    fn and(self, o: Self) -> Self;
    /// Bits `a | b`.
    fn or(self, o: Self) -> Self;
    /// Bits `a ^ b`.
    fn xor(self, o: Self) -> Self;
    /// Sixteen byte lanes: all ones where that bit of `bits` is clear, else zero.
    fn clear_bits(bits: u16) -> Self;
    /// Byte lanes: all ones where the byte is zero, else zero.
    fn is_zero_i8(self) -> Self;

    /// 32-bit lanes 0 of both, then lanes 1 of both.
    fn zip_lo_32(self, o: Self) -> Self;
    /// 32-bit lanes 2 of both, then lanes 3 of both.
    fn zip_hi_32(self, o: Self) -> Self;
    /// The first 64 bits of both.
    fn zip_lo_64(self, o: Self) -> Self;
    /// The last 64 bits of both.
    fn zip_hi_64(self, o: Self) -> Self;

    /// Returns the sum of the four `f32` lanes, as (0 + 1) + (2 + 3).
    #[inline(always)]
    fn sum_f32(self) -> f32 {
        let [a, b, c, d] = self.to_f32();
        (a + b) + (c + d)
    }

    /// Half-precision numbers in the low 16 bits of each lane, times `factor`, as `f32`. Infinities
    /// and NaN become finite: 65,536 and more (times `factor`), which no half-precision number is.
    #[inline(always)]
    fn low_f16_times(self, factor: f32) -> Self {
        self.shl_i32::<16>().high_f16_times(factor)
    }

    /// As [`Self::low_f16_times`], of the numbers in the high 16 bits.
    #[inline(always)]
    fn high_f16_times(self, factor: f32) -> Self {
        // Exponent and mantissa in f32's places; the multiplication mends the exponent's bias.
        let mask = Self::splat_i32(0x8fff_e000_u32 as i32);
        let placed = self.shr_i32::<3>().and(mask);
        placed.mul(Self::splat_f32(F16_BIAS * factor))
    }

    /// Returns the largest of the four `f32` lanes.
    #[inline(always)]
    fn max_f32(self) -> f32 {
        let [a, b, c, d] = self.to_f32();
        let (e, f) = (if a < b { b } else { a }, if c < d { d } else { c });
        if e < f { f } else { e }
    }

    /// Returns the four columns of four rows of four 32-bit lanes.
    #[inline(always)]
    fn transpose_32(r: [Self; 4]) -> [Self; 4] {
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
            prop_assert_eq!(bits(x.low_i16_crossed(y)), ref_bits(p.low_i16_crossed(q)));
            prop_assert_eq!(bits(x.zip_lo_32(y)), ref_bits(p.zip_lo_32(q)));
            prop_assert_eq!(bits(x.zip_hi_32(y)), ref_bits(p.zip_hi_32(q)));
            prop_assert_eq!(bits(x.zip_lo_64(y)), ref_bits(p.zip_lo_64(q)));
            prop_assert_eq!(bits(x.zip_hi_64(y)), ref_bits(p.zip_hi_64(q)));
            prop_assert_eq!(bits(x.and(y)), ref_bits(p.and(q)));
            prop_assert_eq!(bits(x.or(y)), ref_bits(p.or(q)));
            prop_assert_eq!(bits(x.xor(y)), ref_bits(p.xor(q)));
            prop_assert_eq!(bits(x.shr_i32::<3>()), ref_bits(p.shr_i32::<3>()));
            prop_assert_eq!(bits(x.shr_u16::<2>()), ref_bits(p.shr_u16::<2>()));
            prop_assert_eq!(bits(x.add_i16(y)), ref_bits(p.add_i16(q)));
            prop_assert_eq!(bits(x.mul_i16(y)), ref_bits(p.mul_i16(q)));
            prop_assert_eq!(bits(x.mul_q15(y)), ref_bits(p.mul_q15(q)));
            prop_assert_eq!(bits(x.double_low_i16()), ref_bits(p.double_low_i16()));
            prop_assert_eq!(bits(x.is_zero_i8()), ref_bits(p.is_zero_i8()));
            let word = a[0] as u16;
            prop_assert_eq!(bits(V128::clear_bits(word)), ref_bits(Reference::clear_bits(word)));
            prop_assert_eq!(bits(V128::splat_i8(a[0] as i8)), ref_bits(Reference::splat_i8(a[0] as i8)));
            prop_assert_eq!(bits(V128::splat_i16(a[0] as i16)), ref_bits(Reference::splat_i16(a[0] as i16)));
        }

        #[test]
        fn half_precision_is_read_as_it_is(h in any::<[u16; 4]>()) {
            let low = h.map(|h| i32::from(h) | 0x1234 << 16);
            let high = h.map(|h| i32::from(h) << 16 | 0x1234);
            let low = V128::from_i32(low).low_f16_times(0.25).to_f32();
            let high = V128::from_i32(high).high_f16_times(0.25).to_f32();
            prop_assert_eq!(low.map(f32::to_bits), high.map(f32::to_bits));
            for (h, got) in h.into_iter().zip(low) {
                let (expected, got) = (half::f16::from_bits(h).to_f32(), got * 4.0);
                if expected.is_finite() {
                    prop_assert_eq!(got.to_bits(), expected.to_bits());
                } else {
                    prop_assert!(got.abs() >= 65_536.0 && got.is_finite());
                }
            }
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

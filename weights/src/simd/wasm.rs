//! The vector as Wasm SIMD instructions.

use super::Vector;
use core::arch::wasm32::*;

/// Four 32-bit lanes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct V128(v128);

impl Vector for V128 {
    #[inline(always)]
    fn zero() -> Self {
        Self(i32x4_splat(0))
    }
    #[inline(always)]
    fn splat_f32(x: f32) -> Self {
        Self(f32x4_splat(x))
    }
    #[inline(always)]
    fn splat_i32(x: i32) -> Self {
        Self(i32x4_splat(x))
    }
    #[inline(always)]
    fn from_f32(a: [f32; 4]) -> Self {
        Self(f32x4(a[0], a[1], a[2], a[3]))
    }
    #[inline(always)]
    fn from_i32(a: [i32; 4]) -> Self {
        Self(i32x4(a[0], a[1], a[2], a[3]))
    }
    #[inline(always)]
    fn to_f32(self) -> [f32; 4] {
        [
            f32x4_extract_lane::<0>(self.0),
            f32x4_extract_lane::<1>(self.0),
            f32x4_extract_lane::<2>(self.0),
            f32x4_extract_lane::<3>(self.0),
        ]
    }
    #[inline(always)]
    unsafe fn load<T>(p: *const T) -> Self {
        // SAFETY: the caller keeps the contract of the trait.
        Self(unsafe { v128_load(p.cast()) })
    }
    #[inline(always)]
    unsafe fn store<T>(self, p: *mut T) {
        // SAFETY: the caller keeps the contract of the trait.
        unsafe { v128_store(p.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn load_splat_32<T>(p: *const T) -> Self {
        // SAFETY: the caller keeps the contract of the trait.
        Self(unsafe { v128_load32_splat(p.cast()) })
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Self(f32x4_add(self.0, o.0))
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Self(f32x4_sub(self.0, o.0))
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Self(f32x4_mul(self.0, o.0))
    }
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        Self(f32x4_div(self.0, o.0))
    }
    #[inline(always)]
    fn pmax(self, o: Self) -> Self {
        Self(f32x4_pmax(self.0, o.0))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(v128_and(self.0, i32x4_splat(0x7fff_ffff)))
    }
    #[inline(always)]
    fn dot_i16(self, o: Self) -> Self {
        Self(i32x4_dot_i16x8(self.0, o.0))
    }
    #[inline(always)]
    fn add_i32(self, o: Self) -> Self {
        Self(i32x4_add(self.0, o.0))
    }
    #[inline(always)]
    fn sub_i32(self, o: Self) -> Self {
        Self(i32x4_sub(self.0, o.0))
    }
    #[inline(always)]
    fn shl_i32<const N: u32>(self) -> Self {
        Self(i32x4_shl(self.0, N))
    }
    #[inline(always)]
    fn i32_to_f32(self) -> Self {
        Self(f32x4_convert_i32x4(self.0))
    }
    #[inline(always)]
    fn low_i16_crossed(self, o: Self) -> Self {
        Self(i16x8_shuffle::<0, 4, 2, 6, 8, 12, 10, 14>(self.0, o.0))
    }
    #[inline(always)]
    fn low_i16(self, o: Self) -> Self {
        Self(i16x8_shuffle::<0, 2, 4, 6, 8, 10, 12, 14>(self.0, o.0))
    }
    #[inline(always)]
    fn zip_lo_32(self, o: Self) -> Self {
        Self(i32x4_shuffle::<0, 4, 1, 5>(self.0, o.0))
    }
    #[inline(always)]
    fn zip_hi_32(self, o: Self) -> Self {
        Self(i32x4_shuffle::<2, 6, 3, 7>(self.0, o.0))
    }
    #[inline(always)]
    fn zip_lo_64(self, o: Self) -> Self {
        Self(i64x2_shuffle::<0, 2>(self.0, o.0))
    }
    #[inline(always)]
    fn zip_hi_64(self, o: Self) -> Self {
        Self(i64x2_shuffle::<1, 3>(self.0, o.0))
    }
    #[inline(always)]
    fn splat_i8(x: i8) -> Self {
        Self(i8x16_splat(x))
    }
    #[inline(always)]
    fn splat_i16(x: i16) -> Self {
        Self(i16x8_splat(x))
    }
    #[inline(always)]
    fn and(self, o: Self) -> Self {
        Self(v128_and(self.0, o.0))
    }
    #[inline(always)]
    fn or(self, o: Self) -> Self {
        Self(v128_or(self.0, o.0))
    }
    #[inline(always)]
    fn xor(self, o: Self) -> Self {
        Self(v128_xor(self.0, o.0))
    }
    #[inline(always)]
    fn shr_i32<const N: u32>(self) -> Self {
        Self(i32x4_shr(self.0, N))
    }
    #[inline(always)]
    fn add_i16(self, o: Self) -> Self {
        Self(i16x8_add(self.0, o.0))
    }
    #[inline(always)]
    fn mul_i16(self, o: Self) -> Self {
        Self(i16x8_mul(self.0, o.0))
    }
    #[inline(always)]
    fn shr_u16<const N: u32>(self) -> Self {
        Self(u16x8_shr(self.0, N))
    }
    #[inline(always)]
    fn mul_q15(self, o: Self) -> Self {
        Self(i16x8_q15mulr_sat(self.0, o.0))
    }
    #[inline(always)]
    fn double_low_i16(self) -> Self {
        Self(i16x8_shuffle::<0, 0, 2, 2, 4, 4, 6, 6>(self.0, self.0))
    }
    #[inline(always)]
    fn clear_bits(bits: u16) -> Self {
        let two = i16x8_splat(bits as i16);
        let spread = i8x16_swizzle(two, i8x16(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
        let each = u8x16(1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128);
        Self(i8x16_eq(v128_and(spread, each), i8x16_splat(0)))
    }
    #[inline(always)]
    fn is_zero_i8(self) -> Self {
        Self(i8x16_eq(self.0, i8x16_splat(0)))
    }
}

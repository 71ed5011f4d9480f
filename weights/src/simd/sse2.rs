//! The vector as SSE2 instructions, which every x86-64 machine has.

use super::Vector;
use core::arch::x86_64::*;

/// Calls intrinsics that touch no memory.
macro_rules! sse2 {
    ($call:expr) => {{
        // SAFETY: SSE2 is part of the x86-64 baseline, and there are no pointers.
        unsafe { $call }
    }};
}

/// Four 32-bit lanes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct V128(__m128i);

#[inline(always)]
fn f(v: V128) -> __m128 {
    sse2!(_mm_castsi128_ps(v.0))
}
#[inline(always)]
fn v(x: __m128) -> V128 {
    V128(sse2!(_mm_castps_si128(x)))
}

impl Vector for V128 {
    #[inline(always)]
    fn zero() -> Self {
        Self(sse2!(_mm_setzero_si128()))
    }
    #[inline(always)]
    fn splat_f32(x: f32) -> Self {
        v(sse2!(_mm_set1_ps(x)))
    }
    #[inline(always)]
    fn splat_i32(x: i32) -> Self {
        Self(sse2!(_mm_set1_epi32(x)))
    }
    #[inline(always)]
    fn from_f32(a: [f32; 4]) -> Self {
        v(sse2!(_mm_set_ps(a[3], a[2], a[1], a[0])))
    }
    #[inline(always)]
    fn from_i32(a: [i32; 4]) -> Self {
        Self(sse2!(_mm_set_epi32(a[3], a[2], a[1], a[0])))
    }
    #[inline(always)]
    fn to_f32(self) -> [f32; 4] {
        let mut out = [0.0; 4];
        // SAFETY: `out` is 16 bytes.
        unsafe { _mm_storeu_ps(out.as_mut_ptr(), f(self)) };
        out
    }
    #[inline(always)]
    unsafe fn load<T>(p: *const T) -> Self {
        // SAFETY: the caller keeps the contract of the trait.
        Self(unsafe { _mm_loadu_si128(p.cast()) })
    }
    #[inline(always)]
    unsafe fn store<T>(self, p: *mut T) {
        // SAFETY: the caller keeps the contract of the trait.
        unsafe { _mm_storeu_si128(p.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn load_splat_32<T>(p: *const T) -> Self {
        // SAFETY: the caller keeps the contract of the trait.
        Self(unsafe { _mm_set1_epi32(p.cast::<i32>().read_unaligned()) })
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        v(sse2!(_mm_add_ps(f(self), f(o))))
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        v(sse2!(_mm_sub_ps(f(self), f(o))))
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        v(sse2!(_mm_mul_ps(f(self), f(o))))
    }
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        v(sse2!(_mm_div_ps(f(self), f(o))))
    }
    #[inline(always)]
    fn pmax(self, o: Self) -> Self {
        // MAXPS returns its second operand unless the first is greater: so the operands are swapped.
        v(sse2!(_mm_max_ps(f(o), f(self))))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(sse2!(_mm_and_si128(self.0, _mm_set1_epi32(0x7fff_ffff))))
    }
    #[inline(always)]
    fn dot_i16(self, o: Self) -> Self {
        Self(sse2!(_mm_madd_epi16(self.0, o.0)))
    }
    #[inline(always)]
    fn add_i32(self, o: Self) -> Self {
        Self(sse2!(_mm_add_epi32(self.0, o.0)))
    }
    #[inline(always)]
    fn sub_i32(self, o: Self) -> Self {
        Self(sse2!(_mm_sub_epi32(self.0, o.0)))
    }
    #[inline(always)]
    fn shl_i32<const N: u32>(self) -> Self {
        Self(sse2!(_mm_sll_epi32(self.0, _mm_cvtsi32_si128(N as i32))))
    }
    #[inline(always)]
    fn i32_to_f32(self) -> Self {
        v(sse2!(_mm_cvtepi32_ps(self.0)))
    }
    #[inline(always)]
    fn low_i16_crossed(self, o: Self) -> Self {
        let v = self.low_i16(o).0;
        Self(sse2!(_mm_shufflehi_epi16(
            _mm_shufflelo_epi16(v, 0b11_01_10_00),
            0b11_01_10_00
        )))
    }
    #[inline(always)]
    fn low_i16(self, o: Self) -> Self {
        sse2!({
            // Sign-extend the low halves so that the saturating pack keeps them.
            let a = _mm_srai_epi32(_mm_slli_epi32(self.0, 16), 16);
            let b = _mm_srai_epi32(_mm_slli_epi32(o.0, 16), 16);
            Self(_mm_packs_epi32(a, b))
        })
    }
    #[inline(always)]
    fn zip_lo_32(self, o: Self) -> Self {
        Self(sse2!(_mm_unpacklo_epi32(self.0, o.0)))
    }
    #[inline(always)]
    fn zip_hi_32(self, o: Self) -> Self {
        Self(sse2!(_mm_unpackhi_epi32(self.0, o.0)))
    }
    #[inline(always)]
    fn zip_lo_64(self, o: Self) -> Self {
        Self(sse2!(_mm_unpacklo_epi64(self.0, o.0)))
    }
    #[inline(always)]
    fn zip_hi_64(self, o: Self) -> Self {
        Self(sse2!(_mm_unpackhi_epi64(self.0, o.0)))
    }
    #[inline(always)]
    fn splat_i8(x: i8) -> Self {
        Self(sse2!(_mm_set1_epi8(x)))
    }
    #[inline(always)]
    fn splat_i16(x: i16) -> Self {
        Self(sse2!(_mm_set1_epi16(x)))
    }
    #[inline(always)]
    fn and(self, o: Self) -> Self {
        Self(sse2!(_mm_and_si128(self.0, o.0)))
    }
    #[inline(always)]
    fn or(self, o: Self) -> Self {
        Self(sse2!(_mm_or_si128(self.0, o.0)))
    }
    #[inline(always)]
    fn xor(self, o: Self) -> Self {
        Self(sse2!(_mm_xor_si128(self.0, o.0)))
    }
    #[inline(always)]
    fn shr_i32<const N: u32>(self) -> Self {
        Self(sse2!(_mm_sra_epi32(self.0, _mm_cvtsi32_si128(N as i32))))
    }
    #[inline(always)]
    fn add_i16(self, o: Self) -> Self {
        Self(sse2!(_mm_add_epi16(self.0, o.0)))
    }
    #[inline(always)]
    fn mul_i16(self, o: Self) -> Self {
        Self(sse2!(_mm_mullo_epi16(self.0, o.0)))
    }
    #[inline(always)]
    fn shr_u16<const N: u32>(self) -> Self {
        Self(sse2!(_mm_srl_epi16(self.0, _mm_cvtsi32_si128(N as i32))))
    }
    #[inline(always)]
    fn mul_q15(self, o: Self) -> Self {
        sse2!({
            let (lo, hi) = (_mm_mullo_epi16(self.0, o.0), _mm_mulhi_epi16(self.0, o.0));
            let half = _mm_set1_epi32(1 << 14);
            let a = _mm_srai_epi32(_mm_add_epi32(_mm_unpacklo_epi16(lo, hi), half), 15);
            let b = _mm_srai_epi32(_mm_add_epi32(_mm_unpackhi_epi16(lo, hi), half), 15);
            Self(_mm_packs_epi32(a, b))
        })
    }
    #[inline(always)]
    fn double_low_i16(self) -> Self {
        sse2!({
            let low = _mm_and_si128(self.0, _mm_set1_epi32(0xffff));
            Self(_mm_or_si128(low, _mm_slli_epi32(self.0, 16)))
        })
    }
    #[inline(always)]
    fn clear_bits(bits: u16) -> Self {
        sse2!({
            let (lo, hi) = ((bits & 255) as i8, (bits >> 8) as i8);
            let spread = _mm_unpacklo_epi64(_mm_set1_epi8(lo), _mm_set1_epi8(hi));
            let each = _mm_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            Self(_mm_cmpeq_epi8(
                _mm_and_si128(spread, each),
                _mm_setzero_si128(),
            ))
        })
    }
    #[inline(always)]
    fn is_zero_i8(self) -> Self {
        Self(sse2!(_mm_cmpeq_epi8(self.0, _mm_setzero_si128())))
    }
}

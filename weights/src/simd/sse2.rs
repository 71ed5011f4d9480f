//! The vector as SSE2 instructions, which every x86-64 machine has.

use core::arch::x86_64::*;

/// Four 32-bit lanes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct V128(__m128i);

#[inline(always)]
fn f(v: V128) -> __m128 {
    unsafe { _mm_castsi128_ps(v.0) }
}
#[inline(always)]
fn v(x: __m128) -> V128 {
    V128(unsafe { _mm_castps_si128(x) })
}

// SSE2 is part of the x86-64 baseline, so the intrinsics below are always there.
impl V128 {
    #[inline(always)]
    pub fn zero() -> Self {
        Self(unsafe { _mm_setzero_si128() })
    }
    #[inline(always)]
    pub fn splat_f32(x: f32) -> Self {
        v(unsafe { _mm_set1_ps(x) })
    }
    #[inline(always)]
    pub fn splat_i32(x: i32) -> Self {
        Self(unsafe { _mm_set1_epi32(x) })
    }
    #[inline(always)]
    pub fn from_f32(a: [f32; 4]) -> Self {
        v(unsafe { _mm_set_ps(a[3], a[2], a[1], a[0]) })
    }
    #[inline(always)]
    pub fn from_i32(a: [i32; 4]) -> Self {
        Self(unsafe { _mm_set_epi32(a[3], a[2], a[1], a[0]) })
    }
    #[inline(always)]
    pub fn to_f32(self) -> [f32; 4] {
        let mut out = [0.0; 4];
        unsafe { _mm_storeu_ps(out.as_mut_ptr(), f(self)) };
        out
    }
    /// # Safety
    /// 16 bytes at `p` must be readable. No alignment is needed.
    #[inline(always)]
    pub unsafe fn load<T>(p: *const T) -> Self {
        Self(unsafe { _mm_loadu_si128(p.cast()) })
    }
    /// # Safety
    /// 16 bytes at `p` must be writable.
    #[inline(always)]
    pub unsafe fn store<T>(self, p: *mut T) {
        unsafe { _mm_storeu_si128(p.cast(), self.0) }
    }
    /// One 32-bit value in all lanes.
    /// # Safety
    /// 4 bytes at `p` must be readable.
    #[inline(always)]
    pub unsafe fn load_splat_32<T>(p: *const T) -> Self {
        Self(unsafe { _mm_set1_epi32(p.cast::<i32>().read_unaligned()) })
    }
    #[inline(always)]
    pub fn add(self, o: Self) -> Self {
        v(unsafe { _mm_add_ps(f(self), f(o)) })
    }
    #[inline(always)]
    pub fn sub(self, o: Self) -> Self {
        v(unsafe { _mm_sub_ps(f(self), f(o)) })
    }
    #[inline(always)]
    pub fn mul(self, o: Self) -> Self {
        v(unsafe { _mm_mul_ps(f(self), f(o)) })
    }
    #[inline(always)]
    pub fn div(self, o: Self) -> Self {
        v(unsafe { _mm_div_ps(f(self), f(o)) })
    }
    /// MAXPS gives its second operand unless the first is greater: so the operands are swapped.
    #[inline(always)]
    pub fn pmax(self, o: Self) -> Self {
        v(unsafe { _mm_max_ps(f(o), f(self)) })
    }
    #[inline(always)]
    pub fn abs(self) -> Self {
        Self(unsafe { _mm_and_si128(self.0, _mm_set1_epi32(0x7fff_ffff)) })
    }
    #[inline(always)]
    pub fn dot_i16(self, o: Self) -> Self {
        Self(unsafe { _mm_madd_epi16(self.0, o.0) })
    }
    #[inline(always)]
    pub fn add_i32(self, o: Self) -> Self {
        Self(unsafe { _mm_add_epi32(self.0, o.0) })
    }
    #[inline(always)]
    pub fn sub_i32(self, o: Self) -> Self {
        Self(unsafe { _mm_sub_epi32(self.0, o.0) })
    }
    #[inline(always)]
    pub fn shl_i32<const N: u32>(self) -> Self {
        Self(unsafe { _mm_sll_epi32(self.0, _mm_cvtsi32_si128(N as i32)) })
    }
    #[inline(always)]
    pub fn i32_to_f32(self) -> Self {
        v(unsafe { _mm_cvtepi32_ps(self.0) })
    }
    /// The low 16 bits of each lane: four of `self`, then four of `o`.
    #[inline(always)]
    pub fn low_i16(self, o: Self) -> Self {
        unsafe {
            // Sign-extend the low halves so that the saturating pack keeps them.
            let a = _mm_srai_epi32(_mm_slli_epi32(self.0, 16), 16);
            let b = _mm_srai_epi32(_mm_slli_epi32(o.0, 16), 16);
            Self(_mm_packs_epi32(a, b))
        }
    }
    #[inline(always)]
    pub fn zip_lo_32(self, o: Self) -> Self {
        Self(unsafe { _mm_unpacklo_epi32(self.0, o.0) })
    }
    #[inline(always)]
    pub fn zip_hi_32(self, o: Self) -> Self {
        Self(unsafe { _mm_unpackhi_epi32(self.0, o.0) })
    }
    #[inline(always)]
    pub fn zip_lo_64(self, o: Self) -> Self {
        Self(unsafe { _mm_unpacklo_epi64(self.0, o.0) })
    }
    #[inline(always)]
    pub fn zip_hi_64(self, o: Self) -> Self {
        Self(unsafe { _mm_unpackhi_epi64(self.0, o.0) })
    }
}

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
    /// The low 16 bits of each lane: lanes 0 and 2, 1 and 3 of `self`, then of `o`.
    #[inline(always)]
    pub fn low_i16_crossed(self, o: Self) -> Self {
        let v = self.low_i16(o).0;
        Self(unsafe { _mm_shufflehi_epi16(_mm_shufflelo_epi16(v, 0b11_01_10_00), 0b11_01_10_00) })
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
    #[inline(always)]
    pub fn splat_i8(x: i8) -> Self {
        Self(unsafe { _mm_set1_epi8(x) })
    }
    #[inline(always)]
    pub fn splat_i16(x: i16) -> Self {
        Self(unsafe { _mm_set1_epi16(x) })
    }
    #[inline(always)]
    pub fn and(self, o: Self) -> Self {
        Self(unsafe { _mm_and_si128(self.0, o.0) })
    }
    #[inline(always)]
    pub fn or(self, o: Self) -> Self {
        Self(unsafe { _mm_or_si128(self.0, o.0) })
    }
    #[inline(always)]
    pub fn xor(self, o: Self) -> Self {
        Self(unsafe { _mm_xor_si128(self.0, o.0) })
    }
    #[inline(always)]
    pub fn shr_i32<const N: u32>(self) -> Self {
        Self(unsafe { _mm_sra_epi32(self.0, _mm_cvtsi32_si128(N as i32)) })
    }
    #[inline(always)]
    pub fn add_i16(self, o: Self) -> Self {
        Self(unsafe { _mm_add_epi16(self.0, o.0) })
    }
    #[inline(always)]
    pub fn mul_i16(self, o: Self) -> Self {
        Self(unsafe { _mm_mullo_epi16(self.0, o.0) })
    }
    #[inline(always)]
    pub fn shr_u16<const N: u32>(self) -> Self {
        Self(unsafe { _mm_srl_epi16(self.0, _mm_cvtsi32_si128(N as i32)) })
    }
    /// 16-bit lanes `(a × b + 2^14) >> 15`, saturated.
    #[inline(always)]
    pub fn mul_q15(self, o: Self) -> Self {
        unsafe {
            let (lo, hi) = (_mm_mullo_epi16(self.0, o.0), _mm_mulhi_epi16(self.0, o.0));
            let half = _mm_set1_epi32(1 << 14);
            let a = _mm_srai_epi32(_mm_add_epi32(_mm_unpacklo_epi16(lo, hi), half), 15);
            let b = _mm_srai_epi32(_mm_add_epi32(_mm_unpackhi_epi16(lo, hi), half), 15);
            Self(_mm_packs_epi32(a, b))
        }
    }
    /// The low 16 bits of each 32-bit lane in both of its halves.
    #[inline(always)]
    pub fn double_low_i16(self) -> Self {
        unsafe {
            let low = _mm_and_si128(self.0, _mm_set1_epi32(0xffff));
            Self(_mm_or_si128(low, _mm_slli_epi32(self.0, 16)))
        }
    }
    /// Sixteen byte lanes: all ones where that bit of `bits` is clear, else zero.
    #[inline(always)]
    pub fn clear_bits(bits: u16) -> Self {
        unsafe {
            let (lo, hi) = ((bits & 255) as i8, (bits >> 8) as i8);
            let spread = _mm_unpacklo_epi64(_mm_set1_epi8(lo), _mm_set1_epi8(hi));
            let each = _mm_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            Self(_mm_cmpeq_epi8(
                _mm_and_si128(spread, each),
                _mm_setzero_si128(),
            ))
        }
    }
    /// Byte lanes: all ones where the byte is zero, else zero.
    #[inline(always)]
    pub fn is_zero_i8(self) -> Self {
        Self(unsafe { _mm_cmpeq_epi8(self.0, _mm_setzero_si128()) })
    }
}

//! The vector as an array: the reference the other two are tested against.

use super::Vector;

/// Four 32-bit lanes.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
#[allow(unreachable_pub, reason = "the public vector where there is no SIMD")]
pub struct V128([u32; 4]);

impl V128 {
    #[inline(always)]
    fn zip_with(self, o: Self, g: impl Fn(f32, f32) -> f32) -> Self {
        let (a, b) = (self.to_f32(), o.to_f32());
        Self::from_f32([g(a[0], b[0]), g(a[1], b[1]), g(a[2], b[2]), g(a[3], b[3])])
    }
    #[inline(always)]
    fn zip_bits(self, o: Self, g: impl Fn(u32, u32) -> u32) -> Self {
        let (a, b) = (self.0, o.0);
        Self([g(a[0], b[0]), g(a[1], b[1]), g(a[2], b[2]), g(a[3], b[3])])
    }
    fn i8s(self) -> [i8; 16] {
        let mut out = [0; 16];
        for (i, o) in out.iter_mut().enumerate() {
            *o = (self.0[i / 4] >> (8 * (i % 4))) as i8;
        }
        out
    }
    fn from_i8s(a: [i8; 16]) -> Self {
        let mut out = [0; 4];
        for (i, x) in a.into_iter().enumerate() {
            out[i / 4] |= u32::from(x as u8) << (8 * (i % 4));
        }
        Self(out)
    }
    fn i16s(self) -> [i16; 8] {
        let mut out = [0; 8];
        for (i, o) in out.iter_mut().enumerate() {
            *o = (self.0[i / 2] >> (16 * (i % 2))) as i16;
        }
        out
    }
    fn from_i16s(a: [i16; 8]) -> Self {
        let mut out = [0; 4];
        for (i, x) in a.into_iter().enumerate() {
            out[i / 2] |= u32::from(x as u16) << (16 * (i % 2));
        }
        Self(out)
    }
    fn zip_i16(self, o: Self, g: impl Fn(i16, i16) -> i16) -> Self {
        let (a, b) = (self.i16s(), o.i16s());
        Self::from_i16s(std::array::from_fn(|i| g(a[i], b[i])))
    }
}

impl Vector for V128 {
    fn zero() -> Self {
        Self([0; 4])
    }
    fn splat_f32(x: f32) -> Self {
        Self([x.to_bits(); 4])
    }
    fn splat_i32(x: i32) -> Self {
        Self([x as u32; 4])
    }
    fn from_f32(a: [f32; 4]) -> Self {
        Self(a.map(f32::to_bits))
    }
    fn from_i32(a: [i32; 4]) -> Self {
        Self(a.map(|x| x as u32))
    }
    fn to_f32(self) -> [f32; 4] {
        self.0.map(f32::from_bits)
    }
    unsafe fn load<T>(p: *const T) -> Self {
        // SAFETY: the caller keeps the contract of the trait.
        Self(unsafe { p.cast::<[u32; 4]>().read_unaligned() })
    }
    unsafe fn store<T>(self, p: *mut T) {
        // SAFETY: the caller keeps the contract of the trait.
        unsafe { p.cast::<[u32; 4]>().write_unaligned(self.0) }
    }
    unsafe fn load_splat_32<T>(p: *const T) -> Self {
        // SAFETY: the caller keeps the contract of the trait.
        Self([unsafe { p.cast::<u32>().read_unaligned() }; 4])
    }
    fn add(self, o: Self) -> Self {
        self.zip_with(o, |a, b| a + b)
    }
    fn sub(self, o: Self) -> Self {
        self.zip_with(o, |a, b| a - b)
    }
    fn mul(self, o: Self) -> Self {
        self.zip_with(o, |a, b| a * b)
    }
    fn div(self, o: Self) -> Self {
        self.zip_with(o, |a, b| a / b)
    }
    fn pmax(self, o: Self) -> Self {
        self.zip_with(o, |a, b| if a < b { b } else { a })
    }
    fn abs(self) -> Self {
        Self(self.0.map(|x| x & 0x7fff_ffff))
    }
    fn dot_i16(self, o: Self) -> Self {
        let half = |x: u32, hi: bool| i32::from(if hi { (x >> 16) as i16 } else { x as i16 });
        self.zip_bits(o, |a, b| {
            let lo = half(a, false).wrapping_mul(half(b, false));
            let hi = half(a, true).wrapping_mul(half(b, true));
            lo.wrapping_add(hi) as u32
        })
    }
    fn add_i32(self, o: Self) -> Self {
        self.zip_bits(o, u32::wrapping_add)
    }
    fn sub_i32(self, o: Self) -> Self {
        self.zip_bits(o, u32::wrapping_sub)
    }
    fn shl_i32<const N: u32>(self) -> Self {
        Self(self.0.map(|x| x << N))
    }
    fn i32_to_f32(self) -> Self {
        Self(self.0.map(|x| (x as i32 as f32).to_bits()))
    }
    fn low_i16_crossed(self, o: Self) -> Self {
        let [a, b, c, d, e, f, g, h] = self.low_i16(o).i16s();
        Self::from_i16s([a, c, b, d, e, g, f, h])
    }
    fn low_i16(self, o: Self) -> Self {
        let pair = |a: u32, b: u32| (a & 0xffff) | (b << 16);
        let (a, b) = (self.0, o.0);
        Self([
            pair(a[0], a[1]),
            pair(a[2], a[3]),
            pair(b[0], b[1]),
            pair(b[2], b[3]),
        ])
    }
    fn zip_lo_32(self, o: Self) -> Self {
        Self([self.0[0], o.0[0], self.0[1], o.0[1]])
    }
    fn zip_hi_32(self, o: Self) -> Self {
        Self([self.0[2], o.0[2], self.0[3], o.0[3]])
    }
    fn zip_lo_64(self, o: Self) -> Self {
        Self([self.0[0], self.0[1], o.0[0], o.0[1]])
    }
    fn zip_hi_64(self, o: Self) -> Self {
        Self([self.0[2], self.0[3], o.0[2], o.0[3]])
    }
    fn splat_i8(x: i8) -> Self {
        Self::from_i8s([x; 16])
    }
    fn splat_i16(x: i16) -> Self {
        Self::from_i16s([x; 8])
    }
    fn and(self, o: Self) -> Self {
        self.zip_bits(o, |a, b| a & b)
    }
    fn or(self, o: Self) -> Self {
        self.zip_bits(o, |a, b| a | b)
    }
    fn xor(self, o: Self) -> Self {
        self.zip_bits(o, |a, b| a ^ b)
    }
    fn shr_i32<const N: u32>(self) -> Self {
        Self(self.0.map(|x| ((x as i32) >> N) as u32))
    }
    fn add_i16(self, o: Self) -> Self {
        self.zip_i16(o, i16::wrapping_add)
    }
    fn mul_i16(self, o: Self) -> Self {
        self.zip_i16(o, i16::wrapping_mul)
    }
    fn shr_u16<const N: u32>(self) -> Self {
        Self::from_i16s(self.i16s().map(|x| ((x as u16) >> N) as i16))
    }
    fn mul_q15(self, o: Self) -> Self {
        self.zip_i16(o, |a, b| {
            let product = (i32::from(a) * i32::from(b) + (1 << 14)) >> 15;
            product.clamp(-32_768, 32_767) as i16
        })
    }
    fn double_low_i16(self) -> Self {
        Self(self.0.map(|x| (x & 0xffff) | (x << 16)))
    }
    fn clear_bits(bits: u16) -> Self {
        Self::from_i8s(std::array::from_fn(|i| -i8::from(bits >> i & 1 == 0)))
    }
    fn is_zero_i8(self) -> Self {
        Self::from_i8s(self.i8s().map(|x| -i8::from(x == 0)))
    }
}

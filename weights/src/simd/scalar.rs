//! The vector as an array: the reference the other two are tested against.

/// Four 32-bit lanes.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
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
    pub fn zero() -> Self {
        Self([0; 4])
    }
    pub fn splat_f32(x: f32) -> Self {
        Self([x.to_bits(); 4])
    }
    pub fn splat_i32(x: i32) -> Self {
        Self([x as u32; 4])
    }
    pub fn from_f32(a: [f32; 4]) -> Self {
        Self(a.map(f32::to_bits))
    }
    pub fn from_i32(a: [i32; 4]) -> Self {
        Self(a.map(|x| x as u32))
    }
    pub fn to_f32(self) -> [f32; 4] {
        self.0.map(f32::from_bits)
    }
    /// # Safety
    /// 16 bytes at `p` must be readable. No alignment is needed.
    pub unsafe fn load<T>(p: *const T) -> Self {
        Self(unsafe { p.cast::<[u32; 4]>().read_unaligned() })
    }
    /// # Safety
    /// 16 bytes at `p` must be writable.
    pub unsafe fn store<T>(self, p: *mut T) {
        unsafe { p.cast::<[u32; 4]>().write_unaligned(self.0) }
    }
    /// One 32-bit value in all lanes.
    /// # Safety
    /// 4 bytes at `p` must be readable.
    pub unsafe fn load_splat_32<T>(p: *const T) -> Self {
        Self([unsafe { p.cast::<u32>().read_unaligned() }; 4])
    }
    pub fn add(self, o: Self) -> Self {
        self.zip_with(o, |a, b| a + b)
    }
    pub fn sub(self, o: Self) -> Self {
        self.zip_with(o, |a, b| a - b)
    }
    pub fn mul(self, o: Self) -> Self {
        self.zip_with(o, |a, b| a * b)
    }
    pub fn div(self, o: Self) -> Self {
        self.zip_with(o, |a, b| a / b)
    }
    pub fn pmax(self, o: Self) -> Self {
        self.zip_with(o, |a, b| if a < b { b } else { a })
    }
    pub fn abs(self) -> Self {
        Self(self.0.map(|x| x & 0x7fff_ffff))
    }
    pub fn dot_i16(self, o: Self) -> Self {
        let half = |x: u32, hi: bool| i32::from(if hi { (x >> 16) as i16 } else { x as i16 });
        self.zip_bits(o, |a, b| {
            let lo = half(a, false).wrapping_mul(half(b, false));
            let hi = half(a, true).wrapping_mul(half(b, true));
            lo.wrapping_add(hi) as u32
        })
    }
    pub fn add_i32(self, o: Self) -> Self {
        self.zip_bits(o, u32::wrapping_add)
    }
    pub fn sub_i32(self, o: Self) -> Self {
        self.zip_bits(o, u32::wrapping_sub)
    }
    pub fn shl_i32<const N: u32>(self) -> Self {
        Self(self.0.map(|x| x << N))
    }
    pub fn i32_to_f32(self) -> Self {
        Self(self.0.map(|x| (x as i32 as f32).to_bits()))
    }
    /// The low 16 bits of each lane: four of `self`, then four of `o`.
    pub fn low_i16(self, o: Self) -> Self {
        let pair = |a: u32, b: u32| (a & 0xffff) | (b << 16);
        let (a, b) = (self.0, o.0);
        Self([
            pair(a[0], a[1]),
            pair(a[2], a[3]),
            pair(b[0], b[1]),
            pair(b[2], b[3]),
        ])
    }
    pub fn zip_lo_32(self, o: Self) -> Self {
        Self([self.0[0], o.0[0], self.0[1], o.0[1]])
    }
    pub fn zip_hi_32(self, o: Self) -> Self {
        Self([self.0[2], o.0[2], self.0[3], o.0[3]])
    }
    pub fn zip_lo_64(self, o: Self) -> Self {
        Self([self.0[0], self.0[1], o.0[0], o.0[1]])
    }
    pub fn zip_hi_64(self, o: Self) -> Self {
        Self([self.0[2], self.0[3], o.0[2], o.0[3]])
    }
}

//! The integer packers of block formats: their bytes as signed numbers with a step and a centre, read
//! by vectors. A format without one is packed through `f32`.
//!
//! The byte of a 4-, 5- or 6-bit number is that number minus half its range, moved to the top of
//! the byte. Layouts: ggml's `block_q*` in ggml-common.h (see [`crate::gguf::dequant`] for the same in plain
//! arithmetic).

use crate::gguf::GgmlType;
use crate::simd::{V128, Vector};

/// Reach and centre of 32 columns of four rows, a row a lane.
pub(super) struct Header {
    /// 128 times the step. One a format with [`Format::REACHES`] = 1; else of the first and the last
    /// 16 columns.
    pub(super) reach: [V128; 2],
    pub(super) centre: V128,
    /// With [`Format::SCALED`] the largest half-precision number the others are multiples of.
    pub(super) raw: V128,
}

/// A block format: `weight = byte × reach / 128 + centre`.
pub(super) trait Format {
    /// The row of the table that this packs.
    const DTYPE: GgmlType;
    /// Columns of a block.
    const COLS: usize = Self::DTYPE.block_len();
    /// Bytes of a block.
    const BYTES: usize = Self::DTYPE.block_bytes();
    /// Reaches in 32 columns: 1 or 2.
    const REACHES: usize = 1;
    /// `true` if centres can differ from zero.
    const CENTRED: bool = false;
    /// `true` if reach and centre are products of half-precision numbers and small integers, which may
    /// be zero.
    const SCALED: bool = false;
    /// Vectors kept for 32 columns of four rows.
    const HEADERS: usize = Self::REACHES + Self::CENTRED as usize;
    /// `true` if the 32 bytes are two halves of 16: the low and the high nibble of each, at the top.
    const NIBBLES: bool = false;

    /// The header of 32 columns, number `sub` in these blocks. Half-precision numbers that are not
    /// finite count as 65,536 and more.
    ///
    /// # Safety
    /// Each block must be [`Self::BYTES`] long.
    unsafe fn header(blocks: [*const u8; 4], sub: usize) -> Header;

    /// The bytes of columns 0 to 15 and 16 to 31 of 32 columns, number `sub` in the block; with
    /// [`Self::NIBBLES`] twice the 16 bytes of nibbles.
    ///
    /// # Safety
    /// The block must be [`Self::BYTES`] long.
    unsafe fn raw(block: *const u8, sub: usize) -> [V128; 2];
}

/// 16 bits of four blocks at `at`, in the low halves of the lanes.
#[inline(always)]
unsafe fn halves(blocks: [*const u8; 4], at: usize) -> V128 {
    // SAFETY: the caller keeps the contract: the blocks are whole.
    V128::from_i32(blocks.map(|b| i32::from(unsafe { u16_at(b, at) })))
}

/// 32 bits of four blocks from their beginning.
#[inline(always)]
unsafe fn words(blocks: [*const u8; 4]) -> V128 {
    // SAFETY: the caller keeps the contract: the blocks are whole.
    V128::from_i32(blocks.map(|b| i32::from_le(unsafe { b.cast::<i32>().read_unaligned() })))
}

#[inline(always)]
unsafe fn u16_at(block: *const u8, at: usize) -> u16 {
    // SAFETY: the caller keeps the contract: the blocks are whole.
    u16::from_le(unsafe { block.add(at).cast::<u16>().read_unaligned() })
}

/// 0x80 in each byte.
#[inline(always)]
fn sign() -> V128 {
    V128::splat_i8(-128)
}

/// The sign of both nibbles: numbers less half their range, in two's complement.
#[inline(always)]
fn signs() -> V128 {
    V128::splat_i8(0x88_u8 as i8)
}

/// Low nibbles at the top of their bytes, less half their range.
#[inline(always)]
fn low_nibbles(v: V128) -> V128 {
    v.mul_i16(V128::splat_i16(16))
        .and(V128::splat_i8(-16))
        .xor(sign())
}

/// High nibbles, likewise.
#[inline(always)]
fn high_nibbles(v: V128) -> V128 {
    v.and(V128::splat_i8(-16)).xor(sign())
}

/// Nibbles as the lower four of five bits, the fifth from `clear` (ones where it is clear).
#[inline(always)]
fn five_bits(nibbles: [V128; 2], clear: [V128; 2]) -> [V128; 2] {
    let mask = V128::splat_i8(0x78);
    let place = |v: V128, clear: V128| v.and(mask).or(clear.and(sign()));
    [
        place(nibbles[0].mul_i16(V128::splat_i16(8)), clear[0]),
        place(nibbles[1].shr_u16::<1>(), clear[1]),
    ]
}

/// Without a centre.
#[inline(always)]
fn plain(reach: V128) -> Header {
    Header {
        reach: [reach; 2],
        centre: V128::zero(),
        raw: V128::zero(),
    }
}

/// `number × d + m`, where the byte is (number − half its range) moved up: half × d is the reach.
#[inline(always)]
fn with_minimum(reach: V128, m: V128) -> Header {
    Header {
        centre: reach.add(m),
        ..plain(reach)
    }
}

/// d f16 | 16 bytes of nibbles
pub(super) struct Q4_0;
impl Format for Q4_0 {
    const DTYPE: GgmlType = GgmlType::Q4_0;
    const NIBBLES: bool = true;
    #[inline(always)]
    unsafe fn header(blocks: [*const u8; 4], _: usize) -> Header {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        plain(unsafe { halves(blocks, 0) }.low_f16_times(8.0))
    }
    #[inline(always)]
    unsafe fn raw(block: *const u8, _: usize) -> [V128; 2] {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        [unsafe { V128::load(block.add(2)) }.xor(signs()); 2]
    }
}

/// d f16 | m f16 | 16 bytes of nibbles
pub(super) struct Q4_1;
impl Format for Q4_1 {
    const DTYPE: GgmlType = GgmlType::Q4_1;
    const CENTRED: bool = true;
    const NIBBLES: bool = true;
    #[inline(always)]
    unsafe fn header(blocks: [*const u8; 4], _: usize) -> Header {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        let both = unsafe { words(blocks) };
        with_minimum(both.low_f16_times(8.0), both.high_f16_times(1.0))
    }
    #[inline(always)]
    unsafe fn raw(block: *const u8, _: usize) -> [V128; 2] {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        [unsafe { V128::load(block.add(4)) }.xor(signs()); 2]
    }
}

/// d f16 | 32 fifth bits | 16 bytes of nibbles
pub(super) struct Q5_0;
impl Format for Q5_0 {
    const DTYPE: GgmlType = GgmlType::Q5_0;
    #[inline(always)]
    unsafe fn header(blocks: [*const u8; 4], _: usize) -> Header {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        plain(unsafe { halves(blocks, 0) }.low_f16_times(16.0))
    }
    #[inline(always)]
    unsafe fn raw(block: *const u8, _: usize) -> [V128; 2] {
        let (v, low, high) =
            // SAFETY: the caller keeps the contract: the blocks are whole.
            unsafe { (V128::load(block.add(6)), u16_at(block, 2), u16_at(block, 4)) };
        five_bits([v, v], [V128::clear_bits(low), V128::clear_bits(high)])
    }
}

/// d f16 | m f16 | 32 fifth bits | 16 bytes of nibbles
pub(super) struct Q5_1;
impl Format for Q5_1 {
    const DTYPE: GgmlType = GgmlType::Q5_1;
    const CENTRED: bool = true;
    #[inline(always)]
    unsafe fn header(blocks: [*const u8; 4], _: usize) -> Header {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        let both = unsafe { words(blocks) };
        with_minimum(both.low_f16_times(16.0), both.high_f16_times(1.0))
    }
    #[inline(always)]
    unsafe fn raw(block: *const u8, sub: usize) -> [V128; 2] {
        // The same as Q5_0 two bytes further on.
        // SAFETY: the caller keeps the contract: the blocks are whole.
        unsafe { Q5_0::raw(block.add(2), sub) }
    }
}

/// d f16 | 32 signed bytes
pub(super) struct Q8_0;
impl Format for Q8_0 {
    const DTYPE: GgmlType = GgmlType::Q8_0;
    #[inline(always)]
    unsafe fn header(blocks: [*const u8; 4], _: usize) -> Header {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        plain(unsafe { halves(blocks, 0) }.low_f16_times(128.0))
    }
    #[inline(always)]
    unsafe fn raw(block: *const u8, _: usize) -> [V128; 2] {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        unsafe { [V128::load(block.add(2)), V128::load(block.add(18))] }
    }
}

/// The 6-bit scale and minimum of 32 columns, number `j` in a Q4_K or Q5_K block.
#[inline(always)]
unsafe fn scale_and_minimum(block: *const u8, j: usize) -> (i32, i32) {
    // SAFETY: the caller keeps the contract: the blocks are whole.
    let s = |i: usize| i32::from(unsafe { *block.add(4 + i) });
    if j < 4 {
        (s(j) & 63, s(j + 4) & 63)
    } else {
        (
            (s(j + 4) & 15) | ((s(j - 4) >> 6) << 4),
            (s(j + 4) >> 4) | ((s(j) >> 6) << 4),
        )
    }
}

/// The header of Q4_K and Q5_K: `d × scale × number − dmin × minimum`.
#[inline(always)]
unsafe fn k_header(blocks: [*const u8; 4], j: usize, half: f32) -> Header {
    // SAFETY: the caller keeps the contract: the blocks are whole.
    unsafe {
        let both = words(blocks);
        let quarters = blocks.map(|b| scale_and_minimum(b, j));
        let scale = V128::from_i32(quarters.map(|s| s.0)).i32_to_f32();
        let minimum = V128::from_i32(quarters.map(|s| -s.1)).i32_to_f32();
        let (d, dmin) = (both.low_f16_times(half), both.high_f16_times(1.0));
        Header {
            raw: d.abs().pmax(dmin.abs()),
            ..with_minimum(d.mul(scale), dmin.mul(minimum))
        }
    }
}

/// d f16 | dmin f16 | 12 bytes of 6-bit scales and minima | 128 bytes of nibbles
pub(super) struct Q4K;
impl Format for Q4K {
    const DTYPE: GgmlType = GgmlType::Q4K;
    const CENTRED: bool = true;
    const SCALED: bool = true;
    #[inline(always)]
    unsafe fn header(blocks: [*const u8; 4], sub: usize) -> Header {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        unsafe { k_header(blocks, sub, 8.0) }
    }
    #[inline(always)]
    unsafe fn raw(block: *const u8, sub: usize) -> [V128; 2] {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        unsafe {
            let at = block.add(16 + 32 * (sub / 2));
            let v = [V128::load(at), V128::load(at.add(16))];
            v.map(|v| {
                if sub.is_multiple_of(2) {
                    low_nibbles(v)
                } else {
                    high_nibbles(v)
                }
            })
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the nibbles: bit `sub` of byte i is column i's.
pub(super) struct Q5K;
impl Format for Q5K {
    const DTYPE: GgmlType = GgmlType::Q5K;
    const CENTRED: bool = true;
    const SCALED: bool = true;
    #[inline(always)]
    unsafe fn header(blocks: [*const u8; 4], sub: usize) -> Header {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        unsafe { k_header(blocks, sub, 16.0) }
    }
    #[inline(always)]
    unsafe fn raw(block: *const u8, sub: usize) -> [V128; 2] {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        unsafe {
            let bit = V128::splat_i8((1u8 << sub) as i8);
            let at = block.add(48 + 32 * (sub / 2));
            [0, 16].map(|i| {
                let v = V128::load(at.add(i));
                let clear = V128::load(block.add(16 + i)).and(bit).is_zero_i8();
                five_bits([v, v], [clear, clear])[sub % 2]
            })
        }
    }
}

/// 128 bytes of lower nibbles | 64 bytes of upper two bits | 16 signed scales | d f16
pub(super) struct Q6K;
impl Format for Q6K {
    const DTYPE: GgmlType = GgmlType::Q6K;
    const REACHES: usize = 2;
    const SCALED: bool = true;
    #[inline(always)]
    unsafe fn header(blocks: [*const u8; 4], sub: usize) -> Header {
        // SAFETY: the caller keeps the contract: the blocks are whole.
        unsafe {
            let d = halves(blocks, 208).low_f16_times(32.0);
            let reach = [0, 1].map(|half| {
                let scale = blocks.map(|b| i32::from(*b.add(192 + 2 * sub + half) as i8));
                d.mul(V128::from_i32(scale).i32_to_f32())
            });
            Header {
                reach,
                centre: V128::zero(),
                raw: d,
            }
        }
    }
    #[inline(always)]
    unsafe fn raw(block: *const u8, sub: usize) -> [V128; 2] {
        let (part, quarter) = (sub / 4, sub % 4);
        let upper = V128::splat_i16(1 << (6 - 2 * quarter));
        let (low_mask, high_mask) = (V128::splat_i8(0x3c), V128::splat_i8(-64));
        // SAFETY: the caller keeps the contract: the blocks are whole.
        unsafe {
            let nibbles = block.add(64 * part + 32 * (quarter % 2));
            let bits = block.add(128 + 32 * part);
            [0, 16].map(|i| {
                let v = V128::load(nibbles.add(i));
                let v = if quarter < 2 {
                    v.mul_i16(V128::splat_i16(4))
                } else {
                    v.shr_u16::<2>()
                };
                let h = V128::load(bits.add(i)).mul_i16(upper);
                v.and(low_mask).or(h.and(high_mask)).xor(sign())
            })
        }
    }
}

//! Quantization blocks to `f32`: one function for each block format, named in the table of
//! [`GgmlType`]. Source: `dequantize_row_*` in ggml-quants.c.
//!
//! Block sizes come from the table; a function that does not fit its row does not compile.

use super::dtype::GgmlType;
use super::dtype::GgmlType::*;

/// Dequantizes one row: `bytes` holds `out.len() / dtype.block_len()` whole blocks. If the two lengths
/// do not fit each other, blocks past the shorter one are left out.
///
/// ```
/// use weights::{GgmlType, gguf::dequant::dequantize_row};
/// let mut out = [0.0; 2];
/// dequantize_row(GgmlType::F16, &[0x00, 0x3c, 0x00, 0xc0], &mut out);
/// assert_eq!(out, [1.0, -2.0]);
/// ```
pub fn dequantize_row(dtype: GgmlType, bytes: &[u8], out: &mut [f32]) {
    dtype.unpack()(bytes, out);
}

/// Calls `unpack` for each block of `bytes`, with its share of `out`.
#[inline(always)]
pub(super) fn each_block<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    unpack: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (ys, _) = out.as_chunks_mut::<LEN>();
    for (b, y) in blocks.iter().zip(ys) {
        unpack(b, y);
    }
}

pub(super) fn f32(b: &[u8; F32.block_bytes()], y: &mut [f32; F32.block_len()]) {
    y[0] = f32::from_le_bytes(*b);
}

pub(super) fn f16(b: &[u8; F16.block_bytes()], y: &mut [f32; F16.block_len()]) {
    y[0] = half::f16::from_le_bytes(*b).to_f32();
}

pub(super) fn bf16(b: &[u8; Bf16.block_bytes()], y: &mut [f32; Bf16.block_len()]) {
    y[0] = half::bf16::from_le_bytes(*b).to_f32();
}

/// The half-precision number at `at`.
#[inline(always)]
fn f16_at<const B: usize>(b: &[u8; B], at: usize) -> f32 {
    half::f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

pub(super) fn q4_0(b: &[u8; Q4_0.block_bytes()], y: &mut [f32; Q4_0.block_len()]) {
    let d = f16_at(b, 0);
    for i in 0..16 {
        let q = b[2 + i];
        y[i] = (i32::from(q & 15) - 8) as f32 * d;
        y[i + 16] = (i32::from(q >> 4) - 8) as f32 * d;
    }
}

pub(super) fn q4_1(b: &[u8; Q4_1.block_bytes()], y: &mut [f32; Q4_1.block_len()]) {
    let (d, m) = (f16_at(b, 0), f16_at(b, 2));
    for i in 0..16 {
        let q = b[4 + i];
        y[i] = i32::from(q & 15) as f32 * d + m;
        y[i + 16] = i32::from(q >> 4) as f32 * d + m;
    }
}

pub(super) fn q5_0(b: &[u8; Q5_0.block_bytes()], y: &mut [f32; Q5_0.block_len()]) {
    let d = f16_at(b, 0);
    let high = u32::from_le_bytes([b[2], b[3], b[4], b[5]]);
    for i in 0..16 {
        let q = u32::from(b[6 + i]);
        let lo = (q & 15) | (((high >> i) & 1) << 4);
        let hi = (q >> 4) | (((high >> (i + 16)) & 1) << 4);
        y[i] = (lo as i32 - 16) as f32 * d;
        y[i + 16] = (hi as i32 - 16) as f32 * d;
    }
}

pub(super) fn q5_1(b: &[u8; Q5_1.block_bytes()], y: &mut [f32; Q5_1.block_len()]) {
    let (d, m) = (f16_at(b, 0), f16_at(b, 2));
    let high = u32::from_le_bytes([b[4], b[5], b[6], b[7]]);
    for i in 0..16 {
        let q = u32::from(b[8 + i]);
        let lo = (q & 15) | (((high >> i) & 1) << 4);
        let hi = (q >> 4) | (((high >> (i + 16)) & 1) << 4);
        y[i] = lo as i32 as f32 * d + m;
        y[i + 16] = hi as i32 as f32 * d + m;
    }
}

pub(super) fn q8_0(b: &[u8; Q8_0.block_bytes()], y: &mut [f32; Q8_0.block_len()]) {
    let d = f16_at(b, 0);
    for i in 0..32 {
        y[i] = i32::from(b[2 + i] as i8) as f32 * d;
    }
}

/// The sixteen values a number of IQ4_NL stands for.
const IQ4_NL: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

pub(super) fn iq4_nl(b: &[u8; Iq4Nl.block_bytes()], y: &mut [f32; Iq4Nl.block_len()]) {
    let d = f16_at(b, 0);
    let value = |q: u8| f32::from(IQ4_NL[usize::from(q)]) * d;
    for i in 0..16 {
        y[i] = value(b[2 + i] & 15);
        y[i + 16] = value(b[2 + i] >> 4);
    }
}

/// 16 scales (low nibble) and minima (high nibble) | 64 bytes of two-bit numbers | d f16 | dmin f16
pub(super) fn q2_k(b: &[u8; Q2K.block_bytes()], y: &mut [f32; Q2K.block_len()]) {
    let (d, dmin) = (f16_at(b, 80), f16_at(b, 82));
    for (i, y) in y.chunks_exact_mut(16).enumerate() {
        // Groups of 16: two for each of four shifts, in each half.
        let (half, shift, part) = (i / 8, i % 8 / 2 * 2, i % 2);
        let (scale, min) = (d * f32::from(b[i] & 15), dmin * f32::from(b[i] >> 4));
        let q = &b[16 + 32 * half + 16 * part..][..16];
        for (y, q) in y.iter_mut().zip(q) {
            *y = scale * f32::from((q >> shift) & 3) - min;
        }
    }
}

/// 32 bytes of third bits | 64 bytes of two-bit numbers | 12 bytes of 6-bit scales | d f16
pub(super) fn q3_k(b: &[u8; Q3K.block_bytes()], y: &mut [f32; Q3K.block_len()]) {
    let d = f16_at(b, 108);
    let s = &b[96..108];
    for (i, y) in y.chunks_exact_mut(16).enumerate() {
        let (half, quarter, part) = (i / 8, i % 8 / 2, i % 2);
        let low = if i < 8 { s[i] & 15 } else { s[i - 8] >> 4 };
        let high = (s[8 + i % 4] >> (2 * (i / 4))) & 3;
        let scale = d * (i32::from(low | high << 4) - 32) as f32;
        let q = &b[32 + 32 * half + 16 * part..][..16];
        let third = &b[16 * part..][..16];
        for ((y, q), third) in y.iter_mut().zip(q).zip(third) {
            let set = (third >> (4 * half + quarter)) & 1;
            let number = i32::from((q >> (2 * quarter)) & 3) - 4 * i32::from(1 - set);
            *y = scale * number as f32;
        }
    }
}

/// The 6-bit scale and minimum of sub-block `j` of a Q4_K or Q5_K block, from its 12 bytes.
#[inline(always)]
fn scale_min(s: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        (
            (s[j + 4] & 15) | ((s[j - 4] >> 6) << 4),
            (s[j + 4] >> 4) | ((s[j] >> 6) << 4),
        )
    };
    (f32::from(scale), f32::from(min))
}

pub(super) fn q4_k(b: &[u8; Q4K.block_bytes()], y: &mut [f32; Q4K.block_len()]) {
    let (d, dmin) = (f16_at(b, 0), f16_at(b, 2));
    let (scales, qs) = (&b[4..16], &b[16..144]);
    for j in 0..4 {
        let (s1, m1) = scale_min(scales, 2 * j);
        let (s2, m2) = scale_min(scales, 2 * j + 1);
        let (d1, m1, d2, m2) = (d * s1, dmin * m1, d * s2, dmin * m2);
        let q = &qs[32 * j..32 * j + 32];
        let (lo, hi) = y[64 * j..64 * j + 64].split_at_mut(32);
        for i in 0..32 {
            lo[i] = d1 * i32::from(q[i] & 15) as f32 - m1;
            hi[i] = d2 * i32::from(q[i] >> 4) as f32 - m2;
        }
    }
}

pub(super) fn q5_k(b: &[u8; Q5K.block_bytes()], y: &mut [f32; Q5K.block_len()]) {
    let (d, dmin) = (f16_at(b, 0), f16_at(b, 2));
    let (scales, qh, qs) = (&b[4..16], &b[16..48], &b[48..176]);
    for j in 0..4 {
        let (s1, m1) = scale_min(scales, 2 * j);
        let (s2, m2) = scale_min(scales, 2 * j + 1);
        let (d1, m1, d2, m2) = (d * s1, dmin * m1, d * s2, dmin * m2);
        let q = &qs[32 * j..32 * j + 32];
        let (lo, hi) = y[64 * j..64 * j + 64].split_at_mut(32);
        for i in 0..32 {
            let (h1, h2) = ((qh[i] >> (2 * j)) & 1, (qh[i] >> (2 * j + 1)) & 1);
            lo[i] = d1 * i32::from((q[i] & 15) | (h1 << 4)) as f32 - m1;
            hi[i] = d2 * i32::from((q[i] >> 4) | (h2 << 4)) as f32 - m2;
        }
    }
}

pub(super) fn q6_k(b: &[u8; Q6K.block_bytes()], y: &mut [f32; Q6K.block_len()]) {
    let d = f16_at(b, 208);
    for half in 0..2 {
        let ql = &b[64 * half..64 * half + 64];
        let qh = &b[128 + 32 * half..128 + 32 * half + 32];
        let sc = &b[192 + 8 * half..192 + 8 * half + 8];
        let y = &mut y[128 * half..128 * half + 128];
        for i in 0..32 {
            let h = qh[i];
            let q1 = i32::from((ql[i] & 15) | ((h & 3) << 4)) - 32;
            let q2 = i32::from((ql[i + 32] & 15) | (((h >> 2) & 3) << 4)) - 32;
            let q3 = i32::from((ql[i] >> 4) | (((h >> 4) & 3) << 4)) - 32;
            let q4 = i32::from((ql[i + 32] >> 4) | ((h >> 6) << 4)) - 32;
            let s = |k: usize| d * i32::from(sc[i / 16 + k] as i8) as f32;
            y[i] = s(0) * q1 as f32;
            y[i + 32] = s(2) * q2 as f32;
            y[i + 64] = s(4) * q3 as f32;
            y[i + 96] = s(6) * q4 as f32;
        }
    }
}

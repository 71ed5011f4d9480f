//! Packing rows of quantization blocks by integer arithmetic, four rows and 32 columns at a time.
//!
//! In every format here a weight is `byte × reach / 128 + centre`, with a signed byte and a reach
//! and centre that 16 or 32 columns share ([`Format`]). In units of the row's scale that is
//! `(256 × byte × D) >> 15 + M` with 16-bit D and M, exact to 1.5 units. Compared with going
//! through `f32`, that costs a quarter of the instructions.
//!
//! The norm that sets the scale is bounded from the headers alone, as if every weight of a block
//! were as large as its largest could be: about 2.2 times the true norm.

use super::formats::{Format, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use super::{LANES, NotFinite, ROW_NORM_MAX, scale_rule};
use crate::gguf::GgmlType;
use crate::simd::{ROUND_MAGIC, V128, Vector};

/// Columns packed at a time.
const CHUNK: usize = 32;
/// Most by which a packed weight is off, in units: rounding of the product, of M and of D.
const ERROR_MAX: f32 = 1.5;
/// Weights of this size and more are refused: infinite numbers of a header look like them.
const TOO_LARGE: f32 = 65_536.0;

/// Packs consecutive rows of one block format, four to a group of `out`. Returns `None` if the format
/// has no integer packer or `cols` is not a multiple of [`CHUNK`].
pub(super) fn pack(
    headers: &mut Vec<[f32; 4]>,
    cols: usize,
    dtype: GgmlType,
    rows: &[u8],
    out: &mut [u8],
) -> Option<Result<(), NotFinite>> {
    if !cols.is_multiple_of(CHUNK) {
        return None;
    }
    Some(match dtype {
        GgmlType::Q4_0 => groups::<Q4_0>(headers, cols, rows, out),
        GgmlType::Q4_1 => groups::<Q4_1>(headers, cols, rows, out),
        GgmlType::Q5_0 => groups::<Q5_0>(headers, cols, rows, out),
        GgmlType::Q5_1 => groups::<Q5_1>(headers, cols, rows, out),
        GgmlType::Q8_0 => groups::<Q8_0>(headers, cols, rows, out),
        GgmlType::Q4K => groups::<Q4K>(headers, cols, rows, out),
        GgmlType::Q5K => groups::<Q5K>(headers, cols, rows, out),
        GgmlType::Q6K => groups::<Q6K>(headers, cols, rows, out),
        _ => return None,
    })
}

fn groups<F: Format>(
    headers: &mut Vec<[f32; 4]>,
    cols: usize,
    rows: &[u8],
    out: &mut [u8],
) -> Result<(), NotFinite> {
    let chunks = cols / CHUNK;
    let row_bytes = cols / F::COLS * F::BYTES;
    let group_bytes = cols * 8 + 16;
    assert!(cols.is_multiple_of(F::COLS), "whole blocks");
    assert!(
        rows.len() / (LANES * row_bytes) == out.len() / group_bytes,
        "as many row groups in as out"
    );
    headers.resize(chunks * F::HEADERS, [0.0; 4]);
    let inputs = rows.chunks_exact(LANES * row_bytes);
    for (rows, out) in inputs.zip(out.chunks_exact_mut(group_bytes)) {
        let first = rows.as_ptr();
        // SAFETY: the rows hold `chunks` chunks each, headers and output have room for them.
        unsafe {
            let rows = [0, 1, 2, 3].map(|r| first.add(r * row_bytes));
            let scale = scales::<F>(rows, chunks, headers)?;
            let inverse = scale.map(|s| 1.0 / s);
            // Weights so small that their scale has no inverse count as zero.
            let usable = inverse.map(f32::is_finite);
            let keep = |v: [f32; 4]| std::array::from_fn(|i| if usable[i] { v[i] } else { 0.0 });
            quantize::<F>(rows, chunks, headers, V128::from_f32(keep(inverse)), out);
            V128::from_f32(keep(scale)).store(out.as_mut_ptr().add(cols * 8));
        }
    }
    Ok(())
}

/// Calls `f` with the blocks of each chunk of four rows, and the chunk's number in its block. Two
/// chunks at once, where a block is a chunk: their addresses are computed once.
#[inline(always)]
unsafe fn for_each_chunk<F: Format>(
    rows: [*const u8; LANES],
    chunks: usize,
    mut f: impl FnMut([*const u8; LANES], usize),
) {
    let per_block = F::COLS / CHUNK;
    let mut chunk = 0;
    // SAFETY: the caller keeps the contract: the rows have these chunks, the buffers room for them.
    unsafe {
        if per_block == 1 {
            while chunk + 2 <= chunks {
                let blocks = rows.map(|row| row.add(chunk * F::BYTES));
                f(blocks, 0);
                f(blocks.map(|block| block.add(F::BYTES)), 0);
                chunk += 2;
            }
        }
        while chunk < chunks {
            let blocks = rows.map(|row| row.add(chunk / per_block * F::BYTES));
            f(blocks, chunk % per_block);
            chunk += 1;
        }
    }
}

/// Reads the headers. Returns the scale of each row.
#[inline(always)]
unsafe fn scales<F: Format>(
    rows: [*const u8; LANES],
    chunks: usize,
    headers: &mut [[f32; 4]],
) -> Result<[f32; 4], NotFinite> {
    let (mut squares, mut size, mut raw) = (V128::zero(), V128::zero(), V128::zero());
    let mut header = headers.as_mut_ptr();
    // SAFETY: the caller keeps the contract: the rows have these chunks, the buffers room for them.
    let step = |blocks: [*const u8; LANES], sub: usize| unsafe {
        let h = F::header(blocks, sub);
        let mut keep = |v: V128| {
            v.store(header);
            header = header.add(1);
        };
        let mut count = |largest: V128| {
            size = size.pmax(largest);
            squares = squares.add(largest.mul(largest));
        };
        keep(h.reach[0]);
        if F::CENTRED {
            keep(h.centre);
            count(h.reach[0].abs().add(h.centre.abs()));
        } else {
            count(h.reach[0].abs());
        }
        if F::REACHES == 2 {
            keep(h.reach[1]);
            count(h.reach[1].abs());
        }
        if F::SCALED {
            raw = raw.pmax(h.raw.abs());
        }
    };
    // SAFETY: the caller keeps the contract: the rows have these chunks, the buffers room for them.
    unsafe { for_each_chunk::<F>(rows, chunks, step) };
    if size.max_f32() >= TOO_LARGE || raw.max_f32() >= TOO_LARGE {
        return Err(NotFinite);
    }
    let columns_a_reach = (CHUNK / F::REACHES) as f32;
    let (squares, size) = (squares.to_f32(), size.to_f32());
    Ok(std::array::from_fn(|i| {
        let norm = (squares[i] * columns_a_reach).sqrt();
        scale_rule(norm, size[i], ROW_NORM_MAX, chunks * CHUNK, ERROR_MAX)
    }))
}

/// Quantizes and interleaves.
#[inline(always)]
unsafe fn quantize<F: Format>(
    rows: [*const u8; LANES],
    chunks: usize,
    headers: &[[f32; 4]],
    inverse: V128,
    out: &mut [u8],
) {
    let magic = V128::splat_f32(ROUND_MAGIC);
    let shifts = Shifts::new();
    let mut header = headers.as_ptr();
    let mut out = out.as_mut_ptr();
    // SAFETY: the caller keeps the contract: the rows have these chunks, the buffers room for them.
    let step = |blocks: [*const u8; LANES], sub: usize| unsafe {
        let mut next = || {
            let v = V128::load(header);
            header = header.add(1);
            v
        };
        let mut units = || next().mul(inverse).add(magic).double_low_i16();
        let first = units();
        let centre = if F::CENTRED { units() } else { V128::zero() };
        let second = if F::REACHES == 2 { units() } else { first };
        let [a, b, c, d] = blocks.map(|block| F::raw(block, sub));
        let low = V128::transpose_32([a[0], b[0], c[0], d[0]]);
        let put = |pair: usize, bytes: V128, reach: V128| {
            let w = bytes.mul_q15(reach);
            let w = if F::CENTRED { w.add_i16(centre) } else { w };
            w.store(out.add(16 * pair));
        };
        if F::NIBBLES {
            // Four bytes of a row: low nibbles are columns 4i to 4i + 3, high ones 16 further on.
            for_each_of_4(low, |i, v| {
                put(2 * i, v.mul_i16(shifts.by_12), first);
                put(
                    2 * i + 1,
                    v.mul_i16(shifts.by_4).and(shifts.top_nibble),
                    first,
                );
                put(
                    2 * i + 8,
                    v.mul_i16(shifts.by_8).and(shifts.top_nibble),
                    second,
                );
                put(2 * i + 9, v.and(shifts.top_nibble), second);
            });
        } else {
            let high = V128::transpose_32([a[1], b[1], c[1], d[1]]);
            for_each_of_4(low, |i, v| {
                put(2 * i, v.mul_i16(shifts.by_8), first);
                put(2 * i + 1, v.and(shifts.top_byte), first);
            });
            for_each_of_4(high, |i, v| {
                put(2 * i + 8, v.mul_i16(shifts.by_8), second);
                put(2 * i + 9, v.and(shifts.top_byte), second);
            });
        }
        out = out.add(256);
    };
    // SAFETY: the caller keeps the contract: the rows have these chunks, the buffers room for them.
    unsafe { for_each_chunk::<F>(rows, chunks, step) };
}

/// Written out four times: a loop over an array would go through memory.
#[inline(always)]
fn for_each_of_4(v: [V128; 4], f: impl Fn(usize, V128)) {
    let [a, b, c, d] = v;
    f(0, a);
    f(1, b);
    f(2, c);
    f(3, d);
}

/// Factors that shift 16-bit lanes up, and masks. Multiplying is cheaper than shifting on chain; the
/// compiler is kept from seeing what the factors are.
struct Shifts {
    by_4: V128,
    by_8: V128,
    by_12: V128,
    top_nibble: V128,
    top_byte: V128,
}

impl Shifts {
    #[inline(always)]
    fn new() -> Self {
        let shift = |n: u32| V128::splat_i16(std::hint::black_box(1 << n));
        Self {
            by_4: shift(4),
            by_8: shift(8),
            by_12: shift(12),
            top_nibble: V128::splat_i16(0xf000_u16 as i16),
            top_byte: V128::splat_i16(0xff00_u16 as i16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PackedShape, Packer};
    use super::*;
    use crate::gguf::dequant::dequantize_row;
    use proptest::prelude::*;

    fn formats() -> impl Strategy<Value = GgmlType> {
        use GgmlType::*;
        prop_oneof![
            Just(Q4_0),
            Just(Q4_1),
            Just(Q5_0),
            Just(Q5_1),
            Just(Q8_0),
            Just(Q4K),
            Just(Q5K),
            Just(Q6K)
        ]
    }

    /// Offsets of the half-precision numbers in a block.
    fn halves(dtype: GgmlType) -> &'static [usize] {
        use GgmlType::*;
        match dtype {
            Q4_1 | Q5_1 | Q4K | Q5K => &[0, 2],
            Q6K => &[208],
            _ => &[0],
        }
    }

    proptest! {
        #[test]
        fn packed_blocks_are_the_dequantized_weights(
            dtype in formats(),
            blocks in 1usize..5,
            noise in proptest::collection::vec(any::<u8>(), 4 * 4 * 256),
            exponent in -14i32..4,
        ) {
            let cols = blocks * 256;
            let row_bytes = dtype.row_bytes(cols as u64).unwrap() as usize;
            let block_bytes = row_bytes / (cols / dtype.block_len());
            let mut rows: Vec<Vec<u8>> = (0..4)
                .map(|r| noise.iter().cycle().skip(r * 1021).take(row_bytes).copied().collect())
                .collect();
            for row in &mut rows {
                for block in row.chunks_mut(block_bytes) {
                    for at in halves(dtype) {
                        let small = f32::from(block[*at] as i8) / 128.0 * (exponent as f32).exp2();
                        block[*at..at + 2].copy_from_slice(&half::f16::from_f32(small).to_le_bytes());
                    }
                }
            }
            let shape = PackedShape { rows: 4, cols };
            let mut out = vec![0; shape.group_bytes()];
            Packer::new(shape).pack_rows(cols, dtype, &rows.concat(), &mut out).unwrap();
            for (r, row) in rows.iter().enumerate() {
                let mut expected = vec![0f32; cols];
                dequantize_row(dtype, row, &mut expected);
                let s = cols * 8 + 4 * r;
                let scale = f32::from_le_bytes(out[s..s + 4].try_into().unwrap());
                let mut squares = 0f64;
                for (c, expected) in expected.iter().enumerate() {
                    let o = super::super::weight_offset(r, c);
                    let got = i16::from_le_bytes([out[o], out[o + 1]]);
                    squares += f64::from(got).powi(2);
                    let off = (f32::from(got) * scale - expected).abs();
                    prop_assert!(
                        off <= 1.01 * ERROR_MAX * scale + 1e-5 * expected.abs(),
                        "{dtype} column {c}: {got} x {scale} for {expected}"
                    );
                }
                prop_assert!(squares.sqrt() <= f64::from(ROW_NORM_MAX), "norm {}", squares.sqrt());
            }
        }
    }

    #[test]
    fn headers_that_are_not_numbers_are_refused() {
        for dtype in [
            GgmlType::Q4_0,
            GgmlType::Q4_1,
            GgmlType::Q8_0,
            GgmlType::Q6K,
        ] {
            let cols = 256;
            let shape = PackedShape { rows: 4, cols };
            let row_bytes = dtype.row_bytes(cols as u64).unwrap() as usize;
            let good = vec![0u8; row_bytes];
            for at in halves(dtype) {
                let mut bad = good.clone();
                bad[*at..at + 2].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
                let rows = [&good[..], &good, &bad, &good].concat();
                let mut out = vec![0; shape.group_bytes()];
                let got = Packer::new(shape).pack_rows(cols, dtype, &rows, &mut out);
                assert_eq!(got, Err(NotFinite), "{dtype}");
            }
        }
    }
}

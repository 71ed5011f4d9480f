//! Packing rows of quantization blocks by integer arithmetic, four rows and 32 columns at a time.
//!
//! Every format here says of a weight: `byte × step + centre`, with a signed byte and a step and
//! centre that 16 or 32 columns share ([`Format`]). In units of the row's scale that is
//! `(127 × byte × D) >> 15 + M` with 16-bit D and M, exact to 1.25 units. Compared with going
//! through `f32` it costs a third of the instructions.
//!
//! The norm that sets the scale is bounded from the headers alone, as if every weight of a block
//! were as large as its largest could be: about 2.2 times the true norm.

use super::formats::{Format, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use super::{LANES, NotFinite, ROW_NORM_MAX, VALUE_MAX, norm_budget};
use crate::dtype::GgmlType;
use crate::simd::{ROUND_MAGIC, V128};

/// Columns packed at a time.
pub const CHUNK: usize = 32;
/// A byte is multiplied by this on its way to 16 bits.
const WIDEN: i8 = 127;
/// D for a step of one unit.
const STEP_UNIT: f32 = 32_768.0 / WIDEN as f32;
/// Largest step in units: D must fit 16 bits.
const STEP_MAX: f32 = 126.0;
/// Most by which a packed weight is off, in units: rounding of the product, of M and of D.
const ERROR_MAX: f32 = 1.25;

/// Packs a group of four rows of one block format; `None` if these rows are not that.
pub fn pack(
    headers: &mut Vec<[f32; 4]>,
    cols: usize,
    rows: &[(GgmlType, &[u8])],
    out: &mut [u8],
) -> Option<Result<(), NotFinite>> {
    let [(dtype, a), (b_type, b), (c_type, c), (d_type, d)] = *rows else {
        return None;
    };
    if [b_type, c_type, d_type] != [dtype; 3] || !cols.is_multiple_of(CHUNK) {
        return None;
    }
    let rows = [a, b, c, d];
    Some(match dtype {
        GgmlType::Q4_0 => run::<Q4_0>(headers, cols, rows, out),
        GgmlType::Q4_1 => run::<Q4_1>(headers, cols, rows, out),
        GgmlType::Q5_0 => run::<Q5_0>(headers, cols, rows, out),
        GgmlType::Q5_1 => run::<Q5_1>(headers, cols, rows, out),
        GgmlType::Q8_0 => run::<Q8_0>(headers, cols, rows, out),
        GgmlType::Q4K => run::<Q4K>(headers, cols, rows, out),
        GgmlType::Q5K => run::<Q5K>(headers, cols, rows, out),
        GgmlType::Q6K => run::<Q6K>(headers, cols, rows, out),
        GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16 => return None,
    })
}

fn run<F: Format>(
    headers: &mut Vec<[f32; 4]>,
    cols: usize,
    rows: [&[u8]; LANES],
    out: &mut [u8],
) -> Result<(), NotFinite> {
    let chunks = cols / CHUNK;
    let row_bytes = cols / F::COLS * F::BYTES;
    assert!(
        cols.is_multiple_of(F::COLS) && rows.iter().all(|r| r.len() == row_bytes),
        "whole blocks"
    );
    assert_eq!(out.len(), cols * 8 + 16, "a row group's bytes");
    headers.resize(chunks * F::HEADERS, [0.0; 4]);
    let rows = rows.map(<[u8]>::as_ptr);
    // Safety: the rows hold `chunks` chunks, headers and output have room for them.
    unsafe {
        let scale = scales::<F>(rows, chunks, headers)?;
        let inverse = scale.map(|s| 1.0 / s);
        // Weights so small that their scale has no inverse count as zero.
        let usable = inverse.map(f32::is_finite);
        let keep = |v: [f32; 4]| std::array::from_fn(|i| if usable[i] { v[i] } else { 0.0 });
        quantize::<F>(rows, chunks, headers, V128::from_f32(keep(inverse)), out);
        V128::from_f32(keep(scale)).store(out.as_mut_ptr().add(cols * 8));
    }
    Ok(())
}

/// Where a row's chunk lies: its block, and its number within the block.
#[inline(always)]
unsafe fn place<F: Format>(row: *const u8, chunk: usize) -> (*const u8, usize) {
    let per_block = F::COLS / CHUNK;
    let block = unsafe { row.add(chunk / per_block * F::BYTES) };
    (block, chunk % per_block)
}

/// Reads the headers; gives the scale of each row.
#[inline(always)]
unsafe fn scales<F: Format>(
    rows: [*const u8; LANES],
    chunks: usize,
    headers: &mut [[f32; 4]],
) -> Result<[f32; 4], NotFinite> {
    let zero = V128::zero();
    let (mut squares, mut size, mut step, mut raw) = (zero, zero, zero, zero);
    let mut header = headers.as_mut_ptr();
    for chunk in 0..chunks {
        unsafe {
            let blocks = rows.map(|row| place::<F>(row, chunk).0);
            let h = F::header(blocks, chunk % (F::COLS / CHUNK), &mut raw);
            for half in 0..F::STEPS {
                let s = h.step[half].abs();
                h.step[half].store(header);
                header = header.add(1);
                step = step.pmax(s);
                let mut largest = s.mul(V128::splat_f32(128.0));
                if F::CENTRED {
                    largest = largest.add(h.centre.abs());
                    h.centre.store(header);
                    header = header.add(1);
                }
                size = size.pmax(largest);
                squares = squares.add(largest.mul(largest));
            }
        }
    }
    if raw.max_f32() >= 65_536.0 {
        return Err(NotFinite);
    }
    let cols = chunks * CHUNK;
    let columns_a_step = (CHUNK / F::STEPS) as f32;
    let budget = norm_budget(ROW_NORM_MAX, cols, ERROR_MAX);
    let (squares, size, step) = (squares.to_f32(), size.to_f32(), step.to_f32());
    Ok(std::array::from_fn(|i| {
        let norm = (squares[i] * columns_a_step).sqrt();
        (norm / budget)
            .max(size[i] / VALUE_MAX)
            .max(step[i] / STEP_MAX)
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
    let widen = V128::splat_i8(WIDEN);
    let step_inverse = inverse.mul(V128::splat_f32(STEP_UNIT));
    let mut header = headers.as_ptr();
    let mut out = out.as_mut_ptr();
    for chunk in 0..chunks {
        unsafe {
            let mut steps = [V128::zero(); 2];
            let mut centre = V128::zero();
            for s in steps.iter_mut().take(F::STEPS) {
                let d = V128::load(header).mul(step_inverse).add(magic);
                *s = d.double_low_i16();
                header = header.add(1);
                if F::CENTRED {
                    let m = V128::load(header).mul(inverse).add(magic);
                    centre = m.double_low_i16();
                    header = header.add(1);
                }
            }
            let bytes = rows.map(|row| {
                let (block, sub) = place::<F>(row, chunk);
                F::bytes(block, sub)
            });
            for half in 0..2 {
                let step = steps[half % F::STEPS];
                let put = |wide: V128, to: *mut u8| {
                    let w = wide.mul_q15(step);
                    let w = if F::CENTRED { w.add_i16(centre) } else { w };
                    w.store(to);
                };
                let [a, b, c, d] = bytes.map(|b| b[half]);
                let (ab_lo, ab_hi) = (a.zip_lo_16(b), a.zip_hi_16(b));
                let (cd_lo, cd_hi) = (c.zip_lo_16(d), c.zip_hi_16(d));
                for (i, four) in [
                    ab_lo.zip_lo_32(cd_lo),
                    ab_lo.zip_hi_32(cd_lo),
                    ab_hi.zip_lo_32(cd_hi),
                    ab_hi.zip_hi_32(cd_hi),
                ]
                .into_iter()
                .enumerate()
                {
                    put(four.mul_lo_i8(widen), out.add(32 * i));
                    put(four.mul_hi_i8(widen), out.add(32 * i + 16));
                }
                out = out.add(128);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PackedShape, Packer};
    use super::*;
    use crate::dequant::dequantize_row;
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

    /// Bytes of the half-precision numbers in a block.
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
            exponent in -14i32..6,
        ) {
            let cols = blocks * 256;
            let row_bytes = dtype.row_bytes(cols as u64).unwrap() as usize;
            let block_bytes = row_bytes / (cols / dtype.block_len() as usize);
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
            let list: Vec<_> = rows.iter().map(|r| (dtype, r.as_slice())).collect();
            Packer::new(shape).pack_group(cols, &list, &mut out).unwrap();
            for (r, row) in rows.iter().enumerate() {
                let mut expected = vec![0f32; cols];
                dequantize_row(dtype, row, &mut expected);
                let s = cols * 8 + 4 * r;
                let scale = f32::from_le_bytes(out[s..s + 4].try_into().unwrap());
                let mut squares = 0f64;
                for (c, expected) in expected.iter().enumerate() {
                    let o = (c / 2) * 16 + r * 4 + (c % 2) * 2;
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
        for dtype in [GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q8_0, GgmlType::Q6K] {
            let cols = 256;
            let shape = PackedShape { rows: 4, cols };
            let row_bytes = dtype.row_bytes(cols as u64).unwrap() as usize;
            let good = vec![0u8; row_bytes];
            for at in halves(dtype) {
                let mut bad = good.clone();
                bad[*at..at + 2].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
                let rows = [&good, &good, &bad, &good].map(|r| (dtype, r.as_slice()));
                let mut out = vec![0; shape.group_bytes()];
                let got = Packer::new(shape).pack_group(cols, &rows, &mut out);
                assert_eq!(got, Err(NotFinite), "{dtype}");
            }
        }
    }
}

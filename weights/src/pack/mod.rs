//! Packing: weight rows become 16-bit integers with one scale a row, interleaved for the kernels.
//!
//! ```text
//! packed matrix of R rows (padded to 4) and C columns (padded to 8):
//!   row group 0:  column pair 0:  r0c0 r0c2 r1c0 r1c2 r2c0 r2c2 r3c0 r3c2   (8 × i16 = 16 bytes)
//!                 column pair 1:  r0c1 r0c3 r1c1 r1c3 …
//!                 column pair 2:  r0c4 r0c6 …
//!                 … C/2 pairs
//!                 scales s0 s1 s2 s3                                        (4 × f32 = 16 bytes)
//!   row group 1:  …
//!   … R/4 groups
//! ```
//! Of four columns the even and the odd ones are a pair each ([`weight_offset`]): so bytes of quantization
//! blocks become 16-bit lanes with one mask or one multiplication. Activations have the same order.
//!
//! One `dot_i16` of a pair with (x0 x1)×4 gives four rows' partial sums, a row a lane.
//!
//! **The scale of a row** is the smallest for which no sum can overflow. By the Cauchy–Schwarz
//! inequality a sum is at most the product of the two vectors' Euclidean norms: a packed row keeps
//! to [`ROW_NORM_MAX`], a quantized activation vector to [`ACTIVATION_NORM_MAX`]. For a row of 576
//! Gaussian weights the step is 1/600 of their standard deviation or less, ten times finer than
//! 8-bit blocks of 32; and a row needs no arithmetic at block borders, which 8-bit blocks would
//! cost in every token.
//!
//! Whole groups of rows of quantization blocks are packed by integer arithmetic (`blocks.rs`), all
//! others through `f32`.

mod blocks;
mod formats;

use crate::gguf::GgmlType;
use crate::gguf::dequant::dequantize_row;
use crate::simd::{ROUND_MAGIC, V128, Vector};

/// Largest size of a packed weight and of a quantized activation.
pub const VALUE_MAX: f32 = 32_000.0;
/// Largest Euclidean norm of a packed row: `ROW_NORM_MAX × ACTIVATION_NORM_MAX < 2^31`.
pub const ROW_NORM_MAX: f32 = 32_700.0;
/// Largest Euclidean norm of a quantized activation vector.
pub const ACTIVATION_NORM_MAX: f32 = 65_500.0;
/// Longest row that can be packed: rounding adds to its norm.
pub const MAX_COLS: usize = 65_536;
/// Rows that are interleaved.
pub const LANES: usize = 4;

/// Returns the offset of column `col` of row `row` in a row group (bytes).
pub const fn weight_offset(row: usize, col: usize) -> usize {
    let pair = col / 4 * 2 + col % 2;
    pair * 16 + row * 4 + col % 4 / 2 * 2
}

/// Writes the first `out.len()` weights of row `row` (0 to 3) of a row group to `out`.
///
/// # Panics
/// If the group has fewer columns.
pub fn unpack_row(group: &[u8], row: usize, out: &mut [f32]) {
    let scales = group.len() - 4 * LANES;
    let mut scale = [0; 4];
    scale.copy_from_slice(&group[scales + 4 * row..][..4]);
    let scale = f32::from_le_bytes(scale);
    for (col, out) in out.iter_mut().enumerate() {
        let at = weight_offset(row, col);
        *out = f32::from(i16::from_le_bytes([group[at], group[at + 1]])) * scale;
    }
}

/// The shape of a packed matrix `[rows, cols]` and the sizes that follow from it.
///
/// ```
/// use weights::pack::PackedShape;
/// let shape = PackedShape { rows: 6, cols: 12 };
/// assert_eq!((shape.groups(), shape.pairs()), (2, 8));
/// assert_eq!(shape.bytes(), 2 * (8 * 16 + 16));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedShape {
    /// Rows, without padding.
    pub rows: usize,
    /// Columns, without padding.
    pub cols: usize,
}

impl PackedShape {
    /// Returns the number of row groups of four.
    pub const fn groups(&self) -> usize {
        self.rows.div_ceil(LANES)
    }
    /// Returns the number of column pairs of a row, padded to a multiple of four.
    pub const fn pairs(&self) -> usize {
        self.cols.div_ceil(8) * 4
    }
    /// Returns the number of bytes of a row group, its scales included.
    pub const fn group_bytes(&self) -> usize {
        self.pairs() * 16 + 16
    }
    /// Returns the number of bytes of the whole matrix.
    pub const fn bytes(&self) -> usize {
        self.groups() * self.group_bytes()
    }
}

/// A row could not be packed: a weight is not a finite number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFinite;

/// Packs row groups one after another with reused scratch space.
pub struct Packer {
    pairs: usize,
    /// Rows as `f32`.
    scratch: Vec<f32>,
    /// The block headers of a row group (for `blocks.rs`).
    headers: Vec<[f32; 4]>,
}

/// The scale rule. Returns the smallest scale with which `len` values of the Euclidean norm `norm` and
/// the largest size `size` become integers of a norm of at most `norm_max`, none larger than
/// [`VALUE_MAX`], even if each is off by `error` units.
#[inline(always)]
pub fn scale_rule(norm: f32, size: f32, norm_max: f32, len: usize, error: f32) -> f32 {
    // Errors add to the norm; the factor covers what summing squares in single precision loses.
    let budget = 0.999 * norm_max - error * (len as f32).sqrt();
    let (by_norm, by_size) = (norm / budget, size / VALUE_MAX);
    if by_norm < by_size { by_size } else { by_norm }
}

/// Returns the scale of a row by [`scale_rule`], for values that are rounded to the nearest integer.
/// Its length must be a multiple of 4.
///
/// ```
/// use weights::pack::{ROW_NORM_MAX, VALUE_MAX, row_scale};
/// let row = [3.0, 0.0, 0.0, 0.0];
/// assert!(row_scale(&row, f32::INFINITY) == 3.0 / VALUE_MAX);
/// assert!(3.0 / row_scale(&row, ROW_NORM_MAX) <= ROW_NORM_MAX);
/// ```
#[inline(always)]
pub fn row_scale(row: &[f32], norm_max: f32) -> f32 {
    let (mut squares, mut size) = (V128::zero(), V128::zero());
    let (chunks, _) = row.as_chunks::<4>();
    for c in chunks {
        // SAFETY: a chunk is four floats.
        let v = unsafe { V128::load(c.as_ptr()) };
        squares = squares.add(v.mul(v));
        size = size.pmax(v.abs());
    }
    let norm = squares.sum_f32().sqrt();
    scale_rule(norm, size.max_f32(), norm_max, row.len(), 0.5)
}

impl Packer {
    /// Returns a packer of rows of `shape.cols` columns.
    pub fn new(shape: PackedShape) -> Self {
        let pairs = shape.pairs();
        Self {
            pairs,
            scratch: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Packs consecutive rows of one type, four to a group of `out`; as many as fill `out`.
    ///
    /// # Errors
    /// [`NotFinite`].
    ///
    /// # Panics
    /// If there are not as many groups of rows as `out` has room for.
    pub fn pack_rows(
        &mut self,
        cols: usize,
        dtype: GgmlType,
        rows: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotFinite> {
        if let Some(result) = blocks::pack(&mut self.headers, cols, dtype, rows, out) {
            return result;
        }
        let group_bytes = self.pairs * 16 + 16;
        let groups = out.len() / group_bytes;
        let row_bytes = rows.len() / (groups * LANES).max(1);
        for (rows, out) in rows
            .chunks_exact(LANES * row_bytes)
            .zip(out.chunks_exact_mut(group_bytes))
        {
            let row = |i: usize| (dtype, &rows[i * row_bytes..(i + 1) * row_bytes]);
            self.pack_group(cols, &[row(0), row(1), row(2), row(3)], out)?;
        }
        Ok(())
    }

    /// Packs up to four rows (each its type and quantized bytes) into `out`, `group_bytes` long,
    /// through `f32`. Missing rows become zeros.
    ///
    /// # Errors
    /// [`NotFinite`].
    ///
    /// # Panics
    /// If `out` is not a row group long, or a row is longer than the packer's.
    pub fn pack_group(
        &mut self,
        cols: usize,
        rows: &[(GgmlType, &[u8])],
        out: &mut [u8],
    ) -> Result<(), NotFinite> {
        let width = 2 * self.pairs;
        // Padding columns stay zero.
        self.scratch.resize(LANES * width, 0.0);
        for (i, (dtype, row)) in rows.iter().take(LANES).enumerate() {
            dequantize_row(*dtype, row, &mut self.scratch[i * width..i * width + cols]);
        }
        self.scratch[rows.len().min(LANES) * width..].fill(0.0);
        self.quantize(out)
    }

    /// Quantizes and interleaves the rows in scratch.
    fn quantize(&self, out: &mut [u8]) -> Result<(), NotFinite> {
        let width = 2 * self.pairs;
        assert_eq!(out.len(), self.pairs * 16 + 16, "a row group's bytes");
        let (mut scales, mut inverse) = ([0f32; LANES], [0f32; LANES]);
        for (i, row) in self.scratch.chunks_exact(width).enumerate() {
            let scale = row_scale(row, ROW_NORM_MAX);
            if !scale.is_finite() {
                return Err(NotFinite);
            }
            // Weights so small that their scale has no inverse count as zero.
            if (1.0 / scale).is_finite() {
                (scales[i], inverse[i]) = (scale, 1.0 / scale);
            }
        }
        let inverse = inverse.map(V128::splat_f32);
        let magic = V128::splat_f32(ROUND_MAGIC);
        let (src, dst) = (self.scratch.as_ptr(), out.as_mut_ptr());
        // SAFETY: scratch has 4 × width floats and out 8 × width + 16 bytes; c + 8 <= width.
        unsafe {
            for c in (0..width).step_by(8) {
                let mut r = [V128::zero(); LANES];
                for (i, r) in r.iter_mut().enumerate() {
                    let p = src.add(i * width + c);
                    let lo = V128::load(p).mul(inverse[i]).add(magic);
                    let hi = V128::load(p.add(4)).mul(inverse[i]).add(magic);
                    *r = lo.low_i16_crossed(hi);
                }
                let t = V128::transpose_32(r);
                let q = dst.add(c * 8);
                t[0].store(q);
                t[1].store(q.add(16));
                t[2].store(q.add(32));
                t[3].store(q.add(48));
            }
            V128::from_f32(scales).store(dst.add(width * 8));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scales_of(group: &[u8]) -> Vec<f32> {
        let (s, _) = group[group.len() - 16..].as_chunks::<4>();
        s.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    proptest! {
        #[test]
        fn packed_rows_keep_the_norm_and_their_values(
            values in proptest::collection::vec(-1e3f32..1e3, 1..200),
            rows in 1usize..=4,
            spike in proptest::option::of(-1e9f32..1e9),
        ) {
            let mut values = values;
            if let Some(s) = spike { values[0] = s; }
            let cols = values.len();
            let shape = PackedShape { rows, cols };
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let mut out = vec![0u8; shape.group_bytes()];
            let list = vec![(GgmlType::F32, bytes.as_slice()); rows];
            Packer::new(shape).pack_group(cols, &list, &mut out).unwrap();
            let scales = scales_of(&out);
            for (r, scale) in scales.into_iter().enumerate() {
                let at = |c: usize| {
                    let o = weight_offset(r, c);
                    i32::from(i16::from_le_bytes([out[o], out[o + 1]]))
                };
                let squares: i64 = (0..shape.pairs() * 2).map(|c| i64::from(at(c)).pow(2)).sum();
                prop_assert!((squares as f64).sqrt() <= f64::from(ROW_NORM_MAX), "{squares}");
                for (c, v) in values.iter().enumerate() {
                    let expected = if r < rows { *v } else { 0.0 };
                    let error = (at(c) as f32 * scale - expected).abs();
                    prop_assert!(error <= 0.51 * scale + expected.abs() * 1e-5, "{error}");
                }
            }
        }
    }

    #[test]
    fn weights_that_are_not_numbers_are_refused() {
        let shape = PackedShape { rows: 1, cols: 8 };
        for bad in [f32::NAN, f32::INFINITY] {
            let mut v = [1f32; 8];
            v[3] = bad;
            let bytes: Vec<u8> = v.iter().flat_map(|v| v.to_le_bytes()).collect();
            let mut out = vec![0u8; shape.group_bytes()];
            let got = Packer::new(shape).pack_group(8, &[(GgmlType::F32, &bytes)], &mut out);
            assert_eq!(got, Err(NotFinite));
        }
    }
}

//! A packed matrix times a quantized vector.
//!
//! The vector's column pairs sit in locals, spread over the four lanes; the loop goes over row
//! groups. In Wasm a column pair of a row group (8 multiply-accumulates) costs 5 instructions:
//! the address, the load, the local, the dot product, the addition; nothing else is in the loop
//! but about 25 instructions a row group. (Weights need no unpacking: see [`weights::pack`].)
//!
//! Rows too long for one pass are cut into column chunks; the chunks' partial sums (32-bit
//! integers) wait in the output.

use super::quantize::Quantized;
use seq_macro::seq;
use std::ops::Range;
use weights::pack::PackedShape;
use weights::simd::{V128, Vector};

/// A packed matrix in memory.
#[derive(Clone, Copy)]
pub struct PackedMatrix<'a> {
    shape: PackedShape,
    bytes: &'a [u8],
}

impl<'a> PackedMatrix<'a> {
    /// Returns the matrix in `bytes`, laid out as in [`weights::pack`].
    ///
    /// # Panics
    /// If there are not `shape.bytes()` of them.
    pub fn new(shape: PackedShape, bytes: &'a [u8]) -> Self {
        assert_eq!(bytes.len(), shape.bytes(), "bytes of a packed matrix");
        Self { shape, bytes }
    }

    /// `out[r] = Σ_c weight[r][c] × x[c]` for the rows of these row groups. `out` begins at the first of
    /// them and has four values for each group.
    ///
    /// # Panics
    /// If there are no such groups, or `x` or `out` is too short.
    pub fn matvec(&self, x: &Quantized, groups: Range<usize>, out: &mut [f32]) {
        let pairs = self.shape.pairs();
        assert!(
            groups.start <= groups.end && groups.end <= self.shape.groups(),
            "row groups"
        );
        assert!(
            x.q.len() >= 2 * pairs && out.len() >= 4 * groups.len(),
            "lengths"
        );
        let stride = self.shape.group_bytes();
        let mut begin = 0;
        while begin < pairs {
            let size = chunk_pairs(pairs - begin);
            let last = begin + size == pairs;
            let job = Job {
                x: x.q[2 * begin..].as_ptr(),
                w: self.bytes[groups.start * stride + begin * 16..].as_ptr(),
                stride,
                // From this chunk's first pair to the scales behind the row group.
                scales: (pairs - begin) * 16,
                groups: groups.len(),
                out: out.as_mut_ptr(),
                x_scale: x.scale,
            };
            // SAFETY: the chunk lies inside the row group, the groups inside the matrix, and the
            // lengths of x and out were checked.
            unsafe {
                match (begin == 0, last) {
                    (true, true) => job.run::<true, true>(size),
                    (true, false) => job.run::<true, false>(size),
                    (false, true) => job.run::<false, true>(size),
                    (false, false) => job.run::<false, false>(size),
                }
            }
            begin += size;
        }
    }
}

/// Chunk sizes there are kernels for, in column pairs.
const CHUNKS: [usize; 9] = [320, 288, 256, 128, 64, 32, 16, 8, 4];

/// The first chunk of a row of `pairs` (a multiple of 4): the largest that leaves the fewest chunks.
fn chunk_pairs(pairs: usize) -> usize {
    let count = |first: usize| {
        let (mut left, mut n) = (pairs - first, 1);
        for c in CHUNKS {
            if c <= first {
                n += left / c;
                left %= c;
            }
        }
        n
    };
    let fitting = CHUNKS.iter().copied().filter(|c| *c <= pairs);
    fitting.min_by_key(|c| count(*c)).unwrap_or(4)
}

/// Returns the number of passes that a row of `pairs` column pairs takes.
pub fn passes(mut pairs: usize) -> usize {
    let mut n = 0;
    while pairs > 0 {
        pairs -= chunk_pairs(pairs).min(pairs);
        n += 1;
    }
    n
}

/// One column chunk over many row groups.
struct Job {
    x: *const i16,
    w: *const u8,
    stride: usize,
    scales: usize,
    groups: usize,
    out: *mut f32,
    x_scale: f32,
}

macro_rules! kernel {
    ($name:ident, $pairs:literal) => {
        /// One chunk of this many column pairs.
        ///
        /// # Safety
        /// The job's pointers hold what its strides and groups say, `x` for this many pairs.
        #[inline(never)]
        unsafe fn $name<const FIRST: bool, const LAST: bool>(job: &Job) {
            // SAFETY: the caller's promise; every pointer moves by what a group reads or writes.
            unsafe {
                seq!(N in 0..$pairs { let x~N = V128::load_splat_32(job.x.add(2 * N)); });
                let x_scale = V128::splat_f32(job.x_scale);
                let (stride, scales) = (job.stride, job.scales);
                let (mut w, mut out) = (job.w, job.out);
                let end = out.add(4 * job.groups);
                while out != end {
                    let sum = if FIRST { V128::zero() } else { V128::load(out) };
                    seq!(N in 0..$pairs {
                        let sum = sum.add_i32(V128::load(w.add(16 * N)).dot_i16(x~N));
                    });
                    if LAST {
                        let scale = V128::load(w.add(scales)).mul(x_scale);
                        sum.i32_to_f32().mul(scale).store(out);
                    } else {
                        sum.store(out);
                    }
                    w = w.add(stride);
                    out = out.add(4);
                }
            }
        }
    };
}

kernel!(chunk_320, 320);
kernel!(chunk_288, 288);
kernel!(chunk_256, 256);
kernel!(chunk_128, 128);
kernel!(chunk_64, 64);
kernel!(chunk_32, 32);
kernel!(chunk_16, 16);
kernel!(chunk_8, 8);
kernel!(chunk_4, 4);

impl Job {
    /// # Safety
    /// The job's pointers hold what its strides and groups say, `x` for a chunk of `size` pairs.
    unsafe fn run<const FIRST: bool, const LAST: bool>(&self, size: usize) {
        // SAFETY: the caller's promise, handed on.
        unsafe {
            match size {
                320 => chunk_320::<FIRST, LAST>(self),
                288 => chunk_288::<FIRST, LAST>(self),
                256 => chunk_256::<FIRST, LAST>(self),
                128 => chunk_128::<FIRST, LAST>(self),
                64 => chunk_64::<FIRST, LAST>(self),
                32 => chunk_32::<FIRST, LAST>(self),
                16 => chunk_16::<FIRST, LAST>(self),
                8 => chunk_8::<FIRST, LAST>(self),
                _ => chunk_4::<FIRST, LAST>(self),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weights::GgmlType;
    use weights::pack::{Packer, weight_offset};

    #[test]
    fn chunks_cover_a_row() {
        for pairs in (4..3000).step_by(4) {
            let (mut left, mut n) = (pairs, 0);
            while left > 0 {
                left -= chunk_pairs(left);
                n += 1;
            }
            assert!(n <= pairs / 288 + 7, "{pairs} pairs in {n} chunks");
        }
        assert_eq!((chunk_pairs(288), chunk_pairs(320)), (288, 320));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn products_are_the_integer_sums(
            rows in 1usize..9,
            cols in (1usize..500).prop_map(|c| c * 4),
            seed in any::<u64>(),
            extreme in any::<bool>(),
        ) {
            let mut state = seed | 1;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let u = (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
                if extreme { u.signum() } else { u }
            };
            let w: Vec<f32> = (0..rows * cols).map(|_| next()).collect();
            // The worst case for overflow is an activation vector along a row of weights.
            let x: Vec<f32> = if extreme {
                w[..cols].to_vec()
            } else {
                (0..cols).map(|_| next()).collect()
            };
            let shape = PackedShape { rows, cols };
            let raw: Vec<Vec<u8>> = w.chunks(cols)
                .map(|r| r.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
            let mut packer = Packer::new(shape);
            let mut bytes = vec![0u8; shape.bytes()];
            for (g, out) in bytes.chunks_mut(shape.group_bytes()).enumerate() {
                let list: Vec<_> = raw[4 * g..].iter().take(4).map(|r| (GgmlType::F32, r.as_slice())).collect();
                packer.pack_group(cols, &list, out).unwrap();
            }
            let mut q = Quantized::new(cols);
            q.set(&x);
            let mut out = vec![0f32; 4 * shape.groups()];
            PackedMatrix::new(shape, &bytes).matvec(&q, 0..shape.groups(), &mut out);
            for r in 0..rows {
                let group = &bytes[r / 4 * shape.group_bytes()..(r / 4 + 1) * shape.group_bytes()];
                let at = |c: usize| {
                    let o = weight_offset(r % 4, c);
                    i64::from(i16::from_le_bytes([group[o], group[o + 1]]))
                };
                // The vector's columns in their order: a pair at a time, as in a row of one lane.
                let of = |c: usize| i64::from(q.q[weight_offset(0, c) / 16 * 2 + weight_offset(0, c) % 16 / 2]);
                let sum: i64 = (0..cols).map(|c| at(c) * of(c)).sum();
                prop_assert!(i32::try_from(sum).is_ok(), "overflow");
                let s = group.len() - 16 + (r % 4) * 4;
                let scale = f32::from_le_bytes(group[s..s + 4].try_into().unwrap());
                prop_assert_eq!(out[r].to_bits(), (sum as i32 as f32 * (scale * q.scale)).to_bits());
                let exact: f64 = (0..cols).map(|c| f64::from(w[r * cols + c]) * f64::from(x[c])).sum();
                let size: f64 = (0..cols).map(|c| f64::from(w[r * cols + c] * x[c]).abs()).sum();
                prop_assert!((f64::from(out[r]) - exact).abs() <= 0.02 * size + 1e-6);
            }
        }
    }
}

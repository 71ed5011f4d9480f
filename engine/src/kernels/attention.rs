//! Attention of one query head over a KV cache of 16-bit integers.
//!
//! The cache is cut into blocks of [`BLOCK`] positions. In a block, a KV head has one unit:
//!
//! ```text
//! keys:    for each 4 positions, for each dimension pair: p0d0 p0d1 p1d0 p1d1 p2d0 p2d1 p3d0 p3d1
//! values:  for each 2 positions, for each dimension:      p0d p1d
//! scales:  keys: BLOCK × f32, values: BLOCK × f32
//! ```
//! so that both products are the same `dot_i16`, with the query's dimension pairs or the
//! attention weights' position pairs in locals: 5 instructions for 8 multiply-accumulates in Wasm.
//!
//! No sum overflows. A key and a query are scaled so that the product of their Euclidean norms is
//! below 2^31, as in [`weights::pack`]; values are at most 32,767 in size, and a block's attention
//! weights add up to at most as much.

use super::exp::exp;
use super::quantize::to_i16;
use seq_macro::seq;
use weights::pack::{ACTIVATION_NORM_MAX, ROW_NORM_MAX, row_scale};
use weights::simd::{V128, Vector};

/// Head sizes that there are kernels for.
pub const HEAD_DIMS: [usize; 7] = [16, 32, 64, 80, 96, 128, 256];
/// Positions in a block of the cache.
pub const BLOCK: usize = 64;
/// The score of a position that is not seen.
const MASKED: f32 = -1e30;
/// Blocks whose attention weights have a smaller sum are left out: they would not change an `f32`.
const NEGLIGIBLE: f32 = 1e-30;

/// Returns the number of bytes of keys (and of values) of a unit.
pub const fn half_bytes(head_dim: usize) -> usize {
    BLOCK * head_dim * 2
}

/// Returns the number of bytes of a unit: keys, values, scales.
pub const fn unit_bytes(head_dim: usize) -> usize {
    2 * half_bytes(head_dim) + 2 * BLOCK * 4
}

/// Scratch for one head: scores of every position, and a block's weights.
pub struct Scratch {
    scores: Vec<f32>,
    weights: [f32; BLOCK],
    value_scales: [f32; BLOCK],
    weights_q: [i16; BLOCK],
    query_q: Vec<i16>,
}

impl Scratch {
    /// Returns scratch memory for heads of `head_dim`.
    pub fn new(head_dim: usize) -> Self {
        Self {
            scores: Vec::new(),
            weights: [0.0; BLOCK],
            value_scales: [0.0; BLOCK],
            weights_q: [0; BLOCK],
            query_q: vec![0; head_dim],
        }
    }
}

/// Writes a key row and a value row at position `at` of a unit's block.
pub fn write_row(unit: &mut [u8], at: usize, k: &[f32], v: &[f32]) {
    let n = k.len();
    let half = half_bytes(n);
    let (keys, rest) = unit.split_at_mut(half);
    let (values, scales) = rest.split_at_mut(half);
    let (k_factor, k_scale) = row_factors(k, ROW_NORM_MAX);
    // Values are summed with weights that add up to a bound of their own.
    let (v_factor, v_scale) = row_factors(v, f32::INFINITY);
    let (key_pairs, _) = keys[at / 4 * (n * 8)..].as_chunks_mut::<16>();
    let (pairs, _) = k.as_chunks::<2>();
    for (out, [a, b]) in key_pairs.iter_mut().zip(pairs) {
        let o = at % 4 * 4;
        out[o..o + 2].copy_from_slice(&round_i16(a * k_factor));
        out[o + 2..o + 4].copy_from_slice(&round_i16(b * k_factor));
    }
    let (value_pairs, _) = values[at / 2 * (n * 4)..].as_chunks_mut::<4>();
    for (out, x) in value_pairs.iter_mut().zip(v) {
        let o = at % 2 * 2;
        out[o..o + 2].copy_from_slice(&round_i16(x * v_factor));
    }
    scales[4 * at..4 * at + 4].copy_from_slice(&k_scale.to_le_bytes());
    let o = 4 * (BLOCK + at);
    scales[o..o + 4].copy_from_slice(&v_scale.to_le_bytes());
}

/// Reads what [`write_row`] wrote, up to its rounding.
pub fn read_row(unit: &[u8], at: usize, k: &mut [f32], v: &mut [f32]) {
    let n = k.len();
    let half = half_bytes(n);
    let whole = |at: usize| f32::from(i16::from_le_bytes([unit[at], unit[at + 1]]));
    let scale = |at: usize| {
        let at = 2 * half + 4 * at;
        f32::from_le_bytes([unit[at], unit[at + 1], unit[at + 2], unit[at + 3]])
    };
    let (k_scale, v_scale) = (scale(at), scale(BLOCK + at));
    let keys = at / 4 * (n * 8) + at % 4 * 4;
    for (i, k) in k.iter_mut().enumerate() {
        *k = whole(keys + i / 2 * 16 + i % 2 * 2) * k_scale;
    }
    let values = half + at / 2 * (n * 4) + at % 2 * 2;
    for (i, v) in v.iter_mut().enumerate() {
        *v = whole(values + 4 * i) * v_scale;
    }
}

/// Returns the two factors of a row: to integers of at most this Euclidean norm, and back.
fn row_factors(x: &[f32], norm_max: f32) -> (f32, f32) {
    let scale = row_scale(x, norm_max);
    let factor = 1.0 / scale;
    // All zeros, or so small that the squares are inexact: zeros.
    if factor < 1e20 {
        (factor, scale)
    } else {
        (0.0, 0.0)
    }
}

#[inline(always)]
fn round_i16(x: f32) -> [u8; 2] {
    let bits = (x + weights::simd::ROUND_MAGIC).to_bits();
    (bits as u16).to_le_bytes()
}

/// `out = Σ_p softmax(scale · q·k_p) v_p` over the positions `seen`, in a cache whose blocks'
/// units for this KV head are `units` (from position 0 on).
pub fn attend<'a>(
    query: &[f32],
    scale: f32,
    units: impl Fn(usize) -> &'a [u8],
    seen: std::ops::Range<usize>,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let n = query.len();
    let (first, last) = (seen.start / BLOCK, seen.end.div_ceil(BLOCK));
    let blocks = last - first;
    if scratch.scores.len() < blocks * BLOCK {
        scratch.scores.resize(blocks * BLOCK, 0.0);
    }
    let query_scale = quantize_query(query, scale, &mut scratch.query_q);
    let origin = first * BLOCK;
    for b in 0..blocks {
        let unit = units(first + b);
        assert_eq!(unit.len(), unit_bytes(n), "unit of the KV cache");
        let in_block = (seen.end - origin - b * BLOCK).min(BLOCK);
        let scores = &mut scratch.scores[b * BLOCK..(b + 1) * BLOCK];
        score_block(
            unit,
            &scratch.query_q,
            query_scale,
            in_block.div_ceil(8),
            scores,
        );
    }
    let scores = &mut scratch.scores[..blocks * BLOCK];
    scores[..seen.start - origin].fill(MASKED);
    scores[seen.end - origin..].fill(MASKED);

    let mut max = V128::splat_f32(MASKED);
    let (quads, _) = scores.as_chunks::<4>();
    for s in quads {
        // SAFETY: a chunk is four floats.
        max = max.pmax(unsafe { V128::load(s.as_ptr()) });
    }
    let max = V128::splat_f32(max.max_f32());

    out.fill(0.0);
    let mut total = V128::zero();
    for b in 0..blocks {
        let unit = units(first + b);
        let begin = seen.start.saturating_sub(origin + b * BLOCK);
        let end = (seen.end - origin - b * BLOCK).min(BLOCK);
        let value_scales = value_scales(unit, n, begin..end, &mut scratch.value_scales);
        let scores = &scratch.scores[b * BLOCK..(b + 1) * BLOCK];
        let mut sum = V128::zero();
        for i in (0..BLOCK).step_by(4) {
            // SAFETY: scores, weights and value scales have BLOCK floats each.
            unsafe {
                let e = exp(V128::load(scores.as_ptr().add(i)).sub(max));
                total = total.add(e);
                let w = e.mul(V128::load(value_scales.add(4 * i)));
                w.store(scratch.weights.as_mut_ptr().add(i));
                sum = sum.add(w);
            }
        }
        let sum = sum.sum_f32();
        if sum < NEGLIGIBLE {
            continue;
        }
        // No weight is larger than their sum, so this keeps the L1 bound and 16 bits too.
        let factor = 32_700.0 / sum;
        to_i16(&scratch.weights, factor, &mut scratch.weights_q);
        add_values(
            &unit[half_bytes(n)..],
            &scratch.weights_q,
            1.0 / factor,
            out,
        );
    }
    let inverse = V128::splat_f32(1.0 / total.sum_f32());
    let (quads, _) = out.as_chunks_mut::<4>();
    for o in quads {
        // SAFETY: a chunk is four floats.
        unsafe { V128::load(o.as_ptr()).mul(inverse).store(o.as_mut_ptr()) };
    }
}

/// Returns the value scales of a block: in place if all positions are seen, else a copy with zeros for
/// the others, whose bytes are unspecified.
fn value_scales(
    unit: &[u8],
    n: usize,
    seen: std::ops::Range<usize>,
    copy: &mut [f32; BLOCK],
) -> *const u8 {
    let scales = &unit[2 * half_bytes(n) + 4 * BLOCK..][..4 * BLOCK];
    if seen == (0..BLOCK) {
        return scales.as_ptr();
    }
    for i in (0..BLOCK).step_by(4) {
        // SAFETY: both hold BLOCK floats.
        unsafe { V128::load(scales.as_ptr().add(4 * i)).store(copy.as_mut_ptr().add(i)) };
    }
    copy[..seen.start].fill(0.0);
    copy[seen.end..].fill(0.0);
    copy.as_ptr().cast()
}

/// Quantizes a query. Returns the scale of an integer score.
fn quantize_query(query: &[f32], scale: f32, out: &mut [i16]) -> f32 {
    let (factor, query_scale) = row_factors(query, ACTIVATION_NORM_MAX);
    to_i16(query, factor, out);
    scale * query_scale
}

macro_rules! score_kernel {
    ($name:ident, $pairs:literal) => {
        /// Scores of `turns` × 8 positions.
        ///
        /// # Safety
        /// `keys` and `scales` hold the heads' 8 × `turns` positions, `q` 4 × `$pairs` values, and
        /// `out` has room for 8 × `turns` scores.
        #[inline(never)]
        unsafe fn $name(keys: *const u8, scales: *const f32, q: *const i16, scale: f32, turns: usize, out: *mut f32) {
            // SAFETY: the caller's promise; every pointer moves by what a turn reads or writes.
            unsafe {
                seq!(N in 0..$pairs { let q~N = V128::load_splat_32(q.add(2 * N)); });
                let scale = V128::splat_f32(scale);
                let (mut k, mut s, mut out) = (keys, scales, out);
                let end = out.add(8 * turns);
                while out != end {
                    let sum = V128::zero();
                    seq!(N in 0..$pairs {
                        let sum = sum.add_i32(V128::load(k.add(16 * N)).dot_i16(q~N));
                    });
                    sum.i32_to_f32().mul(V128::load(s).mul(scale)).store(out);
                    let sum = V128::zero();
                    seq!(N in 0..$pairs {
                        let sum = sum.add_i32(V128::load(k.add(16 * ($pairs + N))).dot_i16(q~N));
                    });
                    sum.i32_to_f32().mul(V128::load(s.add(4)).mul(scale)).store(out.add(4));
                    k = k.add(32 * $pairs);
                    s = s.add(8);
                    out = out.add(8);
                }
            }
        }
    };
}

score_kernel!(score_8, 8);
score_kernel!(score_16, 16);
score_kernel!(score_32, 32);
score_kernel!(score_40, 40);
score_kernel!(score_48, 48);
score_kernel!(score_64, 64);
score_kernel!(score_128, 128);

fn score_block(unit: &[u8], q: &[i16], scale: f32, turns: usize, out: &mut [f32]) {
    let n = q.len();
    assert!(
        turns <= BLOCK / 8 && out.len() >= BLOCK && unit.len() == unit_bytes(n),
        "lengths"
    );
    let kernel = match n {
        16 => score_8,
        32 => score_16,
        64 => score_32,
        80 => score_40,
        96 => score_48,
        128 => score_64,
        256 => score_128,
        _ => unreachable!("Config admits only these head sizes"),
    };
    let scales = unit[2 * half_bytes(n)..].as_ptr().cast::<f32>();
    // SAFETY: a unit has BLOCK positions of n dimensions and their scales; lengths were checked.
    unsafe {
        kernel(
            unit.as_ptr(),
            scales,
            q.as_ptr(),
            scale,
            turns,
            out.as_mut_ptr(),
        )
    }
}

/// `out += scale × Σ_p weights[p] · value_p` over a block.
#[inline(never)]
fn add_values(values: &[u8], weights: &[i16; BLOCK], scale: f32, out: &mut [f32]) {
    let n = out.len();
    assert!(values.len() >= half_bytes(n), "lengths");
    let row = n * 4;
    // SAFETY: for each of 32 position pairs there are n × 4 bytes; head sizes are multiples of 8.
    unsafe {
        seq!(N in 0..32 { let w~N = V128::load_splat_32(weights.as_ptr().add(2 * N)); });
        let scale = V128::splat_f32(scale);
        let (mut p, mut out) = (values.as_ptr(), out.as_mut_ptr());
        let end = out.add(n & !7);
        macro_rules! rows {
            ($row:expr) => {
                while out != end {
                    let sum = V128::zero();
                    seq!(N in 0..32 {
                        let sum = sum.add_i32(V128::load(p.add($row * N)).dot_i16(w~N));
                    });
                    V128::load(out).add(sum.i32_to_f32().mul(scale)).store(out);
                    let sum = V128::zero();
                    seq!(N in 0..32 {
                        let sum = sum.add_i32(V128::load(p.add($row * N + 16)).dot_i16(w~N));
                    });
                    let second = out.add(4);
                    V128::load(second).add(sum.i32_to_f32().mul(scale)).store(second);
                    p = p.add(32);
                    out = out.add(8);
                }
            };
        }
        // Constant row lengths fold into the loads' offsets.
        match n {
            64 => rows!(256),
            128 => rows!(512),
            256 => rows!(1024),
            _ => rows!(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vectors(n: usize, count: usize, seed: u64, size: f32) -> Vec<Vec<f32>> {
        let mut s = seed | 1;
        let mut next = move || {
            s = s
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((s >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * size
        };
        (0..count)
            .map(|_| (0..n).map(|_| next()).collect())
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn attention_is_its_formula(
            n in proptest::sample::select(HEAD_DIMS.to_vec()),
            positions in 1usize..300,
            start in 0usize..300,
            size in proptest::sample::select(vec![0.1f32, 1.0, 8.0]),
            seed in any::<u64>(),
        ) {
            let start = start.min(positions - 1);
            let ks = vectors(n, positions, seed, size);
            let vs = vectors(n, positions, seed ^ 77, 1.0);
            let q = &vectors(n, 1, seed ^ 99, size)[0];
            let mut units = vec![vec![0xffu8; unit_bytes(n)]; positions.div_ceil(BLOCK)];
            for p in 0..positions {
                write_row(&mut units[p / BLOCK], p % BLOCK, &ks[p], &vs[p]);
            }
            let scale = 1.0 / (n as f32).sqrt();
            let mut out = vec![0f32; n];
            attend(q, scale, |b| &units[b], start..positions, &mut Scratch::new(n), &mut out);

            let scores: Vec<f64> = ks[start..].iter()
                .map(|k| k.iter().zip(q).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() * f64::from(scale))
                .collect();
            let max = scores.iter().copied().fold(f64::MIN, f64::max);
            let e: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let total: f64 = e.iter().sum();
            for d in 0..n {
                let expected: f64 =
                    e.iter().zip(&vs[start..]).map(|(e, v)| e * f64::from(v[d])).sum::<f64>() / total;
                prop_assert!((f64::from(out[d]) - expected).abs() < 2e-3, "{} {expected}", out[d]);
            }
        }
    }
}

//! From logits to a token. Without state: the n-th draw of a seed is always the same, so a
//! generation can stop and go on anywhere.

use crate::Error;
use crate::kernels::exp::exp;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use weights::simd::{V128, Vector};

/// Tokens the repetition penalty looks back on.
pub const PENALTY_WINDOW: usize = 64;
/// Candidates this much less likely than the first are not considered (e^-25).
const NEGLIGIBLE: f32 = 1.4e-11;

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerOptions {
    /// 0: the most likely token, always (greedy decoding).
    pub temperature: f32,
    /// Only the k most likely; 0: all.
    pub top_k: u32,
    /// Only the most likely that together have this probability; 1: all.
    pub top_p: f32,
    /// Divides positive and multiplies negative logits of recent tokens; 1: nothing.
    pub repetition_penalty: f32,
    /// Of the random numbers.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

impl SamplerOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], naming the option.
    pub fn validate(&self) -> Result<(), Error> {
        let within = |name: &str, v: f32, min: f32, max: f32| {
            if v >= min && v <= max {
                return Ok(());
            }
            Err(Error::InvalidArgument(format!(
                "{name} is {v}: it must be {min} to {max}"
            )))
        };
        within("temperature", self.temperature, 0.0, 100.0)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("repetition_penalty", self.repetition_penalty, 0.1, 10.0)
    }

    /// Returns the chosen token. `logits` are changed; `recent` are the tokens before, newest last; `draw`
    /// counts the tokens sampled in this generation.
    ///
    /// ```
    /// use engine::SamplerOptions;
    /// let greedy = SamplerOptions::default();
    /// assert_eq!(greedy.sample(&mut [0.1, 2.0, -1.0], &[], 0), 1);
    /// ```
    pub fn sample(&self, logits: &mut [f32], recent: &[u32], draw: u64) -> u32 {
        if self.repetition_penalty != 1.0 {
            self.penalize(logits, recent);
        }
        let best = argmax(logits);
        if self.temperature <= 0.0 {
            return best;
        }
        weigh(logits, logits[best as usize], 1.0 / self.temperature);
        let u = self.uniform(draw);
        if self.top_k == 0 && self.top_p >= 1.0 {
            return pick(logits.iter().copied().zip(0..), u).unwrap_or(best);
        }
        let candidates = self.candidates(logits);
        pick(candidates.into_iter(), u).unwrap_or(best)
    }

    fn penalize(&self, logits: &mut [f32], recent: &[u32]) {
        let mut seen = recent[recent.len().saturating_sub(PENALTY_WINDOW)..].to_vec();
        seen.sort_unstable();
        seen.dedup();
        for t in seen {
            if let Some(l) = logits.get_mut(t as usize) {
                *l = if *l > 0.0 {
                    *l / self.repetition_penalty
                } else {
                    *l * self.repetition_penalty
                };
            }
        }
    }

    /// The draw-th number of the seed, in [0, 1).
    fn uniform(&self, draw: u64) -> f32 {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_word_pos(u128::from(draw));
        (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Weights and tokens that top-k and top-p leave, likeliest first.
    fn candidates(&self, weights: &[f32]) -> Vec<(f32, u32)> {
        let mut list: Vec<(f32, u32)> = weights
            .iter()
            .copied()
            .zip(0u32..)
            .filter(|(w, _)| *w > NEGLIGIBLE)
            .collect();
        let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let k = if self.top_k == 0 {
            list.len()
        } else {
            (self.top_k as usize).min(list.len())
        };
        if k < list.len() {
            list.select_nth_unstable_by(k, order);
            list.truncate(k);
        }
        list.sort_unstable_by(order);
        if self.top_p < 1.0 {
            let limit = self.top_p * list.iter().map(|c| c.0).sum::<f32>();
            let mut sum = 0.0;
            let keep = list.iter().take_while(|c| {
                let before = sum;
                sum += c.0;
                before < limit
            });
            let n = keep.count().max(1);
            list.truncate(n);
        }
        list
    }
}

/// The candidate at share `u` of the total weight.
fn pick(candidates: impl Iterator<Item = (f32, u32)> + Clone, u: f32) -> Option<u32> {
    let total: f32 = candidates.clone().map(|c| c.0).sum();
    let mut left = u * total;
    let mut last = None;
    for (w, token) in candidates {
        if w > 0.0 {
            last = Some(token);
        }
        left -= w;
        if left < 0.0 {
            return Some(token);
        }
    }
    last
}

/// `logits[i] = e^((logits[i] - max) × factor)`.
fn weigh(logits: &mut [f32], max: f32, factor: f32) {
    let (max, factor) = (V128::splat_f32(max), V128::splat_f32(factor));
    let (quads, rest) = logits.as_chunks_mut::<4>();
    for q in quads {
        // SAFETY: a chunk is four floats.
        unsafe { exp(V128::load(q.as_ptr()).sub(max).mul(factor)).store(q.as_mut_ptr()) };
    }
    for x in rest {
        *x = exp(V128::splat_f32(*x).sub(max).mul(factor)).to_f32()[0];
    }
}

/// Returns the index of the largest value, the first of equals.
pub fn argmax(values: &[f32]) -> u32 {
    const BLOCK: usize = 512;
    let mut best = f32::NEG_INFINITY;
    let mut best_block = 0;
    for (b, block) in values.chunks(BLOCK).enumerate() {
        let (quads, rest) = block.as_chunks::<4>();
        let mut max = V128::splat_f32(f32::NEG_INFINITY);
        for q in quads {
            // SAFETY: a chunk is four floats.
            max = max.pmax(unsafe { V128::load(q.as_ptr()) });
        }
        let max = rest
            .iter()
            .fold(max.max_f32(), |m, v| if m < *v { *v } else { m });
        if best < max {
            (best, best_block) = (max, b);
        }
    }
    let start = best_block * BLOCK;
    let within = values[start..].iter().position(|v| *v == best).unwrap_or(0);
    (start + within) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn argmax_is_the_first_largest(values in proptest::collection::vec(-5i8..5, 1..2000)) {
            let values: Vec<f32> = values.into_iter().map(f32::from).collect();
            let max = values.iter().copied().fold(f32::MIN, f32::max);
            let expected = values.iter().position(|v| *v == max).unwrap();
            prop_assert_eq!(argmax(&values) as usize, expected);
        }

        #[test]
        fn top_k_and_top_p_keep_only_the_likeliest(
            logits in proptest::collection::vec(-4f32..4.0, 8..300),
            k in 1u32..8, seed in any::<u64>(), draw in 0u64..100,
        ) {
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            let o = SamplerOptions { temperature: 1.0, top_k: k, seed, ..Default::default() };
            let t = o.sample(&mut logits.clone(), &[], draw) as usize;
            prop_assert!(order[..k as usize].iter().any(|i| logits[*i] == logits[t]));
            prop_assert_eq!(o.sample(&mut logits.clone(), &[], draw) as usize, t);
            let narrow = SamplerOptions { temperature: 1.0, top_p: 1e-6, seed, ..Default::default() };
            prop_assert_eq!(logits[narrow.sample(&mut logits.clone(), &[], draw) as usize], logits[order[0]]);
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let o = SamplerOptions {
            temperature: 1.0,
            seed: 7,
            ..Default::default()
        };
        let n = 20_000;
        let mut counts = [0f32; 4];
        for draw in 0..n {
            let mut logits = [0.0, 1.0, 2.0, -1.0];
            counts[o.sample(&mut logits, &[], draw) as usize] += 1.0;
        }
        let e: Vec<f32> = [0.0f32, 1.0, 2.0, -1.0].iter().map(|l| l.exp()).collect();
        let total: f32 = e.iter().sum();
        for (c, e) in counts.iter().zip(e) {
            assert!((c / n as f32 - e / total).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn the_penalty_lowers_recent_tokens() {
        let o = SamplerOptions {
            repetition_penalty: 2.0,
            ..Default::default()
        };
        assert_eq!(o.sample(&mut [1.0, 1.5, -3.0], &[1], 0), 0);
        assert_eq!(o.sample(&mut [-2.0, -1.5, -3.0], &[1], 0), 0);
    }
}

//! Rotary position embedding, from a table made once a token.

use crate::config::{RopePairs, RopeScaling};

/// Cosines and sines of one position's angles.
pub struct RopeTable {
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// base^(-2i/n) for each pair i.
    frequencies: Vec<f64>,
    /// Factor on cosines and sines.
    magnitude: f32,
}

impl RopeTable {
    /// For heads of `head_dim`.
    pub fn new(head_dim: usize, base: f64, scaling: Option<&RopeScaling>) -> Self {
        let pairs = head_dim / 2;
        let factor = scaling.map_or(1.0, |s| s.factor);
        let kept = |i: usize| match scaling.and_then(|s| s.yarn) {
            Some(yarn) => {
                // The pair whose angle turns so many times in the original context.
                let pair = |turns: f64| {
                    let length = yarn.original_context / (turns * std::f64::consts::TAU);
                    head_dim as f64 * libm::log(length) / (2.0 * libm::log(base))
                };
                let first = libm::floor(pair(yarn.beta_fast)).max(0.0);
                let last = libm::ceil(pair(yarn.beta_slow)).min(head_dim as f64 - 1.0);
                let along = (i as f64 - first) / (last - first).max(0.001);
                1.0 - along.clamp(0.0, 1.0)
            }
            None => 0.0,
        };
        let frequencies = (0..pairs)
            .map(|i| {
                let frequency = libm::pow(base, -((2 * i) as f64) / head_dim as f64);
                match kept(i) {
                    0.0 => frequency / factor,
                    kept => frequency / factor * (1.0 - kept) + frequency * kept,
                }
            })
            .collect();
        Self {
            cos: vec![0.0; pairs],
            sin: vec![0.0; pairs],
            frequencies,
            magnitude: scaling.map_or(1.0, |s| s.magnitude) as f32,
        }
    }

    /// Sets the table to `position`; `factors` divide the frequencies, where a model has them.
    pub fn set(&mut self, position: usize, factors: Option<&[f32]>) {
        for (i, f) in self.frequencies.iter().enumerate() {
            let factor = factors
                .and_then(|f| f.get(i))
                .map_or(1.0, |f| f64::from(*f));
            let (sin, cos) = libm::sincos(position as f64 * f / factor);
            self.sin[i] = sin as f32 * self.magnitude;
            self.cos[i] = cos as f32 * self.magnitude;
        }
    }

    /// Rotates every head of `x`.
    pub fn rotate(&self, kind: RopePairs, x: &mut [f32]) {
        let pairs = self.cos.len();
        for head in x.chunks_exact_mut(2 * pairs) {
            match kind {
                RopePairs::Interleaved => {
                    let (xs, _) = head.as_chunks_mut::<2>();
                    for ((x, c), s) in xs.iter_mut().zip(&self.cos).zip(&self.sin) {
                        let [a, b] = *x;
                        *x = [a * c - b * s, a * s + b * c];
                    }
                }
                RopePairs::Halves => {
                    let (lo, hi) = head.split_at_mut(pairs);
                    for (((a, b), c), s) in lo.iter_mut().zip(hi).zip(&self.cos).zip(&self.sin) {
                        (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
                    }
                }
            }
        }
    }
}

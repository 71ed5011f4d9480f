//! Rotary position embedding, from a table made once a token.

use crate::config::RopePairs;

/// Cosines and sines of one position's angles.
pub struct RopeTable {
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// base^(-2i/n) for each pair i.
    frequencies: Vec<f64>,
}

impl RopeTable {
    /// For heads of `head_dim`; positions count as `scale` times less.
    pub fn new(head_dim: usize, base: f64, scale: f64) -> Self {
        let pairs = head_dim / 2;
        let frequencies = (0..pairs)
            .map(|i| libm::pow(base, -((2 * i) as f64) / head_dim as f64) / scale)
            .collect();
        Self {
            cos: vec![0.0; pairs],
            sin: vec![0.0; pairs],
            frequencies,
        }
    }

    /// Sets the table to `position`; `factors` divide the frequencies, where a model has them.
    pub fn set(&mut self, position: usize, factors: Option<&[f32]>) {
        for (i, f) in self.frequencies.iter().enumerate() {
            let factor = factors
                .and_then(|f| f.get(i))
                .map_or(1.0, |f| f64::from(*f));
            let (sin, cos) = libm::sincos(position as f64 * f / factor);
            (self.sin[i], self.cos[i]) = (sin as f32, cos as f32);
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

//! Rotary position embedding (RoPE, arXiv 2104.09864), from a table made once for each token.

/// Which dimensions of a head of `n` RoPE rotates together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// (0, 1), (2, 3), …
    Interleaved,
    /// (0, n/2), (1, n/2 + 1), …
    Halves,
}

/// Cosines and sines of one position's angles, one for each pair of dimensions.
pub struct RopeTable {
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// Radians that each pair turns at each position.
    frequencies: Vec<f64>,
    /// Factor on cosines and sines.
    magnitude: f32,
}

impl RopeTable {
    /// Returns a table of these frequencies (radians at each position), one for each pair of dimensions.
    /// What it rotates is multiplied by `magnitude`.
    ///
    /// ```
    /// use engine::kernels::rope::{RopePairs, RopeTable};
    /// let mut table = RopeTable::new(vec![std::f64::consts::FRAC_PI_2], 1.0);
    /// table.set(1, None);
    /// let mut head = [1.0, 0.0];
    /// table.rotate(RopePairs::Halves, &mut head);
    /// assert!(head[0].abs() < 1e-6 && head[1] == 1.0);
    /// ```
    pub fn new(frequencies: Vec<f64>, magnitude: f32) -> Self {
        Self {
            cos: vec![0.0; frequencies.len()],
            sin: vec![0.0; frequencies.len()],
            frequencies,
            magnitude,
        }
    }

    /// Sets the table to `position`. The frequencies are divided by `divisors`, if a model has them.
    pub fn set(&mut self, position: usize, divisors: Option<&[f32]>) {
        for (i, f) in self.frequencies.iter().enumerate() {
            let divisor = divisors
                .and_then(|d| d.get(i))
                .map_or(1.0, |d| f64::from(*d));
            let (sin, cos) = libm::sincos(position as f64 * f / divisor);
            self.sin[i] = sin as f32 * self.magnitude;
            self.cos[i] = cos as f32 * self.magnitude;
        }
    }

    /// Rotates every head of `x`, `[heads, 2 × pairs]`.
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

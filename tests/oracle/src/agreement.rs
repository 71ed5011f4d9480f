//! How close two sets of logits are.

/// Agreement over the positions of one text.
#[derive(Debug, Default, Clone)]
pub struct Agreement {
    /// Positions compared.
    pub positions: usize,
    /// Positions at which both have the same likeliest token.
    pub same_top: usize,
    /// Sum of the Kullback-Leibler divergences (nats) of ours from the reference.
    pub kl: f64,
    /// Sum of -ln p(next token), ours and the reference's.
    pub nll: f64,
    /// The reference's negative log-likelihood of the text (nats, summed).
    pub reference_nll: f64,
}

impl Agreement {
    /// Adds a position; `next` is the token that follows in the text.
    pub fn add(&mut self, ours: &[f32], reference: &[f32], next: u32) {
        let (a, b) = (log_softmax(ours), log_softmax(reference));
        self.positions += 1;
        self.same_top += usize::from(top(ours) == top(reference));
        self.kl += b
            .iter()
            .zip(&a)
            .map(|(b, a)| b.exp() * (b - a))
            .sum::<f64>();
        self.nll -= a[next as usize];
        self.reference_nll -= b[next as usize];
    }

    /// Share of positions with the same likeliest token.
    pub fn top1(&self) -> f64 {
        self.same_top as f64 / self.positions as f64
    }

    /// Our perplexity.
    pub fn perplexity(&self) -> f64 {
        (self.nll / self.positions as f64).exp()
    }

    /// The reference's perplexity.
    pub fn reference_perplexity(&self) -> f64 {
        (self.reference_nll / self.positions as f64).exp()
    }

    /// Mean divergence.
    pub fn mean_kl(&self) -> f64 {
        self.kl / self.positions as f64
    }
}

/// Index of the largest.
pub fn top(logits: &[f32]) -> usize {
    engine::inference::sampler::argmax(logits) as usize
}

/// How far the largest logit is above the second.
pub fn margin(logits: &[f32]) -> f32 {
    let best = top(logits);
    let others = logits
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != best)
        .map(|(_, l)| *l);
    logits[best] - others.fold(f32::MIN, f32::max)
}

/// Logarithms of the probabilities.
pub fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    logits
        .iter()
        .map(|l| f64::from(l - max) - sum.ln())
        .collect()
}

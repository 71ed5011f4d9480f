//! The gates of the feed-forward network.

use super::exp::exp;
use weights::simd::{V128, Vector};

/// The gate of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// SwiGLU (arXiv 2002.05202): `x · sigmoid(x)`.
    Silu,
    /// GeGLU with the tanh approximation of GELU (arXiv 1606.08415).
    GeluTanh,
}

/// `gate[i] = f(gate[i]) × up[i]`, with f the activation.
///
/// # Panics
/// If the lengths differ. They must be multiples of 4.
pub fn gate(kind: Activation, gate: &mut [f32], up: &[f32]) {
    assert!(gate.len() == up.len(), "lengths");
    match kind {
        Activation::Silu => each(gate, up, |g| g),
        // gelu(x) = x · sigmoid(2u), u = √(2/π) (x + 0.044715 x³)
        Activation::GeluTanh => each(gate, up, |g| {
            let cubic = g
                .mul(g)
                .mul(V128::splat_f32(0.071_354_814))
                .add(V128::splat_f32(1.595_769));
            g.mul(cubic)
        }),
    }
}

/// `gate = gate × up / (1 + e^-argument(gate))`.
#[inline(always)]
fn each(gate: &mut [f32], up: &[f32], argument: impl Fn(V128) -> V128) {
    let one = V128::splat_f32(1.0);
    // e^-a for a below -80 would leave the exponential's range; the sigmoid is zero there anyway.
    let lowest = V128::splat_f32(-80.0);
    for i in (0..gate.len() & !3).step_by(4) {
        // SAFETY: i + 4 <= the lengths, which are equal.
        unsafe {
            let g = V128::load(gate.as_ptr().add(i));
            let a = argument(g).pmax(lowest);
            let e = exp(V128::zero().sub(a));
            let v = g.mul(V128::load(up.as_ptr().add(i))).div(e.add(one));
            v.store(gate.as_mut_ptr().add(i));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_their_formulas() {
        for i in -400..400 {
            let x = i as f32 * 0.25;
            for kind in [Activation::Silu, Activation::GeluTanh] {
                let mut g = [x; 4];
                gate(kind, &mut g, &[2.0; 4]);
                let x = f64::from(x);
                let expected = 2.0
                    * match kind {
                        Activation::Silu => x / (1.0 + (-x).exp()),
                        Activation::GeluTanh => {
                            let u =
                                (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                            0.5 * x * (1.0 + u.tanh())
                        }
                    };
                let got = f64::from(g[0]);
                assert!(
                    (got - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                    "{x}: {got} {expected}"
                );
            }
        }
    }
}

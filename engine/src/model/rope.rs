//! RoPE's frequencies: the base, and how they are scaled for long contexts.

use crate::{Error, unsupported};
use weights::GgufFile;

/// How RoPE's angles are changed for contexts longer than those of the first training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeScaling {
    /// Positions are divided by this.
    pub factor: f64,
    /// YaRN: only slow angles are scaled.
    pub yarn: Option<Yarn>,
    /// Rotated queries and keys are multiplied by this.
    pub magnitude: f64,
    /// The tensor of numbers that frequencies are divided by, one for each pair of dimensions.
    pub divisors: Option<&'static str>,
}

/// Which angles YaRN (arXiv 2309.00071) leaves as they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// The context of the first training (tokens).
    pub original_context: f64,
    /// Angles that turn more often than this in it are left.
    pub beta_fast: f64,
    /// Those that turn less often are scaled; the ones in between, in part.
    pub beta_slow: f64,
}

impl RopeScaling {
    /// No scaling.
    pub const NONE: Self = Self {
        factor: 1.0,
        yarn: None,
        magnitude: 1.0,
        divisors: None,
    };

    /// Returns the angle that each pair of dimensions turns at each position, in radians:
    /// `base^(-2i/n)` for pair i of a head of `n` dimensions (arXiv 2104.09864), scaled. YaRN's ramp is
    /// that of `rope_yarn` in ggml.
    ///
    /// ```
    /// use engine::model::rope::RopeScaling;
    /// let f = RopeScaling::NONE.frequencies(4, 10_000.0);
    /// assert_eq!(f, [1.0, 0.01]);
    /// ```
    pub fn frequencies(&self, head_dim: usize, base: f64) -> Vec<f64> {
        let kept = |i: usize| match self.yarn {
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
        (0..head_dim / 2)
            .map(|i| {
                let frequency = libm::pow(base, -((2 * i) as f64) / head_dim as f64);
                match kept(i) {
                    0.0 => frequency / self.factor,
                    kept => frequency / self.factor * (1.0 - kept) + frequency * kept,
                }
            })
            .collect()
    }

    /// Reads the keys of `rope.scaling` as llama.cpp does.
    ///
    /// # Errors
    /// [`weights::Error::Unsupported`], naming the key.
    pub fn from_gguf(file: &GgufFile, architecture: &str) -> Result<Self, Error> {
        let key = |k: &str| format!("{architecture}.rope.{k}");
        let positive = |k: &str| match file.float(&key(k)) {
            Some(v) if v.is_finite() && v > 0.0 && v <= 1e6 => Ok(Some(v)),
            Some(v) => Err(unsupported(format!("{} is {v}", key(k)))),
            None => Ok(None),
        };
        // Without a type a factor is a linear one. A factor of 0 means none, and the type "none" overrides
        // any factor.
        let kind = file.string(&key("scaling.type")).unwrap_or("linear");
        let scale = |k: &str| match file.float(&key(k)) {
            Some(0.0) => Ok(Some(1.0)),
            _ => positive(k),
        };
        let factor = match scale("scaling.factor")? {
            Some(factor) => factor,
            None => scale("scale_linear")?.unwrap_or(1.0),
        };
        let factor = if kind == "none" { 1.0 } else { factor };
        let magnitude = match positive("scaling.attn_factor")? {
            Some(magnitude) => magnitude,
            None => positive("scaling.yarn_attn_factor")?.unwrap_or(1.0),
        };
        // Without a key of its own, the context of the first training is the model's.
        let original_context = file
            .uint(&key("scaling.original_context_length"))
            .or_else(|| file.uint(&format!("{architecture}.context_length")))
            .filter(|n| (1..=1 << 20).contains(n));
        let tables = ["rope_factors_short.weight", "rope_factors_long.weight"];
        let tables = tables.map(|t| file.tensors.get_key_value(t).map(|_| t));
        let scaling = Self {
            factor,
            yarn: None,
            magnitude,
            divisors: None,
        };
        let original = || {
            original_context.ok_or_else(|| {
                let key = key("scaling.original_context_length");
                unsupported(format!("{key} is missing or out of range"))
            })
        };
        match (kind, tables) {
            ("none" | "linear" | "longrope" | "su", [Some(short), Some(long)]) => {
                let context = file.uint(&format!("{architecture}.context_length"));
                // One of the two holds for all positions: a cache has rows of one kind.
                let divisors = match context.unwrap_or(0) > original()? {
                    true => long,
                    false => short,
                };
                Ok(Self {
                    factor: 1.0,
                    divisors: Some(divisors),
                    ..scaling
                })
            }
            ("none" | "linear", [None, None]) => Ok(Self {
                divisors: file
                    .tensors
                    .contains_key("rope_freqs.weight")
                    .then_some("rope_freqs.weight"),
                ..scaling
            }),
            ("yarn", [None, None]) => Ok(Self {
                yarn: Some(Yarn {
                    original_context: original()? as f64,
                    beta_fast: positive("scaling.yarn_beta_fast")?.unwrap_or(32.0),
                    beta_slow: positive("scaling.yarn_beta_slow")?.unwrap_or(1.0),
                }),
                magnitude: magnitude * (1.0 + 0.1 * libm::log(factor)),
                ..scaling
            }),
            _ => Err(unsupported(format!(
                "{} {kind} is not supported",
                key("scaling.type")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weights::Value;

    fn read(entries: &[(&str, Value)]) -> Result<RopeScaling, Error> {
        let entries = entries.iter().cloned();
        let metadata = entries.map(|(k, v)| (format!("llama.{k}"), v)).collect();
        let file = GgufFile {
            version: 3,
            metadata,
            tensors: Default::default(),
        };
        RopeScaling::from_gguf(&file, "llama")
    }

    /// As in llama.cpp: `llama_model_base::load_hparams` and the context's parameters.
    #[test]
    fn edges_of_scaling_are_llama_cpp_s() -> Result<(), Error> {
        let kind = |k: &str| ("rope.scaling.type", Value::String(k.into()));
        let factor = |v| ("rope.scaling.factor", v);
        assert_eq!(
            read(&[kind("none"), factor(Value::Float(4.0))])?.factor,
            1.0
        );
        assert_eq!(
            read(&[kind("linear"), factor(Value::Float(0.0))])?.factor,
            1.0
        );
        assert_eq!(read(&[factor(Value::Float(4.0))])?.factor, 4.0);
        assert_eq!(read(&[factor(Value::Uint(4))])?.factor, 4.0);
        assert!(read(&[factor(Value::Float(-1.0))]).is_err());
        let yarn = read(&[
            kind("yarn"),
            factor(Value::Int(2)),
            ("context_length", Value::Float(512.0)),
        ])?;
        assert_eq!(yarn.yarn.map(|y| y.original_context), Some(512.0));
        Ok(())
    }
}

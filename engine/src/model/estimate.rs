//! What a model will need and cost, estimated from its file's header alone, before anything is uploaded.
//!
//! The figures per unit of work are measured in the compiled canister (bench/figures.json); the tests
//! hold the estimates to within 10 % of what the canister then shows.

use super::config::Config;
use super::layout::{Layout, Matrix};
use crate::Error;
use crate::kernels::linear::passes;
use weights::{ByteSource, GgufFile};

/// Instructions of one column pair of a row group in the inner loop (8 multiply-accumulates), and of a
/// pass over a row group besides.
const PAIR: f64 = 5.0;
const PASS: f64 = 25.0;
/// Instructions of a value in vectors: norms, quantization, gates, RoPE.
const VALUE: f64 = 17.0;
/// Instructions of a logit: the head's scale, sampling.
const LOGIT: f64 = 14.0;
/// Instructions of a multiply-accumulate of attention.
const ATTENTION: f64 = 0.965;
/// Instructions of a byte of the file: receiving, SHA-256.
const RECEIVE: f64 = 4.58;
const HASH: f64 = 77.3;
/// Instructions of packing a weight, of storing and filling a packed byte, of a token of the vocabulary,
/// of a merge.
const PACK: f64 = 2.8;
const STORE: f64 = 1.65;
const FILL: f64 = 1.3;
const TOKEN: f64 = 1_010.0;
const MERGE: f64 = 715.0;
/// Bytes of heap that do not depend on the model: program, stack, buffers.
const PROGRAM_BYTES: u64 = 12 << 20;
/// Bytes of heap of a token or a merge besides its text.
const TOKEN_BYTES: u64 = 40;

/// What a model needs and costs.
///
/// ```no_run
/// use engine::model::Estimate;
/// use weights::gguf::source::FileSource;
/// let estimate = Estimate::of(&FileSource::open("model.gguf")?)?;
/// println!("{} instructions a token", estimate.decode_instructions(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Number of weights.
    pub parameters: u64,
    /// Number of layers.
    pub layers: usize,
    /// Number of tokens.
    pub vocabulary: usize,
    /// Longest context of the model (tokens).
    pub context_length: usize,
    /// Packed weights (bytes): in the heap, and once more in stable memory.
    pub packed_bytes: u64,
    /// Heap (bytes) of the canister with this model ready and nothing running.
    pub heap_bytes: u64,
    /// Stable memory (bytes) of file and packed weights.
    pub stable_bytes: u64,
    /// KV cache of a token (bytes), in the heap while it is generated and in stable memory.
    pub kv_bytes_per_token: u64,
    /// Instructions from the first chunk to ready.
    pub load_instructions: u64,
    /// Instructions to fill the heap again after an upgrade.
    pub restore_instructions: u64,
    config: Config,
    layers_work: f64,
    head_work: f64,
}

fn matrix(m: &Matrix) -> f64 {
    let groups = m.shape.groups() as f64;
    groups * (m.shape.pairs() as f64 * PAIR + passes(m.shape.pairs()) as f64 * PASS)
}

impl Estimate {
    /// Reads the header, and the vocabulary's length in bytes.
    ///
    /// # Errors
    /// Those of a model that this engine cannot run.
    pub fn of<S: ByteSource + ?Sized>(source: &S) -> Result<Self, Error> {
        let file = GgufFile::read(source)?;
        let config = Config::from_gguf(&file)?;
        let layout = Layout::new(&file, &config)?;
        let c = &config;
        let values = 4 * c.dim + 2 * (c.q_dim() + c.kv_dim()) + 2 * c.ffn_dim;
        let layers_work: f64 = layout
            .layers
            .iter()
            .map(|l| {
                let [input, output] = l.mixer.matrices();
                let matrices = [input, output, &l.gate_up, &l.down];
                matrices.map(matrix).iter().sum::<f64>() + values as f64 * VALUE
            })
            .sum();
        let head_work = matrix(&layout.head) + c.vocabulary as f64 * LOGIT;
        let (packed, len) = (layout.bytes as f64, source.len() as f64);
        let mut text_bytes = 0;
        file.for_each_string(source, "tokenizer.ggml.tokens", |_, token| {
            text_bytes += token.len() as u64;
            Ok(())
        })?;
        let merges = file.array_len("tokenizer.ggml.merges").unwrap_or(0);
        let tokens = c.vocabulary as f64 * TOKEN + merges as f64 * MERGE;
        let tokenizer = text_bytes + (c.vocabulary as u64 + merges) * TOKEN_BYTES;
        let load =
            len * (RECEIVE + HASH) + layout.parameters as f64 * PACK + packed * STORE + tokens;
        let kv = c.kv_shape().block_bytes() as u64;
        Ok(Self {
            architecture: c.family.name,
            parameters: layout.parameters,
            layers: c.layers,
            vocabulary: c.vocabulary,
            context_length: c.context_length,
            packed_bytes: layout.bytes,
            heap_bytes: layout.bytes + tokenizer + PROGRAM_BYTES,
            stable_bytes: source.len() + layout.bytes,
            kv_bytes_per_token: kv / crate::kernels::attention::BLOCK as u64,
            load_instructions: load as u64,
            restore_instructions: (packed * FILL + tokens) as u64,
            layers_work,
            head_work,
            config,
        })
    }

    /// Returns the instructions of attention for the token at `position` (the number of tokens before it).
    fn attention(&self, position: usize) -> f64 {
        let c = &self.config;
        let seen: usize = (0..c.layers)
            .map(|layer| match c.window(layer) {
                Some(window) => (position + 1).min(window.size),
                None => position + 1,
            })
            .sum();
        2.0 * (seen * c.heads * c.head_dim) as f64 * ATTENTION
    }

    /// Returns the instructions to generate the token at `position` (the number of tokens before it).
    pub fn decode_instructions(&self, position: usize) -> u64 {
        (self.layers_work + self.head_work + self.attention(position)) as u64
    }

    /// Returns the instructions to read a prompt's token at `position`.
    pub fn prefill_instructions(&self, position: usize) -> u64 {
        (self.layers_work + self.attention(position)) as u64
    }
}

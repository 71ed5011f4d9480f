//! Where each part of a packed model lies: one region of bytes, the same in the heap and in whatever
//! keeps it, derived from the file's header alone.
//!
//! Shapes are `[rows, columns]`: a matrix maps a vector of `columns` values to one of `rows`.

use super::config::Config;
use super::short_conv::{self, ShortConvLayer};
use crate::{Error, unsupported};
use weights::pack::{MAX_COLS, PackedShape};
use weights::{GgufFile, TensorInfo};

/// A packed matrix in the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    /// Rows and columns.
    pub shape: PackedShape,
    /// Byte offset in the region.
    pub offset: usize,
}

/// `f32` values in the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vector {
    /// Number of values.
    pub len: usize,
    /// Byte offset in the region.
    pub offset: usize,
}

/// One layer's parts.
#[derive(Debug, Clone)]
pub struct Layer {
    /// RMSNorm before the mixer, `[dim]`.
    pub attention_norm: Vector,
    /// What mixes positions.
    pub mixer: Mixer,
    /// RMSNorm after the mixer, `[dim]`.
    pub post_attention_norm: Option<Vector>,
    /// RMSNorm before the feed-forward network, `[dim]`.
    pub ffn_norm: Vector,
    /// Gate and up, stacked: `[2 × ffn_dim, dim]`.
    pub gate_up: Matrix,
    /// `[dim, ffn_dim]`.
    pub down: Matrix,
    /// RMSNorm after the feed-forward network, `[dim]`.
    pub post_ffn_norm: Option<Vector>,
}

/// The part of a layer that mixes positions.
#[derive(Debug, Clone)]
pub enum Mixer {
    /// Attention.
    Attention(AttentionLayer),
    /// A short convolution.
    ShortConv(ShortConvLayer),
}

impl Mixer {
    /// Returns the matrices before and after the mixing.
    pub fn matrices(&self) -> [&Matrix; 2] {
        match self {
            Self::Attention(a) => [&a.qkv, &a.output],
            Self::ShortConv(c) => [&c.input, &c.output],
        }
    }
}

/// The weights of a layer's attention.
#[derive(Debug, Clone)]
pub struct AttentionLayer {
    /// Queries, keys and values, stacked: `[(heads + 2 × kv_heads) × head_dim, dim]`.
    pub qkv: Matrix,
    /// Added to queries, keys and values.
    pub qkv_bias: Option<[Vector; 3]>,
    /// RMSNorm of each query head, `[head_dim]`.
    pub q_norm: Option<Vector>,
    /// RMSNorm of each key head, `[head_dim]`.
    pub k_norm: Option<Vector>,
    /// `[dim, heads × head_dim]`.
    pub output: Matrix,
}

/// What fills a part of the region.
#[derive(Debug, Clone)]
pub enum Content {
    /// Rows of these tensors, one tensor after the other.
    Matrix(Matrix, Vec<(String, TensorInfo)>),
    /// The values of this tensor.
    Vector(Vector, String, TensorInfo),
}

/// The whole region.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Token embedding `[vocabulary, dim]`; also the output head if that is tied.
    pub embedding: Matrix,
    /// The output head `[vocabulary, dim]`.
    pub head: Matrix,
    /// RMSNorm before the head, `[dim]`.
    pub output_norm: Vector,
    /// Divisors of RoPE's frequencies, one for each pair of dimensions: `[head_dim / 2]`.
    pub rope_factors: Option<Vector>,
    /// The layers in order.
    pub layers: Vec<Layer>,
    /// Every part, by offset.
    pub contents: Vec<Content>,
    /// Bytes of the region.
    pub bytes: u64,
    /// Number of weights in the tensors that are used.
    pub parameters: u64,
}

/// Allocates offsets and keeps the list of contents.
pub(super) struct Builder<'a> {
    file: &'a GgufFile,
    contents: Vec<Content>,
    end: u64,
    parameters: u64,
}

impl Builder<'_> {
    /// Returns `true` if the file has a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.file.tensors.contains_key(name)
    }

    fn allocate(&mut self, bytes: u64) -> Result<usize, Error> {
        let offset = self.end.next_multiple_of(64);
        self.end = offset.saturating_add(bytes);
        // One region must fit a 32-bit address space.
        if self.end > 3 << 30 {
            return Err(unsupported(format!(
                "the model needs more than {} bytes packed",
                3u64 << 30
            )));
        }
        Ok(offset as usize)
    }

    fn tensor(&mut self, name: &str, rows: usize, cols: usize) -> Result<TensorInfo, Error> {
        let t = self.file.tensor(name)?.clone();
        if t.rows != rows as u64 || t.cols != cols as u64 {
            return Err(unsupported(format!(
                "tensor {name} has {} rows of {}, expected {rows} of {cols}",
                t.rows, t.cols
            )));
        }
        self.parameters += t.rows * t.cols;
        Ok(t)
    }

    pub(super) fn matrix(
        &mut self,
        parts: &[(String, usize)],
        cols: usize,
    ) -> Result<Matrix, Error> {
        let rows = parts.iter().map(|p| p.1).sum();
        if cols > MAX_COLS {
            return Err(unsupported(format!(
                "tensor {} has rows of {cols}",
                parts[0].0
            )));
        }
        let mut tensors = Vec::new();
        for (name, rows) in parts {
            tensors.push((name.clone(), self.tensor(name, *rows, cols)?));
        }
        let shape = PackedShape { rows, cols };
        let matrix = Matrix {
            shape,
            // A usize may have 32 bits.
            offset: self.allocate(shape.groups() as u64 * shape.group_bytes() as u64)?,
        };
        self.contents.push(Content::Matrix(matrix, tensors));
        Ok(matrix)
    }

    /// Returns the tensor that holds all rows, or else these, stacked.
    fn stacked(
        &mut self,
        fused: &(String, usize),
        parts: &[(String, usize)],
        cols: usize,
    ) -> Result<Matrix, Error> {
        if self.file.tensors.contains_key(&fused.0) {
            self.matrix(std::slice::from_ref(fused), cols)
        } else {
            self.matrix(parts, cols)
        }
    }

    /// Returns three biases, or none.
    fn biases(&mut self, names: [(String, usize); 3]) -> Result<Option<[Vector; 3]>, Error> {
        if !names
            .iter()
            .any(|(name, _)| self.file.tensors.contains_key(name))
        {
            return Ok(None);
        }
        let [q, k, v] = names;
        Ok(Some([
            self.vector(q.0, q.1)?,
            self.vector(k.0, k.1)?,
            self.vector(v.0, v.1)?,
        ]))
    }

    pub(super) fn vector(&mut self, name: String, len: usize) -> Result<Vector, Error> {
        let t = self.tensor(&name, 1, len)?;
        let vector = Vector {
            len,
            offset: self.allocate(len as u64 * 4)?,
        };
        self.contents.push(Content::Vector(vector, name, t));
        Ok(vector)
    }

    /// Plans rows of `f32` values, one after another.
    pub(super) fn table(
        &mut self,
        name: String,
        rows: usize,
        cols: usize,
    ) -> Result<Vector, Error> {
        let t = self.tensor(&name, rows, cols)?;
        let len = rows * cols;
        let vector = Vector {
            len,
            offset: self.allocate(len as u64 * 4)?,
        };
        self.contents.push(Content::Vector(vector, name, t));
        Ok(vector)
    }

    pub(super) fn vector_if(
        &mut self,
        there: bool,
        name: String,
        len: usize,
    ) -> Result<Option<Vector>, Error> {
        if there {
            self.vector(name, len).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl Layout {
    /// Plans the region and checks every tensor's shape.
    ///
    /// # Errors
    /// [`weights::Error::Unsupported`], naming the tensor that is missing, has another shape, or is of
    /// no use to the engine.
    pub fn new(file: &GgufFile, c: &Config) -> Result<Self, Error> {
        let mut b = Builder {
            file,
            contents: Vec::new(),
            end: 0,
            parameters: 0,
        };
        let embedding = b.matrix(&[("token_embd.weight".into(), c.vocabulary)], c.dim)?;
        let layers = (0..c.layers)
            .map(|l| layer(&mut b, c, l))
            .collect::<Result<_, _>>()?;
        let rope_factors = match c.rope.divisors {
            Some(name) => Some(b.vector(name.into(), c.head_dim / 2)?),
            None => None,
        };
        let names = c.family.output_norm.iter();
        let mut names = names.map(|name| format!("{name}.weight"));
        let norm = names.find(|name| b.has(name));
        let output_norm = b.vector(norm.unwrap_or("output_norm.weight".into()), c.dim)?;
        let head = if b.has("output.weight") {
            b.matrix(&[("output.weight".into(), c.vocabulary)], c.dim)?
        } else {
            embedding
        };
        Ok(Self {
            embedding,
            head,
            output_norm,
            rope_factors,
            layers,
            contents: b.contents,
            bytes: b.end.next_multiple_of(64),
            parameters: b.parameters,
        })
    }
}

fn layer(b: &mut Builder<'_>, c: &Config, l: usize) -> Result<Layer, Error> {
    let n = |part: &str| format!("blk.{l}.{part}.weight");
    let gate_up = [(n("ffn_gate"), c.ffn_dim), (n("ffn_up"), c.ffn_dim)];
    let attention_norm = b.vector(n("attn_norm"), c.dim)?;
    let convolution = match &c.short_conv {
        Some(conv) => conv.plan(b, l, c.dim)?,
        None => None,
    };
    let mixer = match convolution {
        Some(convolution) => Mixer::ShortConv(convolution),
        None => Mixer::Attention(attention(b, c, l)?),
    };
    let layer = Layer {
        attention_norm,
        mixer,
        post_attention_norm: b.vector_if(c.family.post_norms, n("post_attention_norm"), c.dim)?,
        ffn_norm: b.vector(n("ffn_norm"), c.dim)?,
        // Without a gate of its own it is the first half of ffn_up.
        gate_up: if b.has(&gate_up[0].0) {
            b.matrix(&gate_up, c.dim)?
        } else {
            b.matrix(&[(n("ffn_up"), 2 * c.ffn_dim)], c.dim)?
        },
        down: b.matrix(&[(n("ffn_down"), c.dim)], c.ffn_dim)?,
        post_ffn_norm: b.vector_if(c.family.post_norms, n("post_ffw_norm"), c.dim)?,
    };
    let biased = ["attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    for part in biased.into_iter().chain(short_conv::PARTS) {
        let name = format!("blk.{l}.{part}.bias");
        if b.has(&name) {
            return Err(unsupported(format!("tensor {name} is not supported")));
        }
    }
    Ok(layer)
}

fn attention(b: &mut Builder<'_>, c: &Config, l: usize) -> Result<AttentionLayer, Error> {
    let n = |part: &str| format!("blk.{l}.{part}.weight");
    let bias = |part: &str| format!("blk.{l}.{part}.bias");
    let (q_dim, kv_dim) = (c.q_dim(), c.kv_dim());
    let separate = [
        (n("attn_q"), q_dim),
        (n("attn_k"), kv_dim),
        (n("attn_v"), kv_dim),
    ];
    let norms = c.family.head_norms;
    Ok(AttentionLayer {
        qkv: b.stacked(&(n("attn_qkv"), q_dim + 2 * kv_dim), &separate, c.dim)?,
        qkv_bias: b.biases([
            (bias("attn_q"), q_dim),
            (bias("attn_k"), kv_dim),
            (bias("attn_v"), kv_dim),
        ])?,
        q_norm: b.vector_if(norms, n("attn_q_norm"), c.head_dim)?,
        k_norm: b.vector_if(norms, n("attn_k_norm"), c.head_dim)?,
        output: b.matrix(&[(n("attn_output"), c.dim)], q_dim)?,
    })
}

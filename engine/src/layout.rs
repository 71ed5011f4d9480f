//! Where each part of a prepared model lies: one region of bytes, the same in the heap and in
//! whatever keeps it, derived from the file's header alone.

use crate::config::Config;
use crate::{Error, unsupported};
use weights::pack::{MAX_COLS, PackedShape};
use weights::{GgufFile, TensorInfo};

/// A packed matrix in the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    pub shape: PackedShape,
    /// Byte offset in the region.
    pub offset: usize,
}

/// `f32` values in the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vector {
    pub len: usize,
    /// Byte offset in the region.
    pub offset: usize,
}

/// One layer's parts.
#[derive(Debug, Clone)]
pub struct Layer {
    pub attention_norm: Vector,
    /// Queries, keys and values, stacked; of a short convolution its two gates and its input.
    pub qkv: Matrix,
    /// What is added to each of the three.
    pub qkv_bias: Option<[Vector; 3]>,
    pub q_norm: Option<Vector>,
    pub k_norm: Option<Vector>,
    /// The weights of a short convolution, one for each position it sees, the oldest first, for each
    /// channel.
    pub short_conv: Option<Vector>,
    pub output: Matrix,
    pub post_attention_norm: Option<Vector>,
    pub ffn_norm: Vector,
    /// Gate and up, stacked.
    pub gate_up: Matrix,
    pub down: Matrix,
    pub post_ffn_norm: Option<Vector>,
}

/// What fills a part of the region.
#[derive(Debug, Clone)]
pub enum Content {
    /// Rows of these tensors, one tensor after the other.
    Matrix(Matrix, Vec<(String, TensorInfo)>),
    Vector(Vector, String, TensorInfo),
}

/// Parts of a short convolution that have no bias in any file this engine reads.
const SHORTCONV_PARTS: [&str; 3] = ["shortconv.in_proj", "shortconv.conv", "shortconv.out_proj"];

/// The whole region.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Token embedding; also the output head if that is tied.
    pub embedding: Matrix,
    pub head: Matrix,
    pub output_norm: Vector,
    /// What RoPE's frequencies are divided by, a number a pair.
    pub rope_factors: Option<Vector>,
    pub layers: Vec<Layer>,
    /// Every part in the order of its offset.
    pub contents: Vec<Content>,
    /// Bytes of the region.
    pub bytes: u64,
    /// Weights in the file's tensors that are used.
    pub parameters: u64,
}

/// Hands out offsets and keeps the list of contents.
struct Builder<'a> {
    file: &'a GgufFile,
    contents: Vec<Content>,
    end: u64,
    parameters: u64,
}

impl Builder<'_> {
    fn place(&mut self, bytes: u64) -> Result<usize, Error> {
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

    fn matrix(&mut self, parts: &[(String, usize)], cols: usize) -> Result<Matrix, Error> {
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
            offset: self.place(shape.groups() as u64 * shape.group_bytes() as u64)?,
        };
        self.contents.push(Content::Matrix(matrix, tensors));
        Ok(matrix)
    }

    /// The tensor that holds all rows, or else these, stacked.
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

    /// Three biases, or none.
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

    fn vector(&mut self, name: String, len: usize) -> Result<Vector, Error> {
        let t = self.tensor(&name, 1, len)?;
        let vector = Vector {
            len,
            offset: self.place(len as u64 * 4)?,
        };
        self.contents.push(Content::Vector(vector, name, t));
        Ok(vector)
    }

    /// Rows of numbers, kept one after another.
    fn table(&mut self, name: String, rows: usize, cols: usize) -> Result<Vector, Error> {
        let t = self.tensor(&name, rows, cols)?;
        let len = rows * cols;
        let vector = Vector {
            len,
            offset: self.place(len as u64 * 4)?,
        };
        self.contents.push(Content::Vector(vector, name, t));
        Ok(vector)
    }

    fn vector_if(
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
    /// Plans the region; checks every tensor's shape.
    pub fn new(file: &GgufFile, c: &Config) -> Result<Self, Error> {
        let mut b = Builder {
            file,
            contents: Vec::new(),
            end: 0,
            parameters: 0,
        };
        let embedding = b.matrix(&[("token_embd.weight".into(), c.vocabulary)], c.dim)?;
        let mut layers = Vec::with_capacity(c.layers);
        for l in 0..c.layers {
            let n = |part: &str| format!("blk.{l}.{part}.weight");
            let bias = |part: &str| format!("blk.{l}.{part}.bias");
            let fused = |part: &str, rows: usize| (n(part), rows);
            let (q_dim, kv_dim) = (c.q_dim(), c.kv_dim());
            let separate = [
                (n("attn_q"), q_dim),
                (n("attn_k"), kv_dim),
                (n("attn_v"), kv_dim),
            ];
            let gate_up = [(n("ffn_gate"), c.ffn_dim), (n("ffn_up"), c.ffn_dim)];
            let conv = match c.short_conv {
                Some(len) if file.tensors.contains_key(&n("shortconv.conv")) => Some(len),
                _ => None,
            };
            let norms = c.head_norms && conv.is_none();
            let output = match conv {
                Some(_) => n("shortconv.out_proj"),
                None => n("attn_output"),
            };
            layers.push(Layer {
                attention_norm: b.vector(n("attn_norm"), c.dim)?,
                qkv: match conv {
                    Some(_) => b.matrix(&[fused("shortconv.in_proj", 3 * c.dim)], c.dim)?,
                    None => b.stacked(&fused("attn_qkv", q_dim + 2 * kv_dim), &separate, c.dim)?,
                },
                qkv_bias: b.biases([
                    (bias("attn_q"), q_dim),
                    (bias("attn_k"), kv_dim),
                    (bias("attn_v"), kv_dim),
                ])?,
                q_norm: b.vector_if(norms, n("attn_q_norm"), c.head_dim)?,
                k_norm: b.vector_if(norms, n("attn_k_norm"), c.head_dim)?,
                short_conv: match conv {
                    Some(len) => Some(b.table(n("shortconv.conv"), c.dim, len)?),
                    None => None,
                },
                output: b.matrix(&[(output, c.dim)], c.q_dim())?,
                post_attention_norm: b.vector_if(c.post_norms, n("post_attention_norm"), c.dim)?,
                ffn_norm: b.vector(n("ffn_norm"), c.dim)?,
                // Without a gate of its own it is the first half of ffn_up.
                gate_up: if file.tensors.contains_key(&gate_up[0].0) {
                    b.matrix(&gate_up, c.dim)?
                } else {
                    b.matrix(&[fused("ffn_up", 2 * c.ffn_dim)], c.dim)?
                },
                down: b.matrix(&[(n("ffn_down"), c.dim)], c.ffn_dim)?,
                post_ffn_norm: b.vector_if(c.post_norms, n("post_ffw_norm"), c.dim)?,
            });
            let biased = ["attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
            for part in biased.into_iter().chain(SHORTCONV_PARTS) {
                let name = bias(part);
                if file.tensors.contains_key(&name) {
                    return Err(unsupported(format!("tensor {name} is not supported")));
                }
            }
        }
        let rope_factors = match c.rope.divisors {
            Some(name) => Some(b.vector(name.into(), c.head_dim / 2)?),
            None => None,
        };
        // LFM2's files name its last norm after the embedding.
        let name = match c.short_conv {
            Some(_) if file.tensors.contains_key("token_embd_norm.weight") => "token_embd_norm",
            _ => "output_norm",
        };
        let output_norm = b.vector(format!("{name}.weight"), c.dim)?;
        let head = if file.tensors.contains_key("output.weight") {
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

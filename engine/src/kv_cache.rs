//! The KV cache of one generation: blocks of 64 positions, each holding every layer's units
//! ([`crate::kernels::attention`] has their layout).
//!
//! ```text
//! block:  layer 0 KV head 0 | layer 0 KV head 1 | … | layer 1 KV head 0 | …
//! ```
//! The same bytes lie in the heap and wherever they are kept.

use crate::Error;
use crate::kernels::attention::{BLOCK, half_bytes, read_row, unit_bytes, write_row};
use crate::region::Region;

/// Sizes of a model's cache.
///
/// ```
/// use engine::kv_cache::KvShape;
/// let shape = KvShape { layers: 2, kv_heads: 1, head_dim: 16 };
/// // Keys and values of 64 positions in 16 bits, and two scales each.
/// assert_eq!(shape.block_bytes(), 2 * (64 * 16 * 2 * 2 + 64 * 2 * 4));
/// assert_eq!(shape.blocks(65), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Number of layers.
    pub layers: usize,
    /// KV heads that there is room for in each layer.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl KvShape {
    /// Returns the number of bytes of one layer in a block.
    pub fn layer_bytes(&self) -> usize {
        self.kv_heads * unit_bytes(self.head_dim)
    }

    /// Returns the number of bytes of a block of 64 positions.
    pub fn block_bytes(&self) -> usize {
        self.layers * self.layer_bytes()
    }

    /// Returns the number of blocks for `positions`.
    pub fn blocks(&self, positions: usize) -> usize {
        positions.div_ceil(BLOCK)
    }

    /// Calls `f` with (block, offset in the block, length) of the bytes that positions `from..to` occupy,
    /// and of neighbouring positions that share vectors with them.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn rows<E>(
        &self,
        from: usize,
        to: usize,
        mut f: impl FnMut(usize, usize, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let n = self.head_dim;
        let unit = unit_bytes(n);
        let mut position = from;
        while position < to {
            let block = position / BLOCK;
            let (a, b) = (position % BLOCK, (to - block * BLOCK).min(BLOCK));
            let keys = (a / 4 * n * 8, b.div_ceil(4) * n * 8);
            let values = (a / 2 * n * 4, b.div_ceil(2) * n * 4);
            for u in 0..self.layers * self.kv_heads {
                let base = u * unit;
                let half = half_bytes(n);
                f(block, base + keys.0, keys.1 - keys.0)?;
                f(block, base + half + values.0, values.1 - values.0)?;
                f(block, base + 2 * half + 4 * a, 4 * (b - a))?;
                f(block, base + 2 * half + 4 * (BLOCK + a), 4 * (b - a))?;
            }
            position = (block + 1) * BLOCK;
        }
        Ok(())
    }
}

/// The keys and values of one generation.
pub struct KvCache {
    shape: KvShape,
    blocks: Vec<Region>,
}

impl KvCache {
    /// Returns an empty cache.
    pub fn new(shape: KvShape) -> Self {
        Self {
            shape,
            blocks: Vec::new(),
        }
    }

    /// Returns its sizes.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Makes room for `positions`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn grow(&mut self, positions: usize) -> Result<(), Error> {
        while self.blocks.len() < self.shape.blocks(positions) {
            self.blocks
                .push(Region::new(self.shape.block_bytes(), "the KV cache")?);
        }
        Ok(())
    }

    /// Returns the number of bytes of heap that it holds.
    pub fn bytes(&self) -> usize {
        self.blocks.len() * self.shape.block_bytes()
    }

    /// Returns the bytes of a block.
    pub fn block(&self, block: usize) -> &[u8] {
        self.blocks[block].bytes()
    }

    /// Returns the bytes of a block, to fill.
    pub fn block_mut(&mut self, block: usize) -> &mut [u8] {
        self.blocks[block].bytes_mut()
    }

    /// Returns the unit of a layer's KV head in a block.
    pub fn unit(&self, block: usize, layer: usize, kv_head: usize) -> &[u8] {
        let size = unit_bytes(self.shape.head_dim);
        let start = (layer * self.shape.kv_heads + kv_head) * size;
        &self.blocks[block].bytes()[start..start + size]
    }

    /// Reads the rows of one position in one layer into `out`: `[2, kv_heads, head_dim]`, keys first.
    pub fn read(&self, position: usize, layer: usize, out: &mut [f32]) {
        let n = self.shape.head_dim;
        let (k, v) = out.split_at_mut(self.shape.kv_heads * n);
        for head in 0..self.shape.kv_heads {
            let unit = self.unit(position / BLOCK, layer, head);
            let row = head * n..(head + 1) * n;
            read_row(unit, position % BLOCK, &mut k[row.clone()], &mut v[row]);
        }
    }

    /// Writes the rows of one position in one layer: `k` and `v` are `[kv_heads, head_dim]`.
    ///
    /// # Panics
    /// If there is no room ([`Self::grow`]).
    pub fn write(&mut self, position: usize, layer: usize, k: &[f32], v: &[f32]) {
        let n = self.shape.head_dim;
        let size = unit_bytes(n);
        let first = layer * self.shape.kv_heads * size;
        let layer_bytes = self.shape.kv_heads * size;
        let block = &mut self.blocks[position / BLOCK].bytes_mut()[first..first + layer_bytes];
        let rows = k.chunks_exact(n).zip(v.chunks_exact(n));
        for (unit, (k, v)) in block.chunks_exact_mut(size).zip(rows) {
            write_row(unit, position % BLOCK, k, v);
        }
    }
}

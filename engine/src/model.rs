//! A model that is ready: its configuration, its layout, and the packed weights in the heap.

use crate::Error;
use crate::config::Config;
use crate::kernels::linear::PackedMatrix;
use crate::layout::{Layout, Matrix, Vector};
use crate::region::Region;
use weights::{ByteSource, GgufFile};

/// Weights and shape; shared by all generations.
pub struct Model {
    pub config: Config,
    pub layout: Layout,
    pub region: Region,
}

impl Model {
    /// Plans the model of `file` and reserves its memory; the weights are not there yet.
    pub fn plan(file: &GgufFile) -> Result<Self, Error> {
        let config = Config::from_gguf(file)?;
        let layout = Layout::new(file, &config)?;
        let region = Region::new(layout.bytes as usize, "the packed weights")?;
        Ok(Self {
            config,
            layout,
            region,
        })
    }

    /// Reads and packs a whole file at once.
    pub fn load<S: ByteSource + ?Sized>(source: &S) -> Result<(Self, GgufFile), Error> {
        let file = GgufFile::read(source)?;
        let mut model = Self::plan(&file)?;
        crate::prepare::prepare(source, &model.layout, &mut model.region, 0, |_| true)?;
        Ok((model, file))
    }

    /// A packed matrix.
    pub fn matrix(&self, m: &Matrix) -> PackedMatrix<'_> {
        PackedMatrix::new(
            m.shape,
            &self.region.bytes()[m.offset..m.offset + m.shape.bytes()],
        )
    }

    /// A vector of floats.
    pub fn vector(&self, v: &Vector) -> &[f32] {
        let bytes = &self.region.bytes()[v.offset..v.offset + 4 * v.len];
        // Safety: any bits are a float; offsets are multiples of 64 in a 64-byte aligned region.
        let (before, floats, after) = unsafe { bytes.align_to::<f32>() };
        debug_assert!(before.is_empty() && after.is_empty());
        floats
    }
}

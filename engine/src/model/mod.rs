//! A model: its configuration, its layout, and the packed weights in the heap.
//!
//! To add an architecture, add a row to [`architecture::FAMILIES`].

pub mod architecture;
pub mod config;
pub mod estimate;
pub mod layout;
pub mod load;
pub mod rope;
pub mod short_conv;

pub use config::Config;
pub use estimate::Estimate;

use crate::Error;
use crate::kernels::linear::PackedMatrix;
use crate::region::Region;
use layout::{Layout, Matrix, Vector};
use weights::{ByteSource, GgufFile};

/// Weights and shape; shared by all generations.
///
/// ```no_run
/// use engine::Model;
/// use weights::gguf::source::FileSource;
/// let source = FileSource::open("model.gguf")?;
/// let (model, _header) = Model::load(&source)?;
/// println!("{} bytes packed", model.layout.bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Model {
    /// Shape and family.
    pub config: Config,
    /// Where each part lies in the region.
    pub layout: Layout,
    /// The packed weights.
    pub region: Region,
}

impl Model {
    /// Plans the model of `file` and allocates its memory; the weights are not there yet.
    ///
    /// # Errors
    /// Those of a model that this engine cannot run; [`Error::OutOfMemory`].
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
    ///
    /// # Errors
    /// Those of [`Self::plan`] and [`load::pack`].
    pub fn load<S: ByteSource + ?Sized>(source: &S) -> Result<(Self, GgufFile), Error> {
        let file = GgufFile::read(source)?;
        let mut model = Self::plan(&file)?;
        load::pack(source, &model.layout, &mut model.region, 0, |_| true)?;
        Ok((model, file))
    }

    /// Returns a packed matrix.
    pub fn matrix(&self, m: &Matrix) -> PackedMatrix<'_> {
        PackedMatrix::new(
            m.shape,
            &self.region.bytes()[m.offset..m.offset + m.shape.bytes()],
        )
    }

    /// Returns a vector of floats.
    pub fn vector(&self, v: &Vector) -> &[f32] {
        let bytes = &self.region.bytes()[v.offset..v.offset + 4 * v.len];
        // SAFETY: any bits are a float; offsets are multiples of 64 in a 64-byte aligned region.
        let (before, floats, after) = unsafe { bytes.align_to::<f32>() };
        debug_assert!(before.is_empty() && after.is_empty());
        floats
    }
}

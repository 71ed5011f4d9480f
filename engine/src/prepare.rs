//! Making a model ready: the file's tensors are packed into the region, a few row groups at a
//! time, in the order of their offsets. The position is one number: bytes of the region done.

use crate::layout::{Content, Layout};
use crate::region::Region;
use crate::{Error, unsupported};
use weights::dequant::dequantize_row;
use weights::pack::{LANES, Packer};
use weights::{ByteSource, GgmlType, TensorInfo};

/// Row groups packed between two looks at the meter.
const BATCH_GROUPS: usize = 16;

/// Packs everything from byte `from` of the region on, until `go_on` says no; gives the byte to go
/// on from (the region's length when all is done). `go_on` is asked after each batch with the
/// number of region bytes done so far.
///
/// # Errors
/// A weight that is not a finite number, or a source that cannot be read.
pub fn prepare<S: ByteSource + ?Sized>(
    source: &S,
    layout: &Layout,
    region: &mut Region,
    from: u64,
    mut go_on: impl FnMut(u64) -> bool,
) -> Result<u64, Error> {
    let mut raw = Vec::new();
    for content in &layout.contents {
        match content {
            Content::Vector(v, name, tensor) => {
                if (v.offset as u64) < from {
                    continue;
                }
                let out = &mut region.bytes_mut()[v.offset..v.offset + 4 * v.len];
                read_vector(source, name, tensor, &mut raw, out)?;
            }
            Content::Matrix(m, tensors) => {
                let group_bytes = m.shape.group_bytes();
                let end = m.offset + m.shape.bytes();
                if end as u64 <= from {
                    continue;
                }
                let mut group = (from as usize).saturating_sub(m.offset) / group_bytes;
                let mut packer = Packer::new(m.shape);
                while group < m.shape.groups() {
                    let n = BATCH_GROUPS.min(m.shape.groups() - group);
                    let start = m.offset + group * group_bytes;
                    let out = &mut region.bytes_mut()[start..start + n * group_bytes];
                    pack_groups(
                        source,
                        tensors,
                        &mut packer,
                        group,
                        &mut raw,
                        out,
                        group_bytes,
                    )?;
                    group += n;
                    let done = (m.offset + group * group_bytes) as u64;
                    if !go_on(done) {
                        return Ok(done);
                    }
                }
            }
        }
    }
    Ok(layout.bytes)
}

fn read_vector<S: ByteSource + ?Sized>(
    source: &S,
    name: &str,
    tensor: &TensorInfo,
    raw: &mut Vec<u8>,
    out: &mut [u8],
) -> Result<(), Error> {
    raw.resize(tensor.bytes as usize, 0);
    source
        .read_at(tensor.offset, raw)
        .map_err(weights::Error::from)?;
    let mut values = vec![0f32; tensor.cols as usize];
    dequantize_row(tensor.dtype, raw, &mut values);
    for (o, v) in out.chunks_exact_mut(4).zip(values) {
        if !v.is_finite() {
            return Err(unsupported(format!(
                "tensor {name} has a weight that is not finite"
            )));
        }
        o.copy_from_slice(&v.to_le_bytes());
    }
    Ok(())
}

/// Packs consecutive groups from `first_group` on; a group may span two tensors.
fn pack_groups<S: ByteSource + ?Sized>(
    source: &S,
    tensors: &[(String, TensorInfo)],
    packer: &mut Packer,
    first_group: usize,
    raw: &mut Vec<u8>,
    out: &mut [u8],
    group_bytes: usize,
) -> Result<(), Error> {
    let first_row = first_group * LANES;
    let last_row = first_row + out.len() / group_bytes * LANES;
    // Read each tensor's share of these rows in one go; remember each row's type and place.
    let mut rows: Vec<(&TensorInfo, &str, usize)> = Vec::with_capacity(last_row - first_row);
    let mut base = 0;
    raw.clear();
    for (name, t) in tensors {
        let tensor_rows = t.rows as usize;
        let (begin, end) = (first_row.max(base), last_row.min(base + tensor_rows));
        if begin < end {
            let row_bytes = (t.bytes / t.rows) as usize;
            let at = raw.len();
            raw.resize(at + (end - begin) * row_bytes, 0);
            source
                .read_at(
                    t.offset + ((begin - base) * row_bytes) as u64,
                    &mut raw[at..],
                )
                .map_err(weights::Error::from)?;
            rows.extend((0..end - begin).map(|i| (t, name.as_str(), at + i * row_bytes)));
        }
        base += tensor_rows;
    }
    for (group, rows) in out.chunks_exact_mut(group_bytes).zip(rows.chunks(LANES)) {
        let (cols, name) = (rows[0].0.cols as usize, rows[0].1);
        let mut quantized = [(GgmlType::F32, &[][..]); LANES];
        for (slot, (t, _, at)) in quantized.iter_mut().zip(rows) {
            *slot = (t.dtype, &raw[*at..at + (t.bytes / t.rows) as usize]);
        }
        packer
            .pack_group(cols, &quantized[..rows.len()], group)
            .map_err(|_| unsupported(format!("tensor {name} has a weight that is not finite")))?;
    }
    Ok(())
}

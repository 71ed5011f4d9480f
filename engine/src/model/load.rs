//! Loading: the file's tensors are packed into the region, a few row groups at a time, in the order of
//! their offsets. The position is one number: the bytes of the region that are done.

use super::layout::{Content, Layout};
use crate::region::Region;
use crate::{Error, unsupported};
use weights::gguf::dequant::dequantize_row;
use weights::pack::{LANES, Packer};
use weights::{ByteSource, GgmlType, TensorInfo};

/// Row groups packed between two looks at the meter.
const BATCH_GROUPS: usize = 16;

/// Packs everything from byte `from` of the region on, until `go_on` returns `false`. Returns the byte to
/// continue from (the region's length when all is done). `go_on` is called after each batch with the
/// number of region bytes done so far.
///
/// # Errors
/// [`weights::Error::Unsupported`] for a weight that is not a finite number,
/// [`weights::Error::Source`] if the source cannot be read.
pub fn pack<S: ByteSource + ?Sized>(
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
                let divisors = layout.rope_factors.as_ref() == Some(v);
                read_vector(source, name, tensor, divisors, &mut raw, out)?;
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
    divisors: bool,
    raw: &mut Vec<u8>,
    out: &mut [u8],
) -> Result<(), Error> {
    raw.resize(tensor.bytes as usize, 0);
    source
        .read_at(tensor.offset, raw)
        .map_err(weights::Error::from)?;
    let mut values = vec![0f32; (tensor.rows * tensor.cols) as usize];
    dequantize_row(tensor.dtype, raw, &mut values);
    for (o, v) in out.chunks_exact_mut(4).zip(values) {
        if !v.is_finite() {
            return Err(unsupported(format!(
                "tensor {name} has a weight that is not finite"
            )));
        }
        if divisors && v <= 0.0 {
            return Err(unsupported(format!(
                "tensor {name} divides frequencies by {v}"
            )));
        }
        o.copy_from_slice(&v.to_le_bytes());
    }
    Ok(())
}

/// Rows of one tensor in the bytes that were read.
struct Part<'a> {
    name: &'a str,
    dtype: GgmlType,
    cols: usize,
    row_bytes: usize,
    /// Its rows in the matrix.
    rows: std::ops::Range<usize>,
    /// Offset of the first of them in the bytes.
    at: usize,
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
    // Each tensor's share of these rows is read in one go.
    let mut parts: Vec<Part> = Vec::new();
    let (mut base, mut filled) = (0, 0);
    for (name, t) in tensors {
        let next = base + t.rows as usize;
        let rows = first_row.max(base)..last_row.min(next);
        if !rows.is_empty() {
            let row_bytes = (t.bytes / t.rows) as usize;
            let at = filled;
            filled += rows.len() * row_bytes;
            // Old bytes are not cleared: that would cost an instruction a byte.
            if raw.len() < filled {
                raw.resize(filled, 0);
            }
            let offset = t.offset + ((rows.start - base) * row_bytes) as u64;
            source
                .read_at(offset, &mut raw[at..filled])
                .map_err(weights::Error::from)?;
            parts.push(Part {
                name,
                dtype: t.dtype,
                cols: t.cols as usize,
                row_bytes,
                rows,
                at,
            });
        }
        base = next;
    }
    let no_number = |part: &Part| {
        let name = part.name;
        unsupported(format!("tensor {name} has a weight that is not finite"))
    };
    let rows_there = last_row.min(base);
    let mut packed = 0;
    if let [part] = &parts[..] {
        packed = part.rows.len() / LANES;
        let rows = &raw[..packed * LANES * part.row_bytes];
        packer
            .pack_rows(
                part.cols,
                part.dtype,
                rows,
                &mut out[..packed * group_bytes],
            )
            .map_err(|_| no_number(part))?;
    }
    // Groups at a border of tensors, or at the end of a matrix.
    let firsts = (first_row + packed * LANES..).step_by(LANES);
    for (group, first) in out[packed * group_bytes..]
        .chunks_exact_mut(group_bytes)
        .zip(firsts)
    {
        let mut rows = Vec::with_capacity(LANES);
        let mut last = None;
        for row in first..rows_there.min(first + LANES) {
            let Some(part) = parts.iter().find(|p| p.rows.contains(&row)) else {
                break;
            };
            let at = part.at + (row - part.rows.start) * part.row_bytes;
            rows.push((part.dtype, &raw[at..at + part.row_bytes]));
            last = Some(part);
        }
        if let Some(part) = last {
            packer
                .pack_group(part.cols, &rows, group)
                .map_err(|_| no_number(part))?;
        }
    }
    Ok(())
}

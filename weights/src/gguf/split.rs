//! A model that was split into several GGUF files (llama.cpp's `gguf-split`), read as the merged file.
//!
//! Each part is a GGUF file with some of the tensors and its number, `split.no`; the first also has the
//! model's metadata. The merged file has the first part's metadata byte for byte, but `split.count` 0,
//! and the tensors in the order of the parts.

use super::cursor::Cursor;
use super::file::{GgufFile, Value, read_value};
use super::source::{ByteSource, SourceError, check_range};
use crate::Error;

/// Returns the number of parts that a file says its model has; 1 if it was not split.
pub fn parts(file: &GgufFile) -> u64 {
    file.uint("split.count").unwrap_or(0).max(1)
}

/// A tensor of the merged file, in a part.
struct Piece {
    /// Offset in the merged file.
    start: u64,
    len: u64,
    part: usize,
    /// Offset in the part.
    offset: u64,
}

/// The merged file.
pub struct Merged<S> {
    parts: Vec<S>,
    header: Vec<u8>,
    pieces: Vec<Piece>,
    len: u64,
}

/// The parts of a header that are copied.
struct Raw {
    /// Number of metadata entries, and their bytes.
    entries: u64,
    metadata: std::ops::Range<u64>,
    /// The bytes of the value of `split.count`.
    count: Option<std::ops::Range<u64>>,
    /// The name of each tensor, and the bytes of its name, dimensions and type.
    tensors: Vec<(String, std::ops::Range<u64>)>,
}

fn raw_header<S: ByteSource + ?Sized>(source: &S) -> Result<Raw, Error> {
    let mut c = Cursor::new(source, 8);
    let tensor_count = c.u64("tensor count")?;
    let entries = c.u64("metadata count")?;
    let start = c.pos;
    let mut count = None;
    for _ in 0..entries {
        let key = c.string(u64::from(u16::MAX), "metadata key")?;
        let kind = c.u32("metadata type")?;
        let at = c.pos;
        read_value(&mut c, kind, &key)?;
        if key == "split.count" {
            count = Some(at..c.pos);
        }
    }
    let metadata = start..c.pos;
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        let at = c.pos;
        let name = c.string(u64::from(u16::MAX), "tensor name")?;
        for _ in 0..c.u32("dimension count")? {
            c.u64("dimension")?;
        }
        c.u32("tensor type")?;
        tensors.push((name, at..c.pos));
        c.u64("tensor offset")?;
    }
    Ok(Raw {
        entries,
        metadata,
        count,
        tensors,
    })
}

fn copy<S: ByteSource + ?Sized>(
    source: &S,
    range: &std::ops::Range<u64>,
    to: &mut Vec<u8>,
) -> Result<(), Error> {
    let at = to.len();
    to.resize(at + (range.end - range.start) as usize, 0);
    source.read_at(range.start, &mut to[at..])?;
    Ok(())
}

impl<S: ByteSource> Merged<S> {
    /// Returns the parts merged, given in order.
    ///
    /// # Errors
    /// Parts that are missing, in the wrong order, or not of one model.
    pub fn new(parts: Vec<S>) -> Result<Self, Error> {
        let wrong = |m: String| Err(Error::Malformed(m));
        let mut files = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let file = GgufFile::read(part)?;
            if file.uint("split.no").unwrap_or(0) != n as u64 {
                return wrong(format!("file {n} is not part {n} of a split model"));
            }
            let count = self::parts(&file);
            if count != parts.len() as u64 {
                return wrong(format!(
                    "part {n} says that the model has {count} parts, got {}",
                    parts.len()
                ));
            }
            files.push(file);
        }
        let (Some(first), Some(source)) = (files.first(), parts.first()) else {
            return wrong("expected at least one part of a model".into());
        };
        let alignment = match first.metadata.get("general.alignment") {
            Some(Value::Uint(a)) => *a,
            _ => 32,
        };
        let tensor_count: usize = files.iter().map(|f| f.tensors.len()).sum();
        if let Some(told) = first.uint("split.tensors.count")
            && told != tensor_count as u64
        {
            return wrong(format!(
                "expected {told} tensors in all parts, found {tensor_count}"
            ));
        }
        let raw = raw_header(source)?;
        let mut header = b"GGUF\x03\0\0\0".to_vec();
        header.extend((tensor_count as u64).to_le_bytes());
        header.extend(raw.entries.to_le_bytes());
        let at = header.len();
        copy(source, &raw.metadata, &mut header)?;
        if let Some(count) = raw.count {
            let from = at + (count.start - raw.metadata.start) as usize;
            header[from..from + (count.end - count.start) as usize].fill(0);
        }
        // Offsets count from the end of the header, whose length is known after this loop.
        let mut pieces = Vec::new();
        let mut data = 0u64;
        for (n, (part, file)) in parts.iter().zip(&files).enumerate() {
            for (name, range) in raw_header(part)?.tensors {
                let info = file.tensor(&name)?;
                copy(part, &range, &mut header)?;
                header.extend(data.to_le_bytes());
                pieces.push(Piece {
                    start: data,
                    len: info.bytes,
                    part: n,
                    offset: info.offset,
                });
                data = (data + info.bytes).next_multiple_of(alignment);
            }
        }
        header.resize(header.len().next_multiple_of(alignment as usize), 0);
        for piece in &mut pieces {
            piece.start += header.len() as u64;
        }
        let len = header.len() as u64 + data;
        Ok(Self {
            parts,
            header,
            pieces,
            len,
        })
    }
}

impl<S: ByteSource> ByteSource for Merged<S> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), SourceError> {
        check_range(offset, buf.len(), self.len)?;
        // Bytes between tensors are zero.
        buf.fill(0);
        let end = offset + buf.len() as u64;
        let head = &self.header[(offset as usize).min(self.header.len())..];
        let n = head.len().min(buf.len());
        buf[..n].copy_from_slice(&head[..n]);
        let first = self.pieces.partition_point(|p| p.start + p.len <= offset);
        for piece in self.pieces[first..].iter().take_while(|p| p.start < end) {
            let from = piece.start.max(offset);
            let to = (piece.start + piece.len).min(end);
            let part = &mut buf[(from - offset) as usize..(to - offset) as usize];
            let source = &self.parts[piece.part];
            source.read_at(piece.offset + (from - piece.start), part)?;
        }
        Ok(())
    }
}

/// A file that was cut by size, read as a whole.
pub struct Joined<S> {
    parts: Vec<S>,
    /// Offset of each in the whole; one more at the end.
    starts: Vec<u64>,
}

impl<S: ByteSource> Joined<S> {
    /// Returns the parts joined, given in order.
    pub fn new(parts: Vec<S>) -> Self {
        let mut starts = vec![0];
        for part in &parts {
            starts.push(starts[starts.len() - 1] + part.len());
        }
        Self { parts, starts }
    }
}

impl<S: ByteSource> ByteSource for Joined<S> {
    fn len(&self) -> u64 {
        self.starts[self.parts.len()]
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), SourceError> {
        check_range(offset, buf.len(), self.len())?;
        let end = offset + buf.len() as u64;
        for (part, bounds) in self.parts.iter().zip(self.starts.windows(2)) {
            let (from, to) = (bounds[0].max(offset), bounds[1].min(end));
            if from < to {
                let piece = &mut buf[(from - offset) as usize..(to - offset) as usize];
                part.read_at(from - bounds[0], piece)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A GGUF file of tensors of single bytes' values (F32 bits do not matter here).
    fn file(metadata: &[(&str, u16)], tensors: &[(&str, u64, u8)]) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((tensors.len() as u64).to_le_bytes());
        out.extend((metadata.len() as u64).to_le_bytes());
        let string = |out: &mut Vec<u8>, s: &str| {
            out.extend((s.len() as u64).to_le_bytes());
            out.extend(s.as_bytes());
        };
        for (key, value) in metadata {
            string(&mut out, key);
            out.extend(2u32.to_le_bytes());
            out.extend(value.to_le_bytes());
        }
        let mut data = 0u64;
        for (name, floats, _) in tensors {
            string(&mut out, name);
            out.extend(1u32.to_le_bytes());
            out.extend(floats.to_le_bytes());
            out.extend(0u32.to_le_bytes());
            out.extend(data.to_le_bytes());
            data = (data + 4 * floats).next_multiple_of(32);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        for (_, floats, fill) in tensors {
            let bytes = 4 * *floats as usize;
            out.extend(std::iter::repeat_n(*fill, bytes));
            out.resize(out.len().next_multiple_of(32), 0);
        }
        out
    }

    fn part(no: u16, count: u16, tensors: &[(&str, u64, u8)]) -> Vec<u8> {
        let split = [
            ("split.no", no),
            ("split.count", count),
            ("split.tensors.count", 3),
        ];
        match no {
            0 => file(&[&[("answer", 42)], &split[..]].concat(), tensors),
            _ => file(&split, tensors),
        }
    }

    fn all(source: &impl ByteSource) -> Vec<u8> {
        let mut bytes = vec![0; source.len() as usize];
        source.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn parts_merge_into_the_file_they_were_split_from() {
        let (a, b, c) = (("a", 5, 1), ("b", 8, 2), ("c", 3, 3));
        let merged = Merged::new(vec![part(0, 2, &[a, b]), part(1, 2, &[c])]).unwrap();
        let metadata = [
            ("answer", 42),
            ("split.no", 0),
            ("split.count", 0),
            ("split.tensors.count", 3),
        ];
        let whole = file(&metadata, &[a, b, c]);
        assert_eq!(all(&merged), whole);
        // Also in pieces.
        for start in (0..whole.len()).step_by(7) {
            let mut piece = vec![9; 50.min(whole.len() - start)];
            merged.read_at(start as u64, &mut piece).unwrap();
            assert_eq!(piece, whole[start..start + piece.len()]);
        }
        assert!(merged.read_at(whole.len() as u64, &mut [0]).is_err());
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let tensors = [("a", 5, 1), ("b", 8, 2), ("c", 3, 3)];
        let (one, two) = (part(0, 2, &tensors[..2]), part(1, 2, &tensors[2..]));
        let refused = |parts: Vec<Vec<u8>>| {
            assert!(matches!(Merged::new(parts), Err(Error::Malformed(_))));
        };
        refused(vec![two.clone(), one.clone()]);
        refused(vec![one.clone()]);
        refused(vec![one.clone(), two.clone(), two.clone()]);
        refused(vec![one.clone(), part(1, 3, &tensors[2..])]);
        refused(vec![one, part(1, 2, &tensors[1..])]);
        refused(Vec::new());
        let _ = two;
    }

    #[test]
    fn a_file_cut_by_size_is_joined() {
        let bytes: Vec<u8> = (0..100).collect();
        let cut: Vec<Vec<u8>> = bytes.chunks(33).map(<[u8]>::to_vec).collect();
        let joined = Joined::new(cut);
        assert_eq!(all(&joined), bytes);
        let mut piece = [0; 40];
        joined.read_at(30, &mut piece).unwrap();
        assert_eq!(piece[..], bytes[30..70]);
    }
}

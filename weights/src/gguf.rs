//! GGUF v2 and v3, read from a [`ByteSource`] without holding the file.
//!
//! ```text
//! magic "GGUF" | version u32 | tensor count u64 | metadata count u64
//! metadata:  key string | type u32 | value           (string = length u64 + bytes)
//! tensors:   name string | dims u32 | dim u64 × dims (columns first) | type u32 | offset u64
//! padding to general.alignment (default 32)
//! tensor data; a tensor's offset counts from here and is aligned
//! ```
//! Source: the GGUF specification in the ggml repository. Every length is checked against the
//! bytes that are there before anything is allocated, so a crafted file costs at most one walk of
//! its header.

use crate::Error;
use crate::dtype::GgmlType;
use crate::source::ByteSource;
use std::collections::{BTreeMap, HashMap};

/// A header may be at most this long (bytes): vocabularies of a million words fit.
pub const MAX_HEADER_BYTES: u64 = 128 << 20;
const MAX_NAME_BYTES: u64 = 65_535;
const MAX_SCALAR_STRING_BYTES: u64 = 4 << 20;
const MAX_METADATA: u64 = 65_536;
const MAX_TENSORS: u64 = 65_536;
const MAX_DIMS: u32 = 4;
const MAX_NESTING: u32 = 4;

/// A metadata value. Arrays stay in the file: only where they are is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Uint(u64),
    Int(i64),
    Float(f64),
    Bool(bool),
    String(String),
    Array(ArrayRef),
}

/// An array's place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayRef {
    /// GGUF value type of the elements.
    pub element_type: u32,
    /// Number of elements.
    pub len: u64,
    /// Where the first element begins (bytes from the start of the file).
    pub offset: u64,
}

/// A tensor's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub dtype: GgmlType,
    /// Contiguous dimension (weights in a row).
    pub cols: u64,
    /// Product of the other dimensions.
    pub rows: u64,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes of the whole tensor.
    pub bytes: u64,
}

/// The header of a GGUF file.
#[derive(Debug, Clone)]
pub struct GgufFile {
    pub version: u32,
    pub metadata: BTreeMap<String, Value>,
    pub tensors: HashMap<String, TensorInfo>,
}

mod value_type {
    pub const UINT8: u32 = 0;
    pub const INT8: u32 = 1;
    pub const UINT16: u32 = 2;
    pub const INT16: u32 = 3;
    pub const UINT32: u32 = 4;
    pub const INT32: u32 = 5;
    pub const FLOAT32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const UINT64: u32 = 10;
    pub const INT64: u32 = 11;
    pub const FLOAT64: u32 = 12;

    pub fn fixed_size(t: u32) -> Option<u64> {
        Some(match t {
            UINT8 | INT8 | BOOL => 1,
            UINT16 | INT16 => 2,
            UINT32 | INT32 | FLOAT32 => 4,
            UINT64 | INT64 | FLOAT64 => 8,
            _ => return None,
        })
    }
}

/// A buffered reader over a source: forward reads with a small window.
pub(crate) struct Cursor<'a, S: ByteSource + ?Sized> {
    source: &'a S,
    pub(crate) pos: u64,
    limit: u64,
    buf: Vec<u8>,
    buf_start: u64,
}

const WINDOW: u64 = 64 << 10;

impl<'a, S: ByteSource + ?Sized> Cursor<'a, S> {
    pub(crate) fn new(source: &'a S, pos: u64) -> Self {
        let limit = source.len();
        Self {
            source,
            pos,
            limit,
            buf: Vec::new(),
            buf_start: 0,
        }
    }

    /// The next `n` bytes. Short where they are in the window already: headers are read a few
    /// bytes at a time, hundreds of thousands of times.
    #[inline(always)]
    fn bytes(&mut self, n: u64, what: &str) -> Result<&[u8], Error> {
        let inside = self.pos.wrapping_sub(self.buf_start);
        let start = match self.buf.len() as u64 {
            len if inside <= len && n <= len - inside => inside as usize,
            _ => self.refill(n, what)?,
        };
        self.pos += n;
        Ok(&self.buf[start..start + n as usize])
    }

    /// Has the window begin at the position and hold at least `n` bytes; gives where in it they are.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, n: u64, what: &str) -> Result<usize, Error> {
        if self.pos > self.limit || n > self.limit - self.pos {
            return Err(Error::malformed(format!(
                "{what} of {n} bytes at {} passes the end ({})",
                self.pos, self.limit
            )));
        }
        let take = n.max(WINDOW).min(self.limit - self.pos);
        self.buf.resize(take as usize, 0);
        self.source.read_at(self.pos, &mut self.buf)?;
        self.buf_start = self.pos;
        Ok(0)
    }

    fn skip(&mut self, n: u64, what: &str) -> Result<(), Error> {
        if self.pos > self.limit || n > self.limit - self.pos {
            return Err(Error::malformed(format!(
                "{what} of {n} bytes at {} passes the end ({})",
                self.pos, self.limit
            )));
        }
        self.pos += n;
        Ok(())
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        match self.bytes(N as u64, what)?.first_chunk() {
            Some(bytes) => Ok(*bytes),
            None => Ok([0; N]),
        }
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    #[inline(always)]
    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn string(&mut self, max: u64, what: &str) -> Result<String, Error> {
        let n = self.u64(what)?;
        if n > max {
            return Err(Error::malformed(format!(
                "{what} of {n} bytes (at most {max})"
            )));
        }
        let bytes = self.bytes(n, what)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| Error::malformed(format!("{what} is not UTF-8")))
    }
}

impl GgufFile {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything that is not GGUF v2 or v3, [`Error::Unsupported`] for a
    /// tensor type this project does not read (the tensor is named).
    pub fn read<S: ByteSource + ?Sized>(source: &S) -> Result<Self, Error> {
        let mut c = Cursor::new(source, 0);
        c.limit = c.limit.min(MAX_HEADER_BYTES);
        if &c.array::<4>("magic")? != b"GGUF" {
            return Err(Error::malformed("the magic number is missing"));
        }
        let version = c.u32("version")?;
        if !(2..=3).contains(&version) {
            return Err(Error::malformed(format!(
                "version {version} (2 and 3 are read)"
            )));
        }
        let tensor_count = c.u64("tensor count")?;
        let metadata_count = c.u64("metadata count")?;
        if tensor_count > MAX_TENSORS {
            return Err(Error::malformed(format!("{tensor_count} tensors")));
        }
        if metadata_count > MAX_METADATA {
            return Err(Error::malformed(format!(
                "{metadata_count} metadata entries"
            )));
        }

        let mut metadata = BTreeMap::new();
        for _ in 0..metadata_count {
            let key = c.string(MAX_NAME_BYTES, "metadata key")?;
            let kind = c.u32("metadata type")?;
            let value = read_value(&mut c, kind, &key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(Error::malformed(format!("metadata key {key} twice")));
            }
        }

        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Value::Uint(a)) if a.is_power_of_two() && *a <= 1 << 16 => *a,
            Some(v) => return Err(Error::malformed(format!("general.alignment {v:?}"))),
        };

        let mut tensors = HashMap::new();
        for _ in 0..tensor_count {
            let (name, info) = read_tensor(&mut c, alignment)?;
            if tensors.contains_key(&name) {
                return Err(Error::malformed(format!("tensor {name} twice")));
            }
            tensors.insert(name, info);
        }

        let data_start = c.pos.next_multiple_of(alignment);
        place_tensors(&mut tensors, data_start, source.len())?;
        Ok(Self {
            version,
            metadata,
            tensors,
        })
    }

    /// A tensor by name.
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo, Error> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::Unsupported(format!("tensor {name} is missing")))
    }

    /// A whole number of the metadata, whatever its width.
    pub fn uint(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key)? {
            Value::Uint(v) => Some(*v),
            Value::Int(v) => u64::try_from(*v).ok(),
            _ => None,
        }
    }

    /// A floating-point number of the metadata.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key)? {
            Value::Float(v) => Some(*v),
            _ => None,
        }
    }

    /// A string of the metadata.
    pub fn string(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::String(v) => Some(v),
            _ => None,
        }
    }

    /// A boolean of the metadata.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key)? {
            Value::Bool(v) => Some(*v),
            _ => None,
        }
    }

    /// Number of elements of an array of the metadata.
    pub fn array_len(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key)? {
            Value::Array(a) => Some(a.len),
            _ => None,
        }
    }

    fn array_ref(&self, key: &str, element_type: u32) -> Result<Option<&ArrayRef>, Error> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Array(a)) if a.element_type == element_type => Ok(Some(a)),
            Some(v) => Err(Error::malformed(format!("{key} has the wrong type: {v:?}"))),
        }
    }

    /// Calls `f` with each string of an array, in order; `Ok(None)` if the key is absent, else how
    /// many there were. The strings need not be UTF-8.
    pub fn for_each_string<S: ByteSource + ?Sized>(
        &self,
        source: &S,
        key: &str,
        mut f: impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<Option<u64>, Error> {
        let Some(a) = self.array_ref(key, value_type::STRING)? else {
            return Ok(None);
        };
        let mut c = Cursor::new(source, a.offset);
        for i in 0..a.len {
            let n = c.u64(key)?;
            f(i, c.bytes(n, key)?)?;
        }
        Ok(Some(a.len))
    }

    /// An array of 32-bit whole numbers.
    pub fn ints<S: ByteSource + ?Sized>(
        &self,
        source: &S,
        key: &str,
    ) -> Result<Option<Vec<i32>>, Error> {
        self.array_of_4(source, key, value_type::INT32, i32::from_le_bytes)
    }

    /// An array of 32-bit floats.
    pub fn floats<S: ByteSource + ?Sized>(
        &self,
        source: &S,
        key: &str,
    ) -> Result<Option<Vec<f32>>, Error> {
        self.array_of_4(source, key, value_type::FLOAT32, f32::from_le_bytes)
    }

    fn array_of_4<S: ByteSource + ?Sized, T>(
        &self,
        source: &S,
        key: &str,
        element_type: u32,
        get: fn([u8; 4]) -> T,
    ) -> Result<Option<Vec<T>>, Error> {
        let Some(a) = self.array_ref(key, element_type)? else {
            return Ok(None);
        };
        let mut c = Cursor::new(source, a.offset);
        let mut out = Vec::with_capacity(a.len as usize);
        for _ in 0..a.len {
            out.push(get(c.array(key)?));
        }
        Ok(Some(out))
    }
}

pub(crate) fn read_value<S: ByteSource + ?Sized>(
    c: &mut Cursor<'_, S>,
    kind: u32,
    key: &str,
) -> Result<Value, Error> {
    use value_type::*;
    Ok(match kind {
        UINT8 => Value::Uint(u64::from(c.array::<1>(key)?[0])),
        INT8 => Value::Int(i64::from(c.array::<1>(key)?[0] as i8)),
        UINT16 => Value::Uint(u64::from(u16::from_le_bytes(c.array(key)?))),
        INT16 => Value::Int(i64::from(i16::from_le_bytes(c.array(key)?))),
        UINT32 => Value::Uint(u64::from(c.u32(key)?)),
        INT32 => Value::Int(i64::from(i32::from_le_bytes(c.array(key)?))),
        UINT64 => Value::Uint(c.u64(key)?),
        INT64 => Value::Int(i64::from_le_bytes(c.array(key)?)),
        FLOAT32 => Value::Float(f64::from(f32::from_le_bytes(c.array(key)?))),
        FLOAT64 => Value::Float(f64::from_le_bytes(c.array(key)?)),
        BOOL => Value::Bool(c.array::<1>(key)?[0] != 0),
        STRING => Value::String(c.string(MAX_SCALAR_STRING_BYTES, key)?),
        ARRAY => Value::Array(skip_array(c, key, 1)?),
        t => return Err(Error::malformed(format!("metadata type {t} of {key}"))),
    })
}

fn skip_array<S: ByteSource + ?Sized>(
    c: &mut Cursor<'_, S>,
    key: &str,
    depth: u32,
) -> Result<ArrayRef, Error> {
    if depth > MAX_NESTING {
        return Err(Error::malformed(format!(
            "arrays of {key} are nested too deep"
        )));
    }
    let element_type = c.u32(key)?;
    let len = c.u64(key)?;
    let offset = c.pos;
    if let Some(size) = value_type::fixed_size(element_type) {
        c.skip(len.saturating_mul(size), key)?;
    } else if element_type == value_type::STRING {
        for _ in 0..len {
            let n = c.u64(key)?;
            // Where it passes the end, the next read says so.
            c.pos = c.pos.saturating_add(n);
        }
        c.skip(0, key)?;
    } else if element_type == value_type::ARRAY {
        for _ in 0..len {
            skip_array(c, key, depth + 1)?;
        }
    } else {
        return Err(Error::malformed(format!(
            "array type {element_type} of {key}"
        )));
    }
    Ok(ArrayRef {
        element_type,
        len,
        offset,
    })
}

/// Reads one tensor entry; its offset still counts from the start of the tensor data.
fn read_tensor<S: ByteSource + ?Sized>(
    c: &mut Cursor<'_, S>,
    alignment: u64,
) -> Result<(String, TensorInfo), Error> {
    let name = c.string(MAX_NAME_BYTES, "tensor name")?;
    let dims = c.u32("dimension count")?;
    if dims == 0 || dims > MAX_DIMS {
        return Err(Error::malformed(format!(
            "tensor {name} has {dims} dimensions"
        )));
    }
    let cols = c.u64("dimension")?;
    let mut rows = 1u64;
    for _ in 1..dims {
        rows = rows
            .checked_mul(c.u64("dimension")?)
            .ok_or_else(|| Error::malformed(format!("tensor {name} is too large")))?;
    }
    if cols == 0 || rows == 0 {
        return Err(Error::malformed(format!(
            "tensor {name} has a dimension of zero"
        )));
    }
    let type_number = c.u32("tensor type")?;
    let offset = c.u64("tensor offset")?;
    let dtype = GgmlType::from_u32(type_number).ok_or_else(|| {
        Error::Unsupported(format!(
            "tensor {name} has ggml type {type_number}, which is not read"
        ))
    })?;
    let bytes = dtype
        .row_bytes(cols)
        .and_then(|b| b.checked_mul(rows))
        .ok_or_else(|| {
            Error::malformed(format!(
                "tensor {name}: {rows} rows of {cols} do not fit {dtype} blocks"
            ))
        })?;
    if !offset.is_multiple_of(alignment) {
        return Err(Error::malformed(format!("tensor {name} is not aligned")));
    }
    Ok((
        name,
        TensorInfo {
            dtype,
            cols,
            rows,
            offset,
            bytes,
        },
    ))
}

/// Makes offsets absolute; refuses tensors outside the file or over one another.
fn place_tensors(
    tensors: &mut HashMap<String, TensorInfo>,
    data_start: u64,
    file_len: u64,
) -> Result<(), Error> {
    let mut spans = Vec::with_capacity(tensors.len());
    for (name, t) in tensors.iter_mut() {
        let start = data_start.checked_add(t.offset);
        let end = start.and_then(|s| s.checked_add(t.bytes));
        match (start, end) {
            (Some(start), Some(end)) if end <= file_len => {
                t.offset = start;
                spans.push((start, end, name.as_str()));
            }
            _ => {
                return Err(Error::malformed(format!(
                    "tensor {name} passes the end of the file ({file_len} bytes): is it truncated?"
                )));
            }
        }
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        if pair[0].1 > pair[1].0 {
            return Err(Error::malformed(format!(
                "tensors {} and {} overlap",
                pair[0].2, pair[1].2
            )));
        }
    }
    Ok(())
}

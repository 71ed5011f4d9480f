//! The header: metadata and tensor entries.

use super::cursor::Cursor;
use super::dtype::GgmlType;
use super::source::ByteSource;
use crate::Error;
use std::collections::{BTreeMap, HashMap};

/// Longest header that is read (bytes): vocabularies of a million tokens fit.
pub const MAX_HEADER_BYTES: u64 = 128 << 20;
const MAX_NAME_BYTES: u64 = 65_535;
const MAX_SCALAR_STRING_BYTES: u64 = 4 << 20;
const MAX_METADATA: u64 = 65_536;
const MAX_TENSORS: u64 = 65_536;
const MAX_DIMS: u32 = 4;
const MAX_NESTING: u32 = 4;

/// A metadata value. Arrays stay in the file: only their place is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An unsigned whole number of any width.
    Uint(u64),
    /// A signed whole number of any width.
    Int(i64),
    /// A floating-point number of either width.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    String(String),
    /// An array of any type.
    Array(ArrayRef),
}

/// An array's place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayRef {
    /// GGUF value type of the elements.
    pub element_type: u32,
    /// Number of elements.
    pub len: u64,
    /// Offset of the first element (bytes from the start of the file).
    pub offset: u64,
}

/// A tensor's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Block format.
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
///
/// ```
/// use weights::GgufFile;
/// // Version 3, no tensors, one metadata entry: `answer`, a u8 (type 0), 42.
/// let mut bytes = b"GGUF\x03\0\0\0".to_vec();
/// bytes.extend(0u64.to_le_bytes());
/// bytes.extend(1u64.to_le_bytes());
/// bytes.extend(6u64.to_le_bytes());
/// bytes.extend(b"answer\0\0\0\0\x2a");
/// let file = GgufFile::read(&bytes)?;
/// assert_eq!(file.uint("answer"), Some(42));
/// # Ok::<(), weights::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct GgufFile {
    /// Version of the format: 2 or 3.
    pub version: u32,
    /// Metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// Tensors by name.
    pub tensors: HashMap<String, TensorInfo>,
}

mod value_type {
    pub(super) const UINT8: u32 = 0;
    pub(super) const INT8: u32 = 1;
    pub(super) const UINT16: u32 = 2;
    pub(super) const INT16: u32 = 3;
    pub(super) const UINT32: u32 = 4;
    pub(super) const INT32: u32 = 5;
    pub(super) const FLOAT32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const STRING: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
    pub(super) const UINT64: u32 = 10;
    pub(super) const INT64: u32 = 11;
    pub(super) const FLOAT64: u32 = 12;

    pub(super) fn fixed_size(t: u32) -> Option<u64> {
        Some(match t {
            UINT8 | INT8 | BOOL => 1,
            UINT16 | INT16 => 2,
            UINT32 | INT32 | FLOAT32 => 4,
            UINT64 | INT64 | FLOAT64 => 8,
            _ => return None,
        })
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

    /// Returns a tensor by name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if there is no such tensor.
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo, Error> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::Unsupported(format!("tensor {name} is missing")))
    }

    /// Returns a whole number of the metadata, of any type and width.
    pub fn uint(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key)? {
            Value::Uint(v) => Some(*v),
            Value::Int(v) => u64::try_from(*v).ok(),
            // Some writers store whole numbers as floats. Up to 2^53 they are exact.
            Value::Float(v) if v.fract() == 0.0 && (0.0..=9e15).contains(v) => Some(*v as u64),
            _ => None,
        }
    }

    /// Returns a number of the metadata, of any type and width.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key)? {
            Value::Float(v) => Some(*v),
            Value::Uint(v) => Some(*v as f64),
            Value::Int(v) => Some(*v as f64),
            _ => None,
        }
    }

    /// Returns a string of the metadata.
    pub fn string(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::String(v) => Some(v),
            _ => None,
        }
    }

    /// Returns a boolean of the metadata.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key)? {
            Value::Bool(v) => Some(*v),
            _ => None,
        }
    }

    /// Returns the number of elements of an array of the metadata.
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

    /// Calls `f` with the index and the bytes of each string of an array, in order. The strings need not
    /// be UTF-8. Returns the number of strings; `None` if the key is absent.
    ///
    /// # Errors
    /// Those of `f`; [`Error::Malformed`] if the key is not an array of strings.
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

    /// Returns an array of signed 32-bit numbers; `None` if the key is absent.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the key has another type.
    pub fn ints<S: ByteSource + ?Sized>(
        &self,
        source: &S,
        key: &str,
    ) -> Result<Option<Vec<i32>>, Error> {
        self.array_of_4(source, key, value_type::INT32, i32::from_le_bytes)
    }

    /// Returns an array of 32-bit floats; `None` if the key is absent.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the key has another type.
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

pub(super) fn read_value<S: ByteSource + ?Sized>(
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
            // If this passes the end, the next read fails.
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

//! A GGUF file in its parts, each of which may be made wrong: what crafted files are made from.

use anyhow::{Context, Result};

/// A metadata entry: its key, its type, and the bytes of its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key (UTF-8 in a good file).
    pub key: Vec<u8>,
    /// The type number, as the file has it.
    pub kind: u32,
    /// The value as the file has it, without its type.
    pub value: Vec<u8>,
}

/// A tensor's entry.
#[derive(Clone, Debug)]
pub struct TensorEntry {
    /// The tensor's name.
    pub name: Vec<u8>,
    /// The dimensions, fastest first.
    pub dims: Vec<u64>,
    /// The type number, as the file has it.
    pub kind: u32,
    /// Bytes from the start of the data.
    pub offset: u64,
}

/// A file's parts.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The version of the format.
    pub version: u32,
    /// Other numbers of tensors and entries than there are.
    pub counts: Option<(u64, u64)>,
    /// The metadata, in order.
    pub metadata: Vec<Entry>,
    /// The tensors, in order.
    pub tensors: Vec<TensorEntry>,
    /// What follows the header and its padding.
    pub data: Vec<u8>,
}

/// Reads on from the beginning of some bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n).context("the end")?;
        self.0 = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes(4)?.try_into()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes(8)?.try_into()?))
    }

    fn string(&mut self) -> Result<&'a [u8]> {
        let n = self.u64()? as usize;
        self.bytes(n)
    }

    /// The bytes of a value of this type.
    fn value(&mut self, kind: u32) -> Result<&'a [u8]> {
        let all = self.0;
        match kind {
            0 | 1 | 7 => drop(self.bytes(1)?),
            2 | 3 => drop(self.bytes(2)?),
            4..=6 => drop(self.bytes(4)?),
            8 => drop(self.string()?),
            9 => {
                let (kind, n) = (self.u32()?, self.u64()?);
                for _ in 0..n {
                    self.value(kind)?;
                }
            }
            _ => drop(self.bytes(8)?),
        }
        Ok(&all[..all.len() - self.0.len()])
    }
}

impl Raw {
    /// Takes a well-formed file apart.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let mut r = Reader(file);
        r.bytes(4)?;
        let version = r.u32()?;
        let (tensors, entries) = (r.u64()?, r.u64()?);
        let metadata = (0..entries)
            .map(|_| {
                let (key, kind) = (r.string()?.to_vec(), r.u32()?);
                let value = r.value(kind)?.to_vec();
                Ok(Entry { key, kind, value })
            })
            .collect::<Result<_>>()?;
        let tensors = (0..tensors)
            .map(|_| {
                let name = r.string()?.to_vec();
                let dims = (0..r.u32()?).map(|_| r.u64()).collect::<Result<_>>()?;
                Ok(TensorEntry {
                    name,
                    dims,
                    kind: r.u32()?,
                    offset: r.u64()?,
                })
            })
            .collect::<Result<_>>()?;
        let begin = (file.len() - r.0.len()).next_multiple_of(32);
        Ok(Self {
            version,
            counts: None,
            metadata,
            tensors,
            data: file[begin..].to_vec(),
        })
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let there = (self.tensors.len() as u64, self.metadata.len() as u64);
        let (tensors, entries) = self.counts.unwrap_or(there);
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(tensors.to_le_bytes());
        out.extend(entries.to_le_bytes());
        for e in &self.metadata {
            string(&mut out, &e.key);
            out.extend(e.kind.to_le_bytes());
            out.extend(&e.value);
        }
        for t in &self.tensors {
            string(&mut out, &t.name);
            out.extend((t.dims.len() as u32).to_le_bytes());
            t.dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(t.kind.to_le_bytes());
            out.extend(t.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }

    /// Sets or adds an entry.
    pub fn set(&mut self, key: &str, kind: u32, value: Vec<u8>) {
        self.metadata.retain(|e| e.key != key.as_bytes());
        self.metadata.push(Entry {
            key: key.into(),
            kind,
            value,
        });
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &str) {
        self.metadata.retain(|e| e.key != key.as_bytes());
    }

    /// A tensor's entry.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn tensor(&mut self, name: &str) -> &mut TensorEntry {
        let found = self.tensors.iter_mut().find(|t| t.name == name.as_bytes());
        found.expect("a tensor of this name")
    }

    /// A tensor's data, from its beginning on.
    pub fn data_of(&mut self, name: &str) -> &mut [u8] {
        let offset = self.tensor(name).offset as usize;
        &mut self.data[offset..]
    }
}

fn string(out: &mut Vec<u8>, s: &[u8]) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s);
}

/// A string's bytes as a value.
pub fn text(s: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    string(&mut out, s);
    out
}

/// An array's bytes as a value: the type of its elements, how many it says it has, and theirs.
pub fn array(kind: u32, len: u64, elements: &[u8]) -> Vec<u8> {
    let mut out = kind.to_le_bytes().to_vec();
    out.extend(len.to_le_bytes());
    out.extend(elements);
    out
}

/// An array of strings.
pub fn texts<S: AsRef<[u8]>>(all: &[S]) -> Vec<u8> {
    let elements: Vec<u8> = all.iter().flat_map(|s| text(s.as_ref())).collect();
    array(8, all.len() as u64, &elements)
}

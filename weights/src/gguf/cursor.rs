//! A buffered reader over a source: forward reads with a small window.

use super::source::ByteSource;
use crate::Error;

/// Reads forward from a position of a source.
pub(super) struct Cursor<'a, S: ByteSource + ?Sized> {
    source: &'a S,
    /// The next byte to read (bytes from the start of the source).
    pub(super) pos: u64,
    /// Reads past this byte fail.
    pub(super) limit: u64,
    buf: Vec<u8>,
    buf_start: u64,
}

const WINDOW: u64 = 64 << 10;

impl<'a, S: ByteSource + ?Sized> Cursor<'a, S> {
    pub(super) fn new(source: &'a S, pos: u64) -> Self {
        let limit = source.len();
        Self {
            source,
            pos,
            limit,
            buf: Vec::new(),
            buf_start: 0,
        }
    }

    /// Returns the next `n` bytes. Fast when they are already in the window: headers are read a few
    /// bytes at a time, hundreds of thousands of times.
    #[inline(always)]
    pub(super) fn bytes(&mut self, n: u64, what: &str) -> Result<&[u8], Error> {
        let inside = self.pos.wrapping_sub(self.buf_start);
        let start = match self.buf.len() as u64 {
            len if inside <= len && n <= len - inside => inside as usize,
            _ => self.refill(n, what)?,
        };
        self.pos += n;
        Ok(&self.buf[start..start + n as usize])
    }

    /// Moves the window so that it starts at the position and holds at least `n` bytes. Returns the
    /// offset of those bytes within the window.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, n: u64, what: &str) -> Result<usize, Error> {
        if self.pos > self.limit || n > self.limit - self.pos {
            return Err(Error::malformed(format!(
                "{what} of {n} bytes at offset {} passes the end ({} bytes)",
                self.pos, self.limit
            )));
        }
        let take = n.max(WINDOW).min(self.limit - self.pos);
        self.buf.resize(take as usize, 0);
        self.source.read_at(self.pos, &mut self.buf)?;
        self.buf_start = self.pos;
        Ok(0)
    }

    pub(super) fn skip(&mut self, n: u64, what: &str) -> Result<(), Error> {
        if self.pos > self.limit || n > self.limit - self.pos {
            return Err(Error::malformed(format!(
                "{what} of {n} bytes at offset {} passes the end ({} bytes)",
                self.pos, self.limit
            )));
        }
        self.pos += n;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        match self.bytes(N as u64, what)?.first_chunk() {
            Some(bytes) => Ok(*bytes),
            None => Ok([0; N]),
        }
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    #[inline(always)]
    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(super) fn string(&mut self, max: u64, what: &str) -> Result<String, Error> {
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

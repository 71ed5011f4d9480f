//! A large block of heap memory, aligned for vectors, whose allocation can fail.

use crate::Error;
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// Owned bytes, 64-byte aligned.
pub struct Region {
    ptr: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a region owns its bytes, like a box.
unsafe impl Send for Region {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Region {}

impl Region {
    /// Allocates `len` bytes. On Wasm they are not cleared (that would cost an instruction a byte): their
    /// values are unspecified, and every user writes before it reads or ignores what it reads.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], naming `what`, instead of an abort.
    pub fn new(len: usize, what: &'static str) -> Result<Self, Error> {
        let no_memory = || Error::OutOfMemory {
            what,
            bytes: len as u64,
        };
        let layout = Layout::from_size_align(len.max(1), 64).map_err(|_| no_memory())?;
        // Linear memory always holds defined bytes; elsewhere reading them needs them written.
        let ptr = if cfg!(target_arch = "wasm32") {
            // SAFETY: the layout has at least one byte.
            unsafe { alloc(layout) }
        } else {
            // SAFETY: the layout has at least one byte.
            unsafe { std::alloc::alloc_zeroed(layout) }
        };
        Ok(Self {
            ptr: NonNull::new(ptr).ok_or_else(no_memory)?,
            layout,
        })
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// Returns `true` if there are no bytes (never: the least is one).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the region owns these bytes, which hold defined values.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len()) }
    }

    /// Returns the bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the region is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len()) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.ptr.as_ptr(), self.layout) }
    }
}

//! A large block of heap memory, aligned for vectors, that can fail to be had.

use crate::Error;
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// Owned bytes, 64-byte aligned.
pub struct Region {
    ptr: NonNull<u8>,
    layout: Layout,
}

// Safety: a region owns its bytes, like a box.
unsafe impl Send for Region {}
unsafe impl Sync for Region {}

impl Region {
    /// `len` bytes. On Wasm they are not cleared (that would cost an instruction a byte): what is
    /// there is unspecified, and every user writes before it reads or ignores what it reads.
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
            unsafe { alloc(layout) }
        } else {
            unsafe { std::alloc::alloc_zeroed(layout) }
        };
        Ok(Self {
            ptr: NonNull::new(ptr).ok_or_else(no_memory)?,
            layout,
        })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// Whether there is nothing in it (never: the least is one byte).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len()) }
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len()) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        unsafe { dealloc(self.ptr.as_ptr(), self.layout) }
    }
}

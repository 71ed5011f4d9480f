//! Virtual memory: a safe shell around `mmap` and its relatives.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// A range of address space, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: the range belongs to this value alone; who reads and writes it is up to its owner.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

/// What may be done with mapped pages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    None,
    Read,
    ReadWrite,
}

impl Access {
    fn flags(self) -> libc::c_int {
        match self {
            Access::None => libc::PROT_NONE,
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

impl Mapping {
    fn map(len: usize, access: Access, flags: libc::c_int, fd: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new range chosen by the kernel touches no memory in use.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                access.flags(),
                flags | libc::MAP_NORESERVE,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping {
            start: start.cast(),
            len,
        })
    }

    /// Zeroed memory that takes no room until it is written.
    pub(crate) fn zeroed(len: usize) -> io::Result<Self> {
        Self::map(
            len,
            Access::ReadWrite,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
        )
    }

    /// Address space without access.
    pub(crate) fn reserve(len: usize) -> io::Result<Self> {
        Self::map(
            len,
            Access::None,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
        )
    }

    /// The file's content; writes go to the file.
    pub(crate) fn shared(file: &File, len: usize) -> io::Result<Self> {
        Self::map(len, Access::ReadWrite, libc::MAP_SHARED, file.as_raw_fd())
    }

    /// Lays a private view of the file's first `len` bytes, without access, over the start.
    pub(crate) fn overlay_private(&self, file: &File, len: usize) -> io::Result<()> {
        assert!(len <= self.len);
        // SAFETY: the range lies in this mapping, whose owner asks for its content to be replaced.
        let start = unsafe {
            libc::mmap(
                self.start.cast(),
                len,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// First byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Changes what may be done with a page-aligned part. Safe to call in a signal handler.
    pub(crate) fn protect(&self, offset: usize, len: usize, access: Access) -> bool {
        debug_assert!(offset + len <= self.len);
        // SAFETY: the range lies in this mapping.
        unsafe { libc::mprotect(self.start.add(offset).cast(), len, access.flags()) == 0 }
    }

    /// Drops private changes of a page-aligned part: it reads as the file again.
    pub(crate) fn discard(&self, offset: usize, len: usize) {
        debug_assert!(offset + len <= self.len);
        // SAFETY: the range lies in this mapping, whose owner asks for its content to be dropped.
        let result =
            unsafe { libc::madvise(self.start.add(offset).cast(), len, libc::MADV_DONTNEED) };
        assert_eq!(result, 0, "madvise on an own mapping");
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range belongs to this value, which is gone after this.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// Which of `count` pages from an address on are private copies of what is mapped there. None where
/// the system does not tell.
pub(crate) fn written_pages(address: usize, count: usize) -> Option<Vec<bool>> {
    use std::os::unix::fs::FileExt;
    /// Bits of an entry of the kernel's page map.
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const OF_A_FILE: u64 = 1 << 61;
    static PAGE_MAP: std::sync::OnceLock<Option<File>> = std::sync::OnceLock::new();
    let map = PAGE_MAP.get_or_init(|| File::open("/proc/self/pagemap").ok());
    let mut entries = vec![0; count * 8];
    let offset = (address / crate::storage::PAGE * 8) as u64;
    map.as_ref()?.read_exact_at(&mut entries, offset).ok()?;
    let pages: Vec<bool> = entries
        .chunks_exact(8)
        .map(|entry| {
            let mut word = [0; 8];
            word.copy_from_slice(entry);
            let entry = u64::from_ne_bytes(word);
            entry & (PRESENT | SWAPPED) != 0 && entry & OF_A_FILE == 0
        })
        .collect();
    // A system that hides the map shows nothing at all.
    pages.contains(&true).then_some(pages)
}

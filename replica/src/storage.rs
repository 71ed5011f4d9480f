//! The files of a state directory.
//!
//! A state directory has one file for each heap and stable memory (sparse, written in place), one
//! for each module and chunk, `state`, which holds everything else as of the end of a round and is
//! replaced as a whole, and `journal`, which holds what the pages written since then were before.
//! A process that dies in a round thus leaves the state of the round before: the next process puts
//! the journal's pages back. Files are not forced to the disk: this is safe against the death of
//! the process, not of the machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes of the pages that changes are tracked in.
pub const PAGE: usize = 4096;

/// Where memories are kept: in a directory, or in memory only.
#[derive(Debug, Default)]
pub struct FileStore {
    dir: Option<PathBuf>,
    next: AtomicU64,
    /// Number of the last state saved.
    epoch: AtomicU64,
    journal: Mutex<Option<File>>,
    /// Users' messages that were accepted since.
    accepted: Mutex<Option<File>>,
    /// Files that the next state does not refer to.
    trash: Mutex<Vec<PathBuf>>,
}

/// A memory's file.
#[derive(Debug)]
pub struct StoredFile {
    /// The open file.
    pub file: File,
    id: u64,
    /// The epoch in which the file was made: until that is saved, nothing refers to it.
    born: u64,
    store: Arc<FileStore>,
}

/// Bytes of a journal entry's head: file and page.
const HEAD: usize = 16;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|error| error.into_inner())
}

impl FileStore {
    /// A store in a directory, which is made if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(dir: Option<PathBuf>) -> io::Result<Arc<FileStore>> {
        let mut store = FileStore::default();
        if let Some(dir) = &dir {
            std::fs::create_dir_all(dir)?;
            let log = |name: &str| {
                let mut options = OpenOptions::new();
                let options = options.read(true).append(true).create(true);
                options.open(dir.join(name))
            };
            store.journal = Mutex::new(Some(log("journal")?));
            store.accepted = Mutex::new(Some(log("accepted")?));
        }
        store.dir = dir;
        Ok(Arc::new(store))
    }

    /// The directory, if there is one.
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Number of the last state saved.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    /// Goes on from a state that was saved before.
    pub fn resume(&self, epoch: u64, next: u64) {
        self.epoch.store(epoch, Relaxed);
        self.next.store(next, Relaxed);
    }

    /// Number that the next file gets.
    pub fn next_file(&self) -> u64 {
        self.next.load(Relaxed)
    }

    fn path(&self, id: u64) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(format!("memory-{id}")))
    }

    /// A new empty file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(self: &Arc<Self>) -> io::Result<StoredFile> {
        let id = self.next.fetch_add(1, Relaxed);
        let file = match self.path(id) {
            Some(path) => OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(path)?,
            None => memory_file(c"canister-memory")?,
        };
        Ok(StoredFile {
            file,
            id,
            born: self.epoch(),
            store: self.clone(),
        })
    }

    /// A file that a saved state refers to.
    ///
    /// # Errors
    /// When it is not there.
    pub fn reopen(self: &Arc<Self>, id: u64) -> io::Result<StoredFile> {
        let path = self.path(id).ok_or(io::ErrorKind::NotFound)?;
        Ok(StoredFile {
            file: OpenOptions::new().read(true).write(true).open(path)?,
            id,
            born: 0,
            store: self.clone(),
        })
    }

    /// A file of given content under a name that stands for it; written once.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        let path = dir.join(name);
        if path.exists() {
            return Ok(());
        }
        let new = dir.join(format!("{name}.new"));
        std::fs::write(&new, content)?;
        std::fs::rename(new, path)
    }

    /// Replaces the saved state; from here on the journal starts anew.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, epoch: u64, state: &[u8]) -> io::Result<()> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        let new = dir.join("state.new");
        std::fs::write(&new, state)?;
        std::fs::rename(&new, dir.join("state"))?;
        self.epoch.store(epoch, Relaxed);
        self.start_journal(epoch)?;
        if let Some(accepted) = lock(&self.accepted).as_mut() {
            // The state has them.
            accepted.set_len(0)?;
        }
        for path in lock(&self.trash).drain(..) {
            // A file that is left over is found at the next start.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }

    /// Keeps a message that was accepted until the next state is saved.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn accept(&self, message: &[u8]) -> io::Result<()> {
        if let Some(accepted) = lock(&self.accepted).as_mut() {
            let len = message.len() as u64;
            accepted.write_all(&[&len.to_le_bytes(), message].concat())?;
        }
        Ok(())
    }

    /// The messages that were accepted after the last state was saved; the last may be cut off.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn accepted(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut bytes = Vec::new();
        if let Some(file) = lock(&self.accepted).as_mut() {
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut bytes)?;
        }
        let mut messages = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((len, tail)) = rest.split_first_chunk::<8>() {
            let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX);
            let (message, tail) = tail.split_at(len.min(tail.len()));
            messages.push(message.to_vec());
            rest = tail;
        }
        Ok(messages)
    }

    fn start_journal(&self, epoch: u64) -> io::Result<()> {
        if let Some(journal) = lock(&self.journal).as_mut() {
            journal.set_len(0)?;
            journal.write_all(&epoch.to_le_bytes())?;
        }
        Ok(())
    }

    /// Puts back the pages that were written after the state with that number was saved.
    ///
    /// # Errors
    /// When the journal or a file cannot be read or written.
    pub fn roll_back(&self, epoch: u64) -> io::Result<()> {
        let mut journal = Vec::new();
        if let Some(file) = lock(&self.journal).as_mut() {
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut journal)?;
        }
        let number = |bytes: &[u8]| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[..8]);
            u64::from_le_bytes(word)
        };
        if journal.len() >= 8 && number(&journal) == epoch {
            // An entry that was not written completely has changed no page yet.
            let entries: Vec<&[u8]> = journal[8..].chunks_exact(HEAD + PAGE).collect();
            for entry in entries.into_iter().rev() {
                let Some(path) = self.path(number(entry)) else {
                    continue;
                };
                let offset = number(&entry[8..]) * PAGE as u64;
                let file = OpenOptions::new().write(true).open(path)?;
                file.write_all_at(&entry[HEAD..], offset)?;
            }
        }
        self.start_journal(epoch)
    }

    /// Removes what a saved state does not refer to.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn clean(&self, wanted: impl Fn(&str) -> bool) -> io::Result<()> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours = ["memory-", "module-", "native-", "chunk-"]
                .iter()
                .any(|prefix| name.starts_with(prefix));
            if (ours && !wanted(&name)) || name.ends_with(".new") {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl StoredFile {
    /// The file's number in its store.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Notes what pages are before they are written.
    ///
    /// # Panics
    /// When the journal cannot be written: going on would lose committed data.
    pub fn journal<'a>(&self, pages: impl Iterator<Item = (u64, &'a [u8])>) {
        if self.store.dir.is_none() || self.born == self.store.epoch() {
            return;
        }
        let mut entries = Vec::new();
        for (page, content) in pages {
            entries.extend(self.id.to_le_bytes());
            entries.extend(page.to_le_bytes());
            entries.extend(content);
        }
        if entries.is_empty() {
            return;
        }
        if let Some(journal) = lock(&self.store.journal).as_mut() {
            journal
                .write_all(&entries)
                .expect("the journal of the state directory can be written");
        }
    }
}

impl Drop for StoredFile {
    fn drop(&mut self) {
        if let Some(path) = self.store.path(self.id) {
            lock(&self.store.trash).push(path);
        }
    }
}

/// A file that lives in memory only, sparse and empty.
fn memory_file(name: &std::ffi::CStr) -> io::Result<File> {
    // SAFETY: the name is a C string; the descriptor is new and owned by the file.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(fd))
    }
}

//! A canister's stable memory.

use super::PAGE;
use super::mapping::Mapping;
use crate::persist::{FileStore, StoredFile};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

/// Bytes of a page as the System API counts them.
pub const STABLE_PAGE: u64 = 65_536;
/// Largest stable memory, in pages of 64 KiB: 500 GiB.
pub const MAX_STABLE_PAGES: u64 = (500 << 30) / STABLE_PAGE;

/// Least address space mapped, in bytes.
const MIN_WINDOW: usize = 1 << 24;

/// Stable memory: the committed content in a sparse file, and what the running message wrote.
#[derive(Debug)]
pub struct Stable {
    file: Arc<StoredFile>,
    window: Option<Arc<Mapping>>,
    committed_pages: u64,
    pages: u64,
    /// Pages (4 KiB) written by the message: where in `written` their content is.
    overlay: HashMap<u64, usize>,
    written: Vec<u8>,
    accessed: PageSet,
    dirty: PageSet,
}

/// A set of page numbers that is cheap to clear.
#[derive(Debug, Default)]
struct PageSet {
    words: Vec<u64>,
    touched: Vec<usize>,
    len: u64,
}

impl PageSet {
    fn insert(&mut self, page: u64) {
        let word = (page / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1 + self.words.len() / 2, 0);
        }
        let bit = 1 << (page % 64);
        if self.words[word] & bit == 0 {
            if self.words[word] == 0 {
                self.touched.push(word);
            }
            self.words[word] |= bit;
            self.len += 1;
        }
    }

    fn contains(&self, page: u64) -> bool {
        self.words
            .get((page / 64) as usize)
            .is_some_and(|word| word & (1 << (page % 64)) != 0)
    }

    fn clear(&mut self) {
        for word in self.touched.drain(..) {
            self.words[word] = 0;
        }
        self.len = 0;
    }
}

impl Stable {
    /// An empty stable memory.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn new(store: &Arc<FileStore>) -> io::Result<Stable> {
        Self::with_file(store.create()?, 0)
    }

    /// A stable memory of `pages` pages (64 KiB) over a file, whose content is kept.
    ///
    /// # Errors
    /// When the file cannot be mapped.
    pub fn with_file(file: StoredFile, pages: u64) -> io::Result<Stable> {
        let mut stable = Stable {
            file: Arc::new(file),
            window: None,
            committed_pages: pages,
            pages,
            overlay: HashMap::new(),
            written: Vec::new(),
            accessed: PageSet::default(),
            dirty: PageSet::default(),
        };
        stable.map()?;
        Ok(stable)
    }

    /// The memory's file.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// Another stable memory with the committed content.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn duplicate(&self, store: &Arc<FileStore>) -> io::Result<Stable> {
        let mut copy = Stable::new(store)?;
        copy.pages = self.committed_pages;
        copy.map()?;
        let len = (self.committed_pages * STABLE_PAGE) as usize;
        for (index, page) in self.committed(0, len).chunks(PAGE).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                copy.write((index * PAGE) as u64, page);
            }
            if copy.written.len() >= 1 << 24 {
                copy.commit();
            }
        }
        copy.commit();
        Ok(copy)
    }

    /// The committed content for another execution; commit it only in place of this.
    pub fn fork(&self) -> Stable {
        Stable {
            file: self.file.clone(),
            window: self.window.clone(),
            committed_pages: self.committed_pages,
            pages: self.committed_pages,
            overlay: HashMap::new(),
            written: Vec::new(),
            accessed: PageSet::default(),
            dirty: PageSet::default(),
        }
    }

    /// Maps enough of the file for the present size.
    fn map(&mut self) -> io::Result<()> {
        let needed = (self.pages * STABLE_PAGE) as usize;
        if needed > 0
            && self
                .window
                .as_ref()
                .is_none_or(|window| window.len() < needed)
        {
            let len = needed.next_power_of_two().max(MIN_WINDOW);
            if self.file.file.metadata()?.len() < len as u64 {
                self.file.file.set_len(len as u64)?;
            }
            self.window = Some(Arc::new(Mapping::shared(&self.file.file, len)?));
        }
        Ok(())
    }

    /// Size with what the running message grew, in pages of 64 KiB.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Size without what the running message grew, in pages of 64 KiB.
    pub fn committed_pages(&self) -> u64 {
        self.committed_pages
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.pages * STABLE_PAGE
    }

    /// Grows by `pages` pages of 64 KiB; gives the former size, or none when it cannot.
    pub fn grow(&mut self, pages: u64) -> Option<u64> {
        let old = self.pages;
        let new = old
            .checked_add(pages)
            .filter(|new| *new <= MAX_STABLE_PAGES)?;
        self.pages = new;
        if self.map().is_err() {
            self.pages = old;
            return None;
        }
        Some(old)
    }

    /// True when the range lies in the memory.
    pub fn contains(&self, offset: u64, len: u64) -> bool {
        offset
            .checked_add(len)
            .is_some_and(|end| end <= self.bytes())
    }

    /// Pages of 4 KiB that a range touches.
    fn span(offset: u64, len: u64) -> std::ops::Range<u64> {
        if len == 0 {
            return 0..0;
        }
        offset / PAGE as u64..(offset + len).div_ceil(PAGE as u64)
    }

    /// Notes that the message reads or writes a range.
    pub fn access(&mut self, offset: u64, len: u64) {
        for page in Self::span(offset, len) {
            self.accessed.insert(page);
        }
    }

    /// Pages of 4 KiB that the message has read or written.
    pub fn accessed_pages(&self) -> u64 {
        self.accessed.len
    }

    /// Pages of 4 KiB that the message has written.
    pub fn dirty_pages(&self) -> u64 {
        self.dirty.len
    }

    /// Pages of 4 KiB in a range that the message has not yet written.
    pub fn clean_pages(&self, offset: u64, len: u64) -> u64 {
        Self::span(offset, len)
            .filter(|page| !self.dirty.contains(*page))
            .count() as u64
    }

    fn committed(&self, offset: u64, len: usize) -> &[u8] {
        match &self.window {
            Some(window) if offset as usize + len <= window.len() => {
                // SAFETY: in range of the mapping; the file is written only by `commit`.
                unsafe { std::slice::from_raw_parts(window.start().add(offset as usize), len) }
            }
            _ => &[],
        }
    }

    /// Copies a range that lies in the memory.
    pub fn read(&self, offset: u64, target: &mut [u8]) {
        if self.overlay.is_empty() {
            let source = self.committed(offset, target.len());
            target[..source.len()].copy_from_slice(source);
            return;
        }
        let mut at = offset;
        let mut target = target;
        while !target.is_empty() {
            let page = at / PAGE as u64;
            let within = (at % PAGE as u64) as usize;
            let len = target.len().min(PAGE - within);
            let (head, tail) = target.split_at_mut(len);
            match self.overlay.get(&page) {
                Some(&written) => {
                    head.copy_from_slice(&self.written[written + within..][..len]);
                }
                None => {
                    let source = self.committed(at, len);
                    head[..source.len()].copy_from_slice(source);
                }
            }
            target = tail;
            at += len as u64;
        }
    }

    /// Writes to a range that lies in the memory; seen by this message only until [`commit`].
    ///
    /// [`commit`]: Stable::commit
    pub fn write(&mut self, offset: u64, source: &[u8]) {
        let mut at = offset;
        let mut source = source;
        while !source.is_empty() {
            let page = at / PAGE as u64;
            let within = (at % PAGE as u64) as usize;
            let len = source.len().min(PAGE - within);
            let (head, tail) = source.split_at(len);
            self.dirty.insert(page);
            let start = match self.overlay.get(&page) {
                Some(&start) => start,
                None => {
                    let start = self.written.len();
                    if len == PAGE {
                        self.written.extend_from_slice(head);
                    } else {
                        let mut old = [0; PAGE];
                        old.copy_from_slice(self.committed(page * PAGE as u64, PAGE));
                        self.written.extend_from_slice(&old);
                    }
                    self.overlay.insert(page, start);
                    start
                }
            };
            self.written[start + within..][..len].copy_from_slice(head);
            source = tail;
            at += len as u64;
        }
    }

    /// Makes the message's writes and growth the committed content.
    pub fn commit(&mut self) {
        self.committed_pages = self.pages;
        let overlay = std::mem::take(&mut self.overlay);
        let before = overlay
            .keys()
            .map(|page| (*page, self.committed(page * PAGE as u64, PAGE)));
        self.file.journal(before);
        for (page, start) in overlay {
            let content = &self.written[start..start + PAGE];
            if let Some(window) = &self.window {
                assert!((page as usize + 1) * PAGE <= window.len());
                // SAFETY: in range of the mapping; the memory is borrowed exclusively.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        content.as_ptr(),
                        window.start().add(page as usize * PAGE),
                        PAGE,
                    );
                }
            }
        }
        self.end();
    }

    /// Drops the message's writes and growth.
    pub fn roll_back(&mut self) {
        self.pages = self.committed_pages;
        self.overlay.clear();
        self.end();
    }

    fn end(&mut self) {
        self.written.clear();
        self.written.shrink_to(1 << 22);
        self.restart_counting();
    }

    /// Forgets which pages were accessed and written, between the parts of an upgrade; what was
    /// written stays.
    pub fn restart_counting(&mut self) {
        self.accessed.clear();
        self.dirty.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_and_rolls_back() {
        let mut stable = Stable::new(&Arc::default()).expect("stable");
        assert_eq!(stable.grow(2), Some(0));
        stable.write(4090, b"0123456789");
        assert_eq!(stable.dirty_pages(), 2);
        stable.commit();
        stable.write(4094, b"xy");
        assert_eq!(stable.grow(1), Some(2));
        let mut text = [0; 10];
        stable.read(4090, &mut text);
        assert_eq!(&text, b"0123xy6789");
        stable.roll_back();
        stable.read(4090, &mut text);
        assert_eq!((&text, stable.pages()), (b"0123456789", 2));
        assert_eq!(stable.grow(MAX_STABLE_PAGES), None);
    }
}

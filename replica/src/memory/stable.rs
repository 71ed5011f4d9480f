//! A canister's stable memory.

use super::mapping::Mapping;
use crate::storage::{FileStore, PAGE, StoredFile};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

/// Bytes of a page as the System API counts them.
pub const STABLE_PAGE: u64 = 65_536;
/// Largest stable memory, in pages of 64 KiB: 500 GiB.
pub const MAX_STABLE_PAGES: u64 = (500 << 30) / STABLE_PAGE;

/// Least address space mapped, in bytes.
const MIN_WINDOW: usize = 1 << 24;

/// More layers than that are merged into one.
const MAX_LAYERS: usize = 4;

/// Stable memory: the stored content in a sparse file, what the messages of this round wrote, and
/// what the running message wrote. The file changes at the end of the round, so that until then
/// queries see the state before the round.
#[derive(Debug)]
pub struct Stable {
    file: Arc<StoredFile>,
    window: Option<Arc<Mapping>>,
    stored_pages: u64,
    committed_pages: u64,
    pages: u64,
    /// What messages that ended wrote and is not stored yet, oldest first.
    layers: Vec<Arc<Overlay>>,
    written: Overlay,
    accessed: PageSet,
    dirty: PageSet,
}

/// Pages of 4 KiB with new content.
#[derive(Debug, Default)]
struct Overlay {
    /// Where in `bytes` each begins.
    pages: HashMap<u64, usize>,
    bytes: Vec<u8>,
}

impl Overlay {
    fn get(&self, page: u64) -> Option<&[u8]> {
        let start = *self.pages.get(&page)?;
        Some(&self.bytes[start..start + PAGE])
    }

    fn insert(&mut self, page: u64, content: &[u8]) -> usize {
        match self.pages.get(&page) {
            Some(&start) => {
                self.bytes[start..start + PAGE].copy_from_slice(content);
                start
            }
            None => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(content);
                self.pages.insert(page, start);
                start
            }
        }
    }
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
            stored_pages: pages,
            committed_pages: pages,
            pages,
            layers: Vec::new(),
            written: Overlay::default(),
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

    /// Another stable memory with the stored content.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn duplicate(&self, store: &Arc<FileStore>) -> io::Result<Stable> {
        let mut copy = Stable::new(store)?;
        copy.pages = self.stored_pages;
        copy.map()?;
        let len = (self.stored_pages * STABLE_PAGE) as usize;
        for (index, page) in self.in_file(0, len).chunks(PAGE).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                copy.write((index * PAGE) as u64, page);
            }
            if copy.written.bytes.len() >= 1 << 24 {
                copy.commit();
                copy.flush();
            }
        }
        copy.commit();
        copy.flush();
        Ok(copy)
    }

    /// The content after the last message, for another execution; commit it only in place of this.
    pub fn fork(&self) -> Stable {
        Stable {
            file: self.file.clone(),
            window: self.window.clone(),
            stored_pages: self.stored_pages,
            committed_pages: self.committed_pages,
            pages: self.committed_pages,
            layers: self.layers.clone(),
            written: Overlay::default(),
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

    /// Size of what is stored, in pages of 64 KiB.
    pub fn stored_pages(&self) -> u64 {
        self.stored_pages
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

    fn in_file(&self, offset: u64, len: usize) -> &[u8] {
        match &self.window {
            Some(window) if offset as usize + len <= window.len() => {
                // SAFETY: in range of the mapping; the file is written only by `flush`.
                unsafe { std::slice::from_raw_parts(window.start().add(offset as usize), len) }
            }
            _ => &[],
        }
    }

    /// A page that was written in this round, before the running message.
    fn in_layers(&self, page: u64) -> Option<&[u8]> {
        self.layers.iter().rev().find_map(|layer| layer.get(page))
    }

    /// Copies a range that lies in the memory.
    pub fn read(&self, offset: u64, target: &mut [u8]) {
        if self.written.pages.is_empty() && self.layers.is_empty() {
            let source = self.in_file(offset, target.len());
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
            match self.written.get(page).or_else(|| self.in_layers(page)) {
                Some(content) => head.copy_from_slice(&content[within..][..len]),
                None => {
                    let source = self.in_file(at, len);
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
            let start = match self.written.pages.get(&page) {
                Some(&start) => start,
                None if len == PAGE => self.written.insert(page, head),
                None => {
                    let mut old = [0; PAGE];
                    self.read(page * PAGE as u64, &mut old);
                    self.written.insert(page, &old)
                }
            };
            self.written.bytes[start + within..][..len].copy_from_slice(head);
            source = tail;
            at += len as u64;
        }
    }

    /// Makes the message's writes and growth last.
    pub fn commit(&mut self) {
        self.committed_pages = self.pages;
        let written = std::mem::take(&mut self.written);
        if !written.pages.is_empty() {
            self.layers.push(Arc::new(written));
        }
        if self.layers.len() > MAX_LAYERS {
            let mut merged = Overlay::default();
            for layer in std::mem::take(&mut self.layers) {
                for page in layer.pages.keys() {
                    merged.insert(*page, layer.get(*page).unwrap_or(&[]));
                }
            }
            self.layers.push(Arc::new(merged));
        }
        self.restart_counting();
    }

    /// True when messages changed what is not stored yet.
    pub fn has_unstored_changes(&self) -> bool {
        !self.layers.is_empty() || self.stored_pages != self.committed_pages
    }

    /// Stores what the messages of the round wrote. No query may be reading the memory.
    pub fn flush(&mut self) {
        self.stored_pages = self.committed_pages;
        let layers = std::mem::take(&mut self.layers);
        let mut pages: Vec<u64> = layers
            .iter()
            .flat_map(|layer| layer.pages.keys().copied())
            .collect();
        pages.sort_unstable();
        pages.dedup();
        let before = pages
            .iter()
            .map(|page| (*page, self.in_file(page * PAGE as u64, PAGE)));
        self.file.journal(before);
        let Some(window) = &self.window else {
            return;
        };
        for page in pages {
            let Some(content) = layers.iter().rev().find_map(|layer| layer.get(page)) else {
                continue;
            };
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

    /// Drops the message's writes and growth.
    pub fn roll_back(&mut self) {
        self.pages = self.committed_pages;
        self.written = Overlay::default();
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
        stable.flush();
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

    #[test]
    fn stored_content_changes_at_the_end_of_a_round() {
        let mut stable = Stable::new(&Arc::default()).expect("stable");
        stable.grow(1);
        stable.commit();
        stable.flush();
        let query = stable.fork();
        let read = |stable: &Stable| {
            let mut text = [0; 2];
            stable.read(4095, &mut text);
            text
        };
        for round in 0..2 * MAX_LAYERS as u8 {
            let mut message = stable.fork();
            message.write(4095, &[round, round]);
            message.commit();
            assert_eq!(message.clean_pages(4095, 2), 2);
            stable = message;
            assert_eq!((read(&stable), read(&query)), ([round; 2], [0; 2]));
        }
        stable.flush();
        assert_eq!((read(&stable), read(&query)), ([7; 2], [7; 2]));
    }
}

//! A canister's heap.
//!
//! [`Heap`] is the stored content, a sparse file, as it was at the end of the last round. [`View`]
//! is what an instance works on: a private mapping of that file, read-only until the first write
//! to a page, which faults; the fault handler notes the page and lets the write through to a
//! private copy. After the message the noted pages are compared and kept as changed, or dropped.
//! At the end of the round the changed pages are copied to the file, so that until then queries
//! see the state before the round.

use super::mapping::{Access, Mapping, written_pages};
use crate::storage::{FileStore, PAGE, StoredFile};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Largest heap with 64-bit addresses, in bytes.
pub const MAX_HEAP64: usize = 6 << 30;
/// Largest heap with 32-bit addresses, in bytes.
pub const MAX_HEAP32: usize = 4 << 30;

/// After that many faults in one message pages are noted in larger groups, because each group is a
/// mapping of its own to the kernel, whose number is limited.
const FINE_FAULTS: usize = 8192;
const COARSE_GROUP: usize = 64;
/// Longest run of pages noted at once when writes go upwards.
const MAX_RUN: usize = 256;
/// Pages compared at a time.
const COMPARED: usize = 64;
/// Runs of so few pages are read and written in mappings.
const SHORT_RUN: usize = 4;
/// Private copies that a view keeps for the next message, in pages.
const MAX_KEPT: usize = 16_384;

/// What is known of a page of a view.
const NOTED: u8 = 1;
/// A message that ended in this round changed it: the file has older content.
const CHANGED: u8 = 2;
/// Its content before the running message is in `View::before`.
const SAVED: u8 = 4;

/// Stored content of a heap.
#[derive(Debug)]
pub struct Heap {
    file: StoredFile,
    content: Mapping,
    /// Size in bytes after the last message.
    size: AtomicUsize,
    /// Size in bytes at the end of the last round.
    stored: AtomicUsize,
}

impl Heap {
    /// A heap of `size` zero bytes which may grow to `capacity` bytes.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn new(store: &Arc<FileStore>, size: usize, capacity: usize) -> io::Result<Arc<Heap>> {
        Self::with_file(store.create()?, size, capacity)
    }

    /// A heap over a file, whose content is kept.
    ///
    /// # Errors
    /// When the file cannot be mapped.
    pub fn with_file(file: StoredFile, size: usize, capacity: usize) -> io::Result<Arc<Heap>> {
        let capacity = capacity.max(PAGE);
        file.file.set_len(capacity as u64)?;
        let content = Mapping::shared(&file.file, capacity)?;
        Ok(Arc::new(Heap {
            file,
            content,
            size: AtomicUsize::new(size),
            stored: AtomicUsize::new(size),
        }))
    }

    /// Size in bytes after the last message.
    pub fn size(&self) -> usize {
        self.size.load(Relaxed)
    }

    /// Size in bytes of what is stored.
    pub fn stored_size(&self) -> usize {
        self.stored.load(Relaxed)
    }

    /// The heap's file.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// Another heap with the stored content.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn duplicate(&self, store: &Arc<FileStore>) -> io::Result<Arc<Heap>> {
        self.duplicate_within(store, self.capacity())
    }

    /// The same, with another capacity, in bytes.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn duplicate_within(
        &self,
        store: &Arc<FileStore>,
        capacity: usize,
    ) -> io::Result<Arc<Heap>> {
        let copy = Heap::new(store, self.stored_size(), capacity)?;
        for (index, page) in self.bytes().chunks(PAGE).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                copy.initialise(index * PAGE, page);
            }
        }
        Ok(copy)
    }

    /// Largest size in bytes.
    pub fn capacity(&self) -> usize {
        self.content.len()
    }

    /// The stored content.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is at least that long, and content is stored only with the canister
        // borrowed exclusively.
        unsafe { std::slice::from_raw_parts(self.content.start(), self.stored_size()) }
    }

    /// Writes stored content directly, before any view of it is used. Out of range: ignored.
    pub fn initialise(&self, offset: usize, bytes: &[u8]) {
        if offset
            .checked_add(bytes.len())
            .is_none_or(|end| end > self.size())
        {
            return;
        }
        // SAFETY: in range; nobody else reads a heap under construction.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.content.start().add(offset),
                bytes.len(),
            );
        }
    }
}

/// An instance's view of a heap, with the changes of this round and of the running message.
#[derive(Debug)]
pub struct View {
    heap: Arc<Heap>,
    pages: Mapping,
    /// Accessible bytes.
    size: AtomicUsize,
    /// One byte a page: `NOTED` when it is writable, `CHANGED`, `SAVED`.
    flags: Mapping,
    /// Content before the running message of the pages `SAVED`, at their own offsets.
    before: Mapping,
    /// Numbers of the noted pages, `count` of them.
    list: Mapping,
    count: AtomicUsize,
    faults: AtomicUsize,
    /// The page after the last run noted, and the run's length.
    next: AtomicUsize,
    run: AtomicUsize,
    /// Numbers of the pages that are `CHANGED`.
    changed: Mutex<Vec<u32>>,
    /// What the message that has ended changed, once that was looked for.
    found: Mutex<Option<Arc<[u32]>>>,
    /// Pages that keep a private copy, and those with room in `before`, at most.
    kept: AtomicUsize,
    saved: AtomicUsize,
}

/// What a view shows at first.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// What is stored.
    Stored,
    /// What the last message left, seen by the view that it ran on, if there is one.
    Latest(Option<&'a View>),
}

impl View {
    /// A view with `guard` inaccessible bytes behind the heap's capacity, or behind `reserved`
    /// bytes if that is more.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn new(
        heap: Arc<Heap>,
        reserved: usize,
        guard: usize,
        content: Content<'_>,
    ) -> io::Result<Arc<View>> {
        let capacity = heap.capacity();
        let pages = Mapping::reserve(capacity.max(reserved) + guard)?;
        pages.overlay_private(&heap.file.file, capacity)?;
        let size = match content {
            Content::Stored => heap.stored_size(),
            Content::Latest(None) => heap.size(),
            Content::Latest(Some(other)) => other.size(),
        };
        if size > 0 && !pages.protect(0, size, Access::Read) {
            return Err(io::Error::last_os_error());
        }
        let count = capacity / PAGE;
        let view = View {
            pages,
            size: AtomicUsize::new(size),
            flags: Mapping::zeroed(count.max(PAGE))?,
            before: Mapping::zeroed(capacity)?,
            list: Mapping::zeroed((count * 4).max(PAGE))?,
            count: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
            next: AtomicUsize::new(usize::MAX),
            run: AtomicUsize::new(1),
            changed: Mutex::default(),
            found: Mutex::default(),
            kept: AtomicUsize::new(0),
            saved: AtomicUsize::new(0),
            heap,
        };
        if let Content::Latest(Some(other)) = content {
            view.adopt(other);
        }
        Ok(Arc::new(view))
    }

    /// Takes over the pages that differ from what is stored in another view of the same heap.
    fn adopt(&self, other: &View) {
        let noted = (0..other.count.load(Relaxed)).map(|i| other.listed(i).load(Relaxed));
        let mut pages: Vec<u32> = other.changed().iter().copied().chain(noted).collect();
        pages.sort_unstable();
        pages.dedup();
        for page in &pages {
            let at = *page as usize;
            self.pages.protect(at * PAGE, PAGE, Access::ReadWrite);
            // SAFETY: both views have the page, and nothing runs on either.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    other.page(at).as_ptr(),
                    self.pages.start().add(at * PAGE),
                    PAGE,
                );
            }
            self.pages.protect(at * PAGE, PAGE, Access::Read);
            self.flags(at).store(CHANGED, Relaxed);
        }
        self.kept.store(pages.len(), Relaxed);
        *self.changed() = pages;
    }

    fn changed(&self) -> MutexGuard<'_, Vec<u32>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The heap behind this view.
    pub fn heap(&self) -> &Arc<Heap> {
        &self.heap
    }

    /// First byte.
    pub fn start(&self) -> *mut u8 {
        self.pages.start()
    }

    /// Address space of the view, the guard included.
    pub fn room(&self) -> usize {
        self.pages.len()
    }

    /// Accessible bytes, with what the running message grew.
    pub fn size(&self) -> usize {
        self.size.load(Relaxed)
    }

    /// Makes `size` bytes accessible.
    ///
    /// # Errors
    /// When the heap cannot be that large.
    pub fn grow_to(&self, size: usize) -> io::Result<()> {
        let old = self.size();
        if size > self.heap.capacity() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if size > old {
            if !self.pages.protect(old, size - old, Access::Read) {
                return Err(io::Error::last_os_error());
            }
            self.size.store(size, Relaxed);
        }
        Ok(())
    }

    fn flags(&self, page: usize) -> &AtomicU8 {
        debug_assert!(page < self.flags.len());
        // SAFETY: the mapping has a byte for each page, and AtomicU8 is a byte.
        unsafe { &*self.flags.start().add(page).cast() }
    }

    fn is_noted(&self, page: usize) -> bool {
        self.flags(page).load(Relaxed) & NOTED != 0
    }

    fn listed(&self, index: usize) -> &AtomicU32 {
        debug_assert!(index * 4 < self.list.len());
        // SAFETY: the mapping has four bytes for each page; each page is listed once.
        unsafe { &*self.list.start().cast::<AtomicU32>().add(index) }
    }

    /// Notes pages and makes them writable. Safe to call in a signal handler.
    fn note(&self, page: usize, pages: usize) -> bool {
        for page in page..page + pages {
            if self.flags(page).load(Relaxed) & (NOTED | CHANGED) == CHANGED {
                // SAFETY: the page is readable, and has its own place in `before`.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        self.pages.start().add(page * PAGE),
                        self.before.start().add(page * PAGE),
                        PAGE,
                    );
                }
                self.flags(page).fetch_or(SAVED, Relaxed);
                self.saved.fetch_add(1, Relaxed);
            }
        }
        if !self
            .pages
            .protect(page * PAGE, pages * PAGE, Access::ReadWrite)
        {
            return false;
        }
        for page in page..page + pages {
            if self.flags(page).fetch_or(NOTED, Relaxed) & NOTED == 0 {
                let index = self.count.fetch_add(1, Relaxed);
                self.listed(index).store(page as u32, Relaxed);
            }
        }
        true
    }

    /// Handles a fault at an address: true when it was the first write to a page of this heap.
    /// Safe to call in a signal handler.
    pub fn fault(&self, address: usize) -> bool {
        let offset = address.wrapping_sub(self.pages.start() as usize);
        let size = self.size();
        if offset >= size {
            return false;
        }
        let mut page = offset / PAGE;
        if self.is_noted(page) {
            return false;
        }
        let faults = self.faults.fetch_add(1, Relaxed);
        let mut run = if page == self.next.load(Relaxed) {
            (self.run.load(Relaxed) * 2).min(MAX_RUN)
        } else {
            1
        };
        if faults > FINE_FAULTS {
            page -= page % COARSE_GROUP;
            run = run.max(COARSE_GROUP);
        }
        let run = run.min(size / PAGE - page);
        self.run.store(run, Relaxed);
        self.next.store(page + run, Relaxed);
        self.note(page, run)
    }

    /// Makes a range writable ahead of a write from outside the instance. Out of range: false.
    pub fn prepare_write(&self, offset: usize, len: usize) -> bool {
        let Some(end) = offset.checked_add(len) else {
            return false;
        };
        if end > self.size() {
            return false;
        }
        let last = end.div_ceil(PAGE);
        let mut page = offset / PAGE;
        while len > 0 && page < last {
            if self.is_noted(page) {
                page += 1;
                continue;
            }
            let first = page;
            while page < last && !self.is_noted(page) {
                page += 1;
            }
            if !self.note(first, page - first) {
                return false;
            }
        }
        true
    }

    /// The noted pages as runs of (first page, pages), ascending.
    fn runs(&self) -> Vec<(usize, usize)> {
        let count = self.count.load(Relaxed);
        let mut pages: Vec<u32> = (0..count).map(|i| self.listed(i).load(Relaxed)).collect();
        pages.sort_unstable();
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for page in pages {
            let page = page as usize;
            match runs.last_mut() {
                Some((first, len)) if *first + *len == page => *len += 1,
                _ => runs.push((page, 1)),
            }
        }
        runs
    }

    fn forget(&self, runs: &[(usize, usize)]) {
        for &(first, len) in runs {
            self.pages.protect(first * PAGE, len * PAGE, Access::Read);
            for page in first..first + len {
                self.flags(page).fetch_and(CHANGED, Relaxed);
            }
        }
        *self.found() = None;
        self.count.store(0, Relaxed);
        self.faults.store(0, Relaxed);
        self.next.store(usize::MAX, Relaxed);
        self.run.store(1, Relaxed);
        if self.saved.load(Relaxed) > MAX_KEPT {
            self.before.discard(0, self.before.len());
            self.saved.store(0, Relaxed);
        }
    }

    fn page(&self, page: usize) -> &[u8] {
        // SAFETY: accessible pages are readable, and the message that wrote them has ended.
        unsafe { std::slice::from_raw_parts(self.pages.start().add(page * PAGE), PAGE) }
    }

    fn stored_page(&self, page: usize) -> &[u8] {
        // SAFETY: the file is as long as the heap's capacity.
        unsafe { std::slice::from_raw_parts(self.heap.content.start().add(page * PAGE), PAGE) }
    }

    /// What a noted page was before the message.
    fn page_before(&self, page: usize) -> &[u8] {
        if self.flags(page).load(Relaxed) & SAVED == 0 {
            return self.stored_page(page);
        }
        // SAFETY: as long as the heap's capacity, and not written while a message is compared.
        unsafe { std::slice::from_raw_parts(self.before.start().add(page * PAGE), PAGE) }
    }

    /// Says that a message begins to run: what it changes is to be found anew.
    pub fn begin(&self) {
        *self.found() = None;
    }

    fn found(&self) -> MutexGuard<'_, Option<Arc<[u32]>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pages that the message left with other content, in pages of 4 KiB.
    pub fn changed_pages(&self) -> u64 {
        self.find_changed().len() as u64
    }

    fn find_changed(&self) -> Arc<[u32]> {
        let mut found = self.found();
        found.get_or_insert_with(|| self.compare().into()).clone()
    }

    /// The noted pages whose content differs from what it was before the message. Reading a page of
    /// a mapping first is slow, so longer runs are read from the file, and pages that were noted
    /// with others but not written are left out.
    fn compare(&self) -> Vec<u32> {
        let mut changed = Vec::new();
        let mut buffer = Vec::new();
        for (first, len) in self.runs() {
            let end = first + len;
            for first in (first..end).step_by(COMPARED) {
                let count = COMPARED.min(end - first);
                let written = (count > SHORT_RUN)
                    .then(|| written_pages(self.page(first).as_ptr() as usize, count))
                    .flatten();
                let is_written = |i: usize| written.as_ref().is_none_or(|written| written[i]);
                if !(0..count).any(is_written) {
                    continue;
                }
                let stored = (count > SHORT_RUN && self.read_stored(first, count, &mut buffer))
                    .then_some(buffer.as_slice());
                for i in (0..count).filter(|i| is_written(*i)) {
                    let page = first + i;
                    let saved = self.flags(page).load(Relaxed) & SAVED != 0;
                    let before = match stored {
                        Some(stored) if !saved => &stored[i * PAGE..][..PAGE],
                        _ => self.page_before(page),
                    };
                    if self.page(page) != before {
                        changed.push(page as u32);
                    }
                }
            }
        }
        changed
    }

    /// Reads stored pages without mapping them.
    fn read_stored(&self, first: usize, count: usize, buffer: &mut Vec<u8>) -> bool {
        buffer.resize(count * PAGE, 0);
        let offset = (first * PAGE) as u64;
        self.heap.file.file.read_exact_at(buffer, offset).is_ok()
    }

    /// Content of the noted pages, to compare with later or to go back to.
    pub fn snapshot(&self) -> HashMap<u32, Vec<u8>> {
        let count = self.count.load(Relaxed);
        (0..count)
            .map(|i| self.listed(i).load(Relaxed))
            .map(|page| (page, self.page(page as usize).to_vec()))
            .collect()
    }

    /// Pages whose content differs from a snapshot.
    pub fn changed_since(&self, snapshot: &HashMap<u32, Vec<u8>>) -> u64 {
        let count = self.count.load(Relaxed);
        (0..count)
            .map(|i| self.listed(i).load(Relaxed))
            .filter(|page| {
                let before = snapshot.get(page).map(Vec::as_slice);
                let before = before.unwrap_or_else(|| self.page_before(*page as usize));
                before != self.page(*page as usize)
            })
            .count() as u64
    }

    /// Brings the content of a snapshot back.
    pub fn restore(&self, snapshot: &HashMap<u32, Vec<u8>>) {
        let count = self.count.load(Relaxed);
        for page in (0..count).map(|i| self.listed(i).load(Relaxed)) {
            let before = snapshot.get(&page).map(Vec::as_slice);
            let before = before.unwrap_or_else(|| self.page_before(page as usize));
            // SAFETY: noted pages are writable, and the message that wrote them has ended.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    before.as_ptr(),
                    self.pages.start().add(page as usize * PAGE),
                    PAGE,
                );
            }
        }
    }

    /// Makes the message's changes last.
    pub fn commit(&self) {
        let found = self.find_changed();
        let runs = self.runs();
        let mut changed = self.changed();
        for page in found.iter() {
            if self.flags(*page as usize).fetch_or(CHANGED, Relaxed) & CHANGED == 0 {
                changed.push(*page);
            }
        }
        drop(changed);
        self.heap.size.store(self.size(), Relaxed);
        self.forget(&runs);
        let noted = runs.iter().map(|(_, len)| len).sum();
        self.kept.fetch_add(noted, Relaxed);
    }

    /// True when messages changed what is not stored yet.
    pub fn has_unstored_changes(&self) -> bool {
        !self.changed().is_empty() || self.heap.stored_size() != self.heap.size()
    }

    /// Stores what the messages of the round changed. No query may be running on the heap.
    pub fn flush(&self) {
        let mut pages = std::mem::take(&mut *self.changed());
        pages.sort_unstable();
        let before = pages
            .iter()
            .map(|page| (u64::from(*page), self.stored_page(*page as usize)));
        self.heap.file.journal(before);
        let saved = |page: u32| self.flags(page as usize).load(Relaxed) & SAVED != 0;
        for run in pages.chunk_by(|a, b| a + 1 == *b && saved(*a) == saved(*b)) {
            self.store(run[0] as usize, run.len(), saved(run[0]));
        }
        for page in pages {
            self.flags(page as usize).fetch_and(!CHANGED, Relaxed);
        }
        self.heap.stored.store(self.heap.size(), Relaxed);
        // Private copies are the same as the file again, and are dropped when they are many.
        if self.kept.load(Relaxed) > MAX_KEPT && self.count.load(Relaxed) == 0 {
            self.pages.discard(0, self.size());
            self.kept.store(0, Relaxed);
        }
    }

    /// Copies the committed content of pages to the file: longer runs without mapping what is stored.
    ///
    /// A page that a message which has not ended may have written since (`saved`) is copied from
    /// `before`, never from what that message sees.
    fn store(&self, first: usize, count: usize, saved: bool) {
        let committed = if saved { &self.before } else { &self.pages };
        // SAFETY: both mappings have the page, it is readable, and nothing runs on the heap.
        let content = unsafe {
            std::slice::from_raw_parts(committed.start().add(first * PAGE), count * PAGE)
        };
        let file = &self.heap.file.file;
        let offset = first * PAGE;
        if count > SHORT_RUN && file.write_all_at(content, offset as u64).is_ok() {
            return;
        }
        // SAFETY: the file is as long as the capacity; nothing runs on the heap.
        unsafe {
            std::ptr::copy_nonoverlapping(
                content.as_ptr(),
                self.heap.content.start().add(offset),
                content.len(),
            );
        }
    }

    /// Drops the message's changes. False when the heap had grown: the instance knows the larger
    /// size and cannot be used any more.
    pub fn roll_back(&self) -> bool {
        let runs = self.runs();
        for &(first, len) in &runs {
            let saved = |page: &usize| self.flags(*page).load(Relaxed) & SAVED != 0;
            let (mut at, end) = (first, first + len);
            while at < end {
                let unsaved = (at..end).take_while(|page| !saved(page)).count();
                if unsaved > 0 {
                    self.pages.discard(at * PAGE, unsaved * PAGE);
                    at += unsaved;
                    continue;
                }
                // SAFETY: noted pages are writable, and the message that wrote them has ended.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        self.page_before(at).as_ptr(),
                        self.pages.start().add(at * PAGE),
                        PAGE,
                    );
                }
                at += 1;
            }
        }
        self.forget(&runs);
        let committed = self.heap.size();
        let grown = self.size().saturating_sub(committed);
        if grown > 0 {
            self.pages.protect(committed, grown, Access::None);
            self.size.store(committed, Relaxed);
        }
        grown == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(view: &View, offset: usize, value: u8) {
        assert!(view.prepare_write(offset, 1));
        // SAFETY: prepared above.
        unsafe { view.start().add(offset).write(value) };
    }

    fn read(view: &View, offset: usize) -> u8 {
        assert!(offset < view.size());
        // SAFETY: in range.
        unsafe { view.start().add(offset).read() }
    }

    #[test]
    fn commits_and_rolls_back() {
        let heap = Heap::new(&Arc::default(), 1 << 20, 1 << 24).expect("heap");
        let view = View::new(heap.clone(), 0, 1 << 16, Content::Stored).expect("view");
        write(&view, 5000, 7);
        write(&view, 5001, 8);
        write(&view, 9000, 0);
        assert_eq!(view.changed_pages(), 1);
        view.commit();
        assert_eq!((read(&view, 5000), heap.bytes()[5001]), (7, 0));
        view.flush();
        assert_eq!((read(&view, 5000), heap.bytes()[5001]), (7, 8));
        write(&view, 5000, 9);
        view.grow_to(2 << 20).expect("grow");
        write(&view, (1 << 20) + 3, 9);
        assert!(!view.roll_back());
        assert_eq!((read(&view, 5000), view.size()), (7, 1 << 20));
        view.grow_to(2 << 20).expect("grow");
        assert_eq!(read(&view, (1 << 20) + 3), 0);
    }

    #[test]
    fn stored_content_changes_at_the_end_of_a_round() {
        let heap = Heap::new(&Arc::default(), 1 << 20, 1 << 24).expect("heap");
        let view = View::new(heap.clone(), 0, 1 << 16, Content::Stored).expect("view");
        let query = View::new(heap.clone(), 0, 1 << 16, Content::Stored).expect("view");
        write(&view, 5000, 1);
        view.commit();
        // A second message: the same value again is no change, another one is.
        write(&view, 5000, 1);
        assert_eq!(view.changed_pages(), 0);
        view.commit();
        view.begin();
        write(&view, 5000, 2);
        write(&view, 80_000, 2);
        assert_eq!(view.changed_pages(), 2);
        view.roll_back();
        assert_eq!((read(&view, 5000), read(&view, 80_000)), (1, 0));
        view.grow_to(2 << 20).expect("grow");
        view.commit();
        assert_eq!((read(&query, 5000), query.size()), (0, 1 << 20));
        // An instance that takes over sees all of it.
        let next = View::new(heap.clone(), 0, 1 << 16, Content::Latest(Some(&view))).expect("view");
        assert_eq!((read(&next, 5000), next.size()), (1, 2 << 20));
        write(&next, 5000, 3);
        next.commit();
        next.flush();
        assert_eq!((read(&query, 5000), heap.stored_size()), (3, 2 << 20));
    }

    #[test]
    fn long_runs_are_compared_and_stored() {
        let heap = Heap::new(&Arc::default(), 4 << 20, 1 << 24).expect("heap");
        let view = View::new(heap.clone(), 0, 1 << 16, Content::Stored).expect("view");
        // Half a MiB is made writable, every third page of it is changed.
        let pages: Vec<usize> = (100..228).step_by(3).collect();
        assert!(view.prepare_write(100 * PAGE, 128 * PAGE));
        for page in &pages {
            write(&view, page * PAGE + 7, *page as u8);
        }
        assert_eq!(view.changed_pages(), pages.len() as u64);
        view.commit();
        view.flush();
        for page in 90..240 {
            let expected = if pages.contains(&page) { page as u8 } else { 0 };
            assert_eq!(heap.bytes()[page * PAGE + 7], expected);
        }
        // All pages in a row, which differ from what is stored or not.
        for page in 100..228 {
            write(&view, page * PAGE + 7, 100);
        }
        let same = pages.iter().filter(|page| **page as u8 == 100).count();
        assert_eq!(view.changed_pages(), 128 - same as u64);
        view.commit();
        view.flush();
        assert!((100..228).all(|page| heap.bytes()[page * PAGE + 7] == 100));
    }
}

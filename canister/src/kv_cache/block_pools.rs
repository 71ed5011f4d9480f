//! Pages of all models' KV caches: each model has a table of its own ([`crate::page_table`]), and a
//! page knows which one it is in. A page of a model that has gone is nobody's: it is never read.

use crate::memory;
use crate::page_table::PageTable;
pub use crate::page_table::{Key, Page};
use std::collections::BTreeMap;

/// A model's pages.
struct Book {
    table: PageTable,
    /// Bytes of a page; 0 while that is not known.
    page_bytes: u64,
}

/// The tables of the shelves that have a model.
#[derive(Default)]
pub struct Pages {
    books: BTreeMap<u8, Book>,
}

impl Pages {
    /// Opens a shelf's table, or says how large its pages are.
    pub fn open_shelf(&mut self, shelf: u8, page_bytes: u64) {
        let book = self.books.entry(shelf).or_insert_with(|| Book {
            table: PageTable::open(shelf, memory::slots(shelf), memory::blocks(shelf)),
            page_bytes,
        });
        book.page_bytes = page_bytes;
    }

    /// Forgets every page of a shelf at once.
    pub fn reset(&mut self, shelf: u8) {
        if let Some(book) = self.books.get_mut(&shelf) {
            book.table.reset();
        }
    }

    /// The same, and the shelf's table: its model has gone.
    pub fn close_shelf(&mut self, shelf: u8) {
        self.reset(shelf);
        self.books.remove(&shelf);
    }

    fn tables(&self) -> impl Iterator<Item = &PageTable> {
        self.books.values().map(|book| &book.table)
    }

    fn of(&self, page: Page) -> Option<&PageTable> {
        self.books.get(&page.shelf()).map(|book| &book.table)
    }

    fn of_mut(&mut self, page: Page) -> Option<&mut PageTable> {
        self.on(page.shelf())
    }

    fn on(&mut self, shelf: u8) -> Option<&mut PageTable> {
        self.books.get_mut(&shelf).map(|book| &mut book.table)
    }

    /// Slots in use.
    pub fn used(&self) -> u32 {
        self.tables().map(PageTable::used).sum()
    }

    /// Slots in use on a shelf.
    pub fn used_on(&self, shelf: u8) -> u32 {
        let book = self.books.get(&shelf);
        book.map_or(0, |book| book.table.used())
    }

    /// Bytes of the slots in use.
    pub fn used_bytes(&self) -> u64 {
        let bytes = |book: &Book| u64::from(book.table.used()) * book.page_bytes;
        self.books.values().map(bytes).sum()
    }

    /// Slots in use and free ones below the highest that was ever used.
    pub fn slots(&self) -> u32 {
        self.tables().map(PageTable::slots).sum()
    }

    /// Complete blocks that can be found.
    pub fn indexed(&self) -> u64 {
        self.tables().map(PageTable::indexed).sum()
    }

    /// The slot that [`Self::allocate`] would give next.
    pub fn next_slot(&self, shelf: u8) -> u32 {
        let book = self.books.get(&shelf);
        book.map_or(0, |book| book.table.next_slot())
    }

    /// A page of one's own, with nothing in it. `None`: stable memory cannot hold the table.
    pub fn allocate(&mut self, shelf: u8) -> Option<Page> {
        self.on(shelf)?.allocate()
    }

    /// One holder less; without any the slot is free.
    pub fn release(&mut self, page: Page) {
        if let Some(table) = self.of_mut(page) {
            table.release(page);
        }
    }

    /// A complete block with these tokens, held once more.
    pub fn find(&mut self, shelf: u8, key: &Key) -> Option<Page> {
        self.on(shelf)?.find(key)
    }

    /// A page is complete: others may find it. If an equal one is there already that one is held
    /// instead, and given back.
    pub fn publish(&mut self, page: Page, key: &Key) -> Page {
        match self.of_mut(page) {
            Some(table) => table.publish(page, key),
            None => page,
        }
    }

    /// Whether a page must not be written any more.
    pub fn is_frozen(&self, page: Page) -> bool {
        self.of(page).is_none_or(|table| table.is_frozen(page))
    }

    /// Positions that may be read from a page: 0 if it is somebody else's by now.
    pub fn filled(&self, page: Page) -> usize {
        self.of(page).map_or(0, |table| table.filled(page))
    }

    /// Its first `positions` are written.
    pub fn set_filled(&mut self, page: Page, positions: usize) {
        if let Some(table) = self.of_mut(page) {
            table.set_filled(page, positions);
        }
    }
}

//! Every region of stable memory.
//!
//! | id | region | what lies there |
//! | --- | --- | --- |
//! | 0 | control | one cell: [`crate::durable::Control`] |
//! | 1 | chunks | for each chunk of a model's file: XXH64 (8 bytes), received (1 byte) |
//! | 2 | file | the model's file, byte for byte |
//! | 3 | packed | its packed weights, byte for byte as in the heap |
//! | 4 | generations | map: id → [`crate::durable::Record`] |
//! | 5 | KV | its cache: blocks of 64 positions, all of one size, in slots |
//! | 6 | chats | map: id → [`crate::durable::Chat`] |
//! | 7 | owners | map: owner, chat → nothing |
//! | 8 | turns | map: chat, number → [`crate::durable::Turn`] |
//! | 9 | histories | map: chat → its tokens (4 bytes each, little-endian) |
//! | 10 | slots | table: who uses which slot of region 5 ([`crate::pages`]) |
//! | 11 | blocks | map: hash of a text up to a block's end → slot |
//! | 12 | resting | map: time of last use, chat → nothing: chats whose cache may be dropped |
//! | 13 | accounts | map: principal → [`crate::durable::Account`] |
//! | 14 | queue | map: generation that has not ended → [`crate::durable::Queued`] |
//! | 15 | log | map: number → [`crate::api::LogEntry`] |
//! | 16 | models | map: shelf → [`crate::durable::ModelRecord`] |
//! | 32 + 6 n … 37 + 6 n | chunks, file, packed, KV, slots, blocks | of shelf n + 1; those of shelf 0 are 1, 2, 3, 5, 10, 11 |
//!
//! A region never shrinks (nor does stable memory): a shelf that is free keeps its regions for the
//! next model that comes onto it.

use ic_stable_structures::memory_manager::{MemoryId, MemoryManager, VirtualMemory};
use ic_stable_structures::{DefaultMemoryImpl, Memory};
use std::cell::RefCell;
use weights::ByteSource;
use weights::gguf::source::{SourceError, check_range};

pub type Region = VirtualMemory<DefaultMemoryImpl>;

thread_local! {
    static MANAGER: RefCell<MemoryManager<DefaultMemoryImpl>> =
        RefCell::new(MemoryManager::init(DefaultMemoryImpl::default()));
}

fn region(id: u8) -> Region {
    MANAGER.with_borrow(|m| m.get(MemoryId::new(id)))
}

pub fn control() -> Region {
    region(0)
}
pub fn generations() -> Region {
    region(4)
}
pub fn chats() -> Region {
    region(6)
}
pub fn owners() -> Region {
    region(7)
}
pub fn turns() -> Region {
    region(8)
}
pub fn histories() -> Region {
    region(9)
}
pub fn resting() -> Region {
    region(12)
}
pub fn accounts() -> Region {
    region(13)
}
pub fn queue() -> Region {
    region(14)
}
pub fn log() -> Region {
    region(15)
}
pub fn models() -> Region {
    region(16)
}

/// Models there may be at once.
pub const SHELVES: u8 = 16;

/// The regions of a shelf, in this order.
const ON_A_SHELF: [&str; 6] = ["chunks", "file", "packed", "kv", "slots", "blocks"];

/// Shelf 0 has the regions that a canister with one model had.
fn on_shelf(shelf: u8, part: u8) -> u8 {
    match (shelf, part) {
        (0, 0..3) => 1 + part,
        (0, 3) => 5,
        (0, _) => 6 + part,
        _ => 32 + ON_A_SHELF.len() as u8 * (shelf - 1) + part,
    }
}

pub fn chunks(shelf: u8) -> Region {
    region(on_shelf(shelf, 0))
}
pub fn file(shelf: u8) -> Region {
    region(on_shelf(shelf, 1))
}
pub fn packed(shelf: u8) -> Region {
    region(on_shelf(shelf, 2))
}
pub fn kv(shelf: u8) -> Region {
    region(on_shelf(shelf, 3))
}
pub fn slots(shelf: u8) -> Region {
    region(on_shelf(shelf, 4))
}
pub fn blocks(shelf: u8) -> Region {
    region(on_shelf(shelf, 5))
}

/// Bytes of a shelf's regions.
pub fn shelf_bytes(shelf: u8) -> u64 {
    (0..ON_A_SHELF.len() as u8)
        .map(|part| region(on_shelf(shelf, part)).size() * PAGE)
        .sum()
}

/// Every region's name and bytes, in the order of their numbers. Of shelves beyond the first those
/// that were ever used.
pub fn sizes() -> Vec<(String, u64)> {
    const NAMES: [&str; 17] = [
        "control",
        "chunks",
        "file",
        "packed",
        "generations",
        "kv",
        "chats",
        "owners",
        "turns",
        "histories",
        "slots",
        "blocks",
        "resting",
        "accounts",
        "queue",
        "log",
        "models",
    ];
    let size = |id| region(id).size() * PAGE;
    let first = (0..)
        .zip(NAMES)
        .map(|(id, name)| (name.to_owned(), size(id)));
    let others = (1..SHELVES).flat_map(|shelf| {
        (0..).zip(ON_A_SHELF).map(move |(part, name)| {
            let bytes = size(on_shelf(shelf, part));
            (format!("{name} {shelf}"), bytes)
        })
    });
    first
        .chain(others.filter(|(_, bytes)| *bytes > 0))
        .collect()
}

const PAGE: u64 = 65_536;

/// Makes a region at least `bytes` long. `false`: stable memory cannot grow so far.
pub fn ensure(region: &Region, bytes: u64) -> bool {
    let (have, want) = (region.size(), bytes.div_ceil(PAGE));
    have >= want || region.grow(want - have) >= 0
}

/// The same, if all of stable memory then stays within `most` bytes.
pub fn ensure_within(region: &Region, bytes: u64, most: u64) -> bool {
    let more = bytes.div_ceil(PAGE).saturating_sub(region.size()) * PAGE;
    more == 0 || (crate::system::stable_bytes() + more <= most && ensure(region, bytes))
}

/// The model file as the engine reads it.
pub struct StoredFile {
    pub region: Region,
    pub len: u64,
}

impl ByteSource for StoredFile {
    fn len(&self) -> u64 {
        self.len
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), SourceError> {
        check_range(offset, buf.len(), self.len)?;
        self.region.read(offset, buf);
        Ok(())
    }
}

//! Every region of stable memory.
//!
//! A region never shrinks (nor does stable memory): a model slot that is free keeps its regions for
//! the next model that gets it.

use crate::runtime;
use crate::stable::ids::ModelSlot;
use ic_stable_structures::memory_manager::{MemoryId, MemoryManager, VirtualMemory};
use ic_stable_structures::{DefaultMemoryImpl, Memory};
use std::cell::RefCell;
use weights::ByteSource;
use weights::gguf::source::{SourceError, check_range};

/// A growing part of stable memory with offsets of its own.
pub(crate) type Region = VirtualMemory<DefaultMemoryImpl>;

/// Models that there may be at once.
pub(crate) const MODEL_SLOTS: u8 = 16;

/// Bytes by which a region grows.
const PAGE: u64 = 65_536;

/// The id of the first region of model slot 0.
const FIRST_OF_SLOTS: u8 = 32;

macro_rules! regions {
    ($($id:literal $function:ident $type:literal $doc:literal;)*) => {
        $(
            #[doc = concat!($doc, " Holds: ", $type, ".")]
            pub(crate) fn $function() -> Region {
                region($id)
            }
        )*

        /// The regions of the canister: id, name, what it holds, what for.
        pub(crate) const OF_CANISTER: &[(u8, &str, &str, &str)] =
            &[$(($id, stringify!($function), $type, $doc)),*];
    };
}

macro_rules! slot_regions {
    ($($part:literal $function:ident $type:literal $doc:literal;)*) => {
        $(
            #[doc = concat!($doc, " Holds: ", $type, ".")]
            pub(crate) fn $function(slot: ModelSlot) -> Region {
                region(id_of_slot(slot, $part))
            }
        )*

        /// The regions of a model slot: number in the slot, name, what it holds, what for.
        pub(crate) const OF_SLOT: &[(u8, &str, &str, &str)] =
            &[$(($part, stringify!($function), $type, $doc)),*];
    };
}

regions! {
    0 control "cell: Control" "What the canister knows of itself.";
    1 generations "map: GenerationId → GenerationRecord" "Generations that run, wait, or may still be read.";
    2 queue "map: GenerationId → QueueEntry" "Generations that have not ended.";
    3 accounts "map: principal → Account" "Roles, shares and quotas.";
    4 chats "map: ChatId → ChatRecord" "Chats.";
    5 chat_owners "map: owner and ChatId → ()" "Whose chats they are.";
    6 chat_turns "map: ChatId and number → ChatTurn" "Turns of chats.";
    7 chat_histories "map: ChatId → TokenHistory" "Tokens of chats.";
    8 cached_chats "map: last use and ChatId → ()" "Chats that hold KV blocks between two answers, the least recently used first.";
    9 log "map: number → LogEntry" "The last lines of the log.";
    10 models "map: ModelSlot → ModelRecord" "The model in each slot.";
}

slot_regions! {
    0 chunks "array: XXH64 (8 bytes), received (1 byte)" "Chunks of the model's file.";
    1 file "bytes" "The model's file.";
    2 packed "bytes" "The packed weights, as they are in the heap.";
    3 kv "array: KV block" "Keys and values, in blocks of 64 positions.";
    4 blocks "table: see kv_cache::block_pool" "Who holds which KV block.";
    5 block_hashes "map: BlockHash → index" "Complete KV blocks that can be found by the text up to their end.";
}

thread_local! {
    static MANAGER: RefCell<MemoryManager<DefaultMemoryImpl>> =
        RefCell::new(MemoryManager::init(DefaultMemoryImpl::default()));
}

fn region(id: u8) -> Region {
    MANAGER.with_borrow(|m| m.get(MemoryId::new(id)))
}

fn id_of_slot(slot: ModelSlot, part: u8) -> u8 {
    FIRST_OF_SLOTS + OF_SLOT.len() as u8 * slot.0 + part
}

/// Returns the size of a region (bytes).
pub(crate) fn size(region: &Region) -> u64 {
    region.size() * PAGE
}

/// Returns the size of the regions of a model slot (bytes).
pub(crate) fn slot_bytes(slot: ModelSlot) -> u64 {
    OF_SLOT
        .iter()
        .map(|(part, ..)| size(&region(id_of_slot(slot, *part))))
        .sum()
}

/// Returns the name and the size (bytes) of every region. Of model slots beyond the first only those
/// that were ever used.
pub(crate) fn sizes() -> Vec<(String, u64)> {
    let of_canister = OF_CANISTER
        .iter()
        .map(|(id, name, ..)| ((*name).to_owned(), size(&region(*id))));
    let of_slots = (0..MODEL_SLOTS).flat_map(|slot| {
        OF_SLOT.iter().map(move |(part, name, ..)| {
            let name = match slot {
                0 => (*name).to_owned(),
                n => format!("{name} {n}"),
            };
            (
                slot,
                name,
                size(&region(id_of_slot(ModelSlot(slot), *part))),
            )
        })
    });
    of_canister
        .chain(
            of_slots
                .filter(|(slot, _, bytes)| *slot == 0 || *bytes > 0)
                .map(|(_, name, bytes)| (name, bytes)),
        )
        .collect()
}

/// Makes a region at least `bytes` long. Returns `false` if stable memory cannot grow so far.
pub(crate) fn ensure(region: &Region, bytes: u64) -> bool {
    let (have, want) = (region.size(), bytes.div_ceil(PAGE));
    have >= want || region.grow(want - have) >= 0
}

/// Makes a region at least `bytes` long if all of stable memory then stays within `limit` bytes.
/// Returns `false` if it does not, or cannot grow so far.
pub(crate) fn ensure_within(region: &Region, bytes: u64, limit: u64) -> bool {
    let more = bytes.div_ceil(PAGE).saturating_sub(region.size()) * PAGE;
    more == 0 || (runtime::stable_bytes() + more <= limit && ensure(region, bytes))
}

/// A model's file in stable memory, as the engine reads it.
pub(crate) struct StoredFile {
    /// Where it lies.
    pub region: Region,
    /// Its size (bytes).
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

//! A generation's round: go on with it until the budget is used up, then write through what has
//! changed.

use crate::api::{Error, LogLevel, RoundFigures, Totals};
use crate::app::{App, Loaded, Running};
use crate::blocks::{self, BLOCK};
use crate::chat_store::ChatStore;
use crate::durable::Record;
use crate::pages::{Page, Pages};
use crate::{generations, logs, memory, system};
use engine::kv_cache::{KvCache, KvShape};
use engine::{InstructionBudget, Meter, Step};
use ic_stable_structures::Memory;
use std::collections::btree_map::Entry;

/// Instructions of a round that are not the generation's: reading and writing its record, the next
/// round, heap pages.
const OVERHEAD: u64 = 5_000_000;
/// Cache bytes of other generations that may stay in the heap.
const HEAP_CACHE_BYTES: usize = 768 << 20;

struct Counter;

impl Meter for Counter {
    fn used(&self) -> u64 {
        system::instructions()
    }
}

/// Instructions to keep back for storing the rows of one more position: bytes, and pages of the
/// heap and of stable memory.
fn store_cost(shape: &KvShape) -> u64 {
    let bytes = shape.block_bytes() as u64 / 64;
    3 * bytes
}

/// What storing costs however few positions it is: groups of positions and pages are whole.
fn store_base(shape: &KvShape) -> u64 {
    let units = (shape.layers * shape.kv_heads) as u64;
    units * 9_000 + shape.block_bytes() as u64 / 16
}

/// Rounds of a generation whose figures are kept.
const RECENT: usize = 32;

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// No piece of work fitted, and nothing happened.
    TooSmall,
    /// Only the heap's cache was filled.
    Prepared,
    /// The generation has got somewhere, or ended.
    Advanced,
}

/// One turn of generation `id`, until the message has used `limit` instructions. `full`: the
/// instructions it may use if no piece of work fits `limit`.
pub fn run(app: &mut App, id: u64, limit: u64, full: Option<u64>) -> Turn {
    let Some(mut record) = app.records.get(&id).filter(|r| r.end.is_none()) else {
        app.queue.remove(id);
        return Turn::Advanced;
    };
    let Some(shelf) = app.queue.shelf(id) else {
        return Turn::Advanced;
    };
    let start = system::instructions();
    let drawn = record.generated().len();
    let spent = (record.prompt_instructions, record.generate_instructions);
    let place = (record.computed, record.stage, drawn);
    let mut result = work(app, shelf, &mut record, limit);
    if matches!(result, Err(Error::BudgetTooSmall { .. })) {
        match full {
            Some(full) if full > limit => result = work(app, shelf, &mut record, full),
            Some(_) => {}
            None => return Turn::TooSmall,
        }
    }
    record.rounds += 1;
    if let Err(e) = result {
        let text = format!("generation {id}: {e:?}");
        logs::add(app, LogLevel::Error, None, text);
        record.end = Some(Err(e));
    }
    let used = system::instructions();
    record.max_message_instructions = record.max_message_instructions.max(used);
    if record.recent.len() >= RECENT {
        record.recent.remove(0);
    }
    let used = used - start;
    record.recent.push(RoundFigures {
        instructions: used,
        budget: limit.saturating_sub(start),
        tokens: (record.generated().len() - drawn) as u32,
    });
    let totals = &mut app.control.totals;
    let prompt = record.prompt_instructions - spent.0;
    let generate = record.generate_instructions - spent.1;
    totals.prompt_instructions += prompt;
    totals.generate_instructions += generate;
    totals.overhead_instructions += used.saturating_sub(prompt + generate);
    let turn = match (record.computed, record.stage, record.generated().len()) {
        now if now == place && record.end.is_none() => Turn::Prepared,
        _ => Turn::Advanced,
    };
    if record.end.is_some() {
        generations::finish(app, record);
    } else {
        app.put(record);
    }
    turn
}

fn work(app: &mut App, shelf: u8, record: &mut Record, budget: u64) -> Result<(), Error> {
    let id = record.id;
    let now = app.control.rounds;
    let Some(Loaded {
        model,
        tokenizer,
        workspace,
        experience,
        ..
    }) = app.heap.loaded.get_mut(&shelf)
    else {
        return Ok(());
    };
    let shape = model.config.kv_shape();
    make_room(&mut app.heap.running, id);
    let running = match app.heap.running.entry(id) {
        Entry::Occupied(running) => running.into_mut(),
        Entry::Vacant(vacant) => {
            drop_unreadable(record, &mut app.pages);
            vacant.insert(Running {
                generation: record.to_generation(),
                kv: KvCache::new(shape),
                restored_blocks: 0,
                stored: record.computed as usize,
                last_round: now,
            })
        }
    };
    running.last_round = now;
    if !restore(running, shelf, record, budget)? {
        return Ok(());
    }

    let mut pacer =
        InstructionBudget::new(&Counter, experience, budget, OVERHEAD + store_base(&shape));
    let g = &mut running.generation;
    let mut positions = g.computed;
    loop {
        let step = g.step(model, tokenizer, workspace, &mut running.kv, &mut pacer);
        pacer.reserve(store_cost(&shape) * (g.computed - positions) as u64);
        positions = g.computed;
        match step {
            Ok(Step::Token(_)) => {}
            Ok(Step::Paused | Step::Finished(_)) => break,
            Err(e) => return Err(e.into()),
        }
    }
    if g.finished.is_none() || record.chat.is_some() {
        let place = Place {
            shelf,
            pages: &mut app.pages,
            chats: &mut app.chats,
            totals: &mut app.control.totals,
            max_kv: app.control.config.max_kv_bytes,
            max_stable: app.control.config.max_stable_bytes,
        };
        store(running, record, &shape, place)?;
    }
    record.update(&running.generation);
    Ok(())
}

/// Pages that do not hold what they should (they were given to somebody else, or never filled) are
/// not read: their positions are computed again from the tokens.
fn drop_unreadable(record: &mut Record, pages: &mut Pages) {
    let wanted = record.computed as usize + usize::from(record.stage != 0);
    let readable = record
        .pages
        .iter()
        .enumerate()
        .take_while(|(b, page)| pages.filled(**page) >= BLOCK.min(wanted.saturating_sub(b * BLOCK)))
        .count();
    if readable * BLOCK < wanted {
        record.computed = (readable * BLOCK) as u32;
        record.stage = 0;
        record.x.clear();
    }
    for page in record.pages.split_off(readable) {
        pages.release(page);
    }
}

/// Drops caches that others have in the heap, the longest unused first: they are in stable memory.
fn make_room(running: &mut std::collections::BTreeMap<u64, Running>, id: u64) {
    loop {
        let others = || running.iter().filter(|(other, _)| **other != id);
        if others().map(|(_, r)| r.kv.bytes()).sum::<usize>() <= HEAP_CACHE_BYTES {
            return;
        }
        let Some(oldest) = others()
            .min_by_key(|(_, r)| r.last_round)
            .map(|(id, _)| *id)
        else {
            return;
        };
        running.remove(&oldest);
    }
}

/// Fills the heap's cache from stable memory, a block at a time. `true`: all of it is there.
fn restore(running: &mut Running, shelf: u8, record: &Record, budget: u64) -> Result<bool, Error> {
    let shape = running.kv.shape();
    let block = shape.block_bytes();
    let mut worked = false;
    while running.restored_blocks < record.pages.len() {
        let cost = 2 * block as u64;
        if worked && system::instructions() + cost + OVERHEAD > budget {
            return Ok(false);
        }
        let b = running.restored_blocks;
        running.kv.grow((b + 1) * BLOCK)?;
        let at = u64::from(record.pages[b].slot) * block as u64;
        memory::kv(shelf).read(at, running.kv.block_mut(b));
        running.restored_blocks += 1;
        worked = true;
    }
    Ok(true)
}

/// Where pages come from: free ones, and those of chats that rest.
struct Place<'a> {
    shelf: u8,
    pages: &'a mut Pages,
    chats: &'a mut ChatStore,
    totals: &'a mut Totals,
    /// Most bytes of pages in use, and of stable memory.
    max_kv: u64,
    max_stable: u64,
}

impl Place<'_> {
    /// A new page; chats that were not used for longest lose theirs if there is no room.
    fn allocate(&mut self, block_bytes: u64) -> Result<Page, Error> {
        loop {
            let slot = u64::from(self.pages.next_slot(self.shelf));
            let within = self.pages.used_bytes() + block_bytes <= self.max_kv;
            if within
                && memory::ensure_within(
                    &memory::kv(self.shelf),
                    (slot + 1) * block_bytes,
                    self.max_stable,
                )
                && let Some(page) = self.pages.allocate(self.shelf)
            {
                return Ok(page);
            }
            if !self.chats.evict_oldest(self.pages) {
                return Err(Error::OutOfMemory(
                    "stable memory (or max_kv_bytes) cannot hold the KV cache".into(),
                ));
            }
            self.totals.evictions += 1;
        }
    }
}

/// Writes the rows that are new since the last time, those of an unfinished token included.
fn store(
    running: &mut Running,
    record: &mut Record,
    shape: &KvShape,
    mut place: Place<'_>,
) -> Result<(), Error> {
    let g = &running.generation;
    let partly = usize::from(g.forward.stage() != engine::inference::forward::Stage::Start);
    let end = g.computed + partly;
    let block_bytes = shape.block_bytes() as u64;
    if let Some(page) = record.pages.get_mut(running.stored / BLOCK)
        && end > running.stored
        && place.pages.is_frozen(*page)
    {
        // Others read this page: what follows goes to one of our own, with what it begins with.
        let own = place.allocate(block_bytes)?;
        place.pages.release(std::mem::replace(page, own));
        running.stored -= running.stored % BLOCK;
    }
    while record.pages.len() < shape.blocks(end) {
        record.pages.push(place.allocate(block_bytes)?);
    }
    running.restored_blocks = record.pages.len();
    let region = memory::kv(place.shelf);
    let kv = &running.kv;
    let stored: Result<(), std::convert::Infallible> =
        shape.rows(running.stored, end, |block, offset, len| {
            let at = u64::from(record.pages[block].slot) * block_bytes + offset as u64;
            region.write(at, &kv.block(block)[offset..offset + len]);
            Ok(())
        });
    let Ok(()) = stored;
    for b in running.stored / BLOCK..shape.blocks(end) {
        let filled = (end - b * BLOCK).min(BLOCK);
        place.pages.set_filled(record.pages[b], filled);
    }
    publish(running, record, place.pages);
    running.stored = g.computed;
    Ok(())
}

/// Blocks that have become complete can be found by others from now on.
fn publish(running: &Running, record: &mut Record, pages: &mut Pages) {
    let g = &running.generation;
    let complete = g.computed / BLOCK;
    let first = running.stored / BLOCK;
    if first >= complete {
        return;
    }
    let tokens = &g.tokens[..complete * BLOCK];
    let keys = blocks::keys(&record.model, &record.owner, record.public as usize, tokens);
    for (page, key) in record.pages.iter_mut().zip(keys).skip(first) {
        *page = pages.publish(*page, &key);
    }
}

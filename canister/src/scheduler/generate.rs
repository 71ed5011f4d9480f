//! A slice of a generation: continue it until the budget is used up, then write what has changed to
//! stable memory.

use crate::generations::engine_state::{answer_tokens, to_generation, update_record};
use crate::generations::finish;
use crate::kv_cache::{BLOCK, BlockPools, block_hash, block_table};
use crate::runtime;
use crate::stable::ids::{GenerationId, ModelSlot};
use crate::stable::records::{GenerationRecord, KvBlock, LogLevel, SliceFigures, Stage, Totals};
use crate::stable::regions;
use crate::state::chats::ChatStore;
use crate::state::convert::engine_error;
use crate::state::residency::Loaded;
use crate::state::{Running, State};
use engine::inference::forward;
use engine::kv_cache::{KvCache, KvShape};
use engine::{InstructionBudget, Meter, Step};
use ic_stable_structures::Memory;
use interface::Error;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Instructions of a slice besides the generation's own: its record, the next slice, heap pages.
const OVERHEAD: u64 = 5_000_000;
/// Bytes of other generations' KV caches that may stay in the heap.
const HEAP_CACHE_BYTES: usize = 768 << 20;

struct Counter;

impl Meter for Counter {
    fn used(&self) -> u64 {
        runtime::instructions()
    }
}

/// Returns the instructions to reserve for storing one more position: bytes, and pages of the heap and
/// of stable memory.
fn store_cost(shape: &KvShape) -> u64 {
    let bytes = shape.block_bytes() as u64 / 64;
    3 * bytes
}

/// Returns the instructions of storing that do not depend on the number of positions: groups of
/// positions and pages are written whole.
fn store_base(shape: &KvShape) -> u64 {
    let units = (shape.layers * shape.kv_heads) as u64;
    units * 9_000 + shape.block_bytes() as u64 / 16
}

/// Slices of a generation whose figures are kept.
const RECENT: usize = 32;

/// What a slice of a generation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SliceOutcome {
    /// No piece of work fitted the budget, and nothing happened.
    TooSmall,
    /// Only the KV cache in the heap was filled.
    Prepared,
    /// The generation has advanced or ended.
    Advanced,
}

/// Continues generation `id` until the message has used `limit` instructions; `full`, if given, if no
/// piece of work fits `limit`.
pub(super) fn run(
    state: &mut State,
    id: GenerationId,
    limit: u64,
    full: Option<u64>,
) -> SliceOutcome {
    let Some(mut record) = state.generations.get(&id).filter(|r| r.end.is_none()) else {
        state.queue.remove(id);
        return SliceOutcome::Advanced;
    };
    let Some(slot) = state.queue.slot(id) else {
        return SliceOutcome::Advanced;
    };
    let start = runtime::instructions();
    let answered = answer_tokens(&record).len();
    let spent = (record.prompt_instructions, record.generate_instructions);
    let before = progress(&record);
    let mut result = work(state, slot, &mut record, limit);
    if matches!(result, Err(Error::BudgetTooSmall { .. })) {
        match full {
            Some(full) if full > limit => result = work(state, slot, &mut record, full),
            Some(_) => {}
            None => return SliceOutcome::TooSmall,
        }
    }
    record.slices += 1;
    if let Err(e) = result {
        let text = format!("generation {id}: {e:?}");
        state.log.add(LogLevel::Error, None, text);
        record.end = Some(Err(e.into()));
    }
    let used = runtime::instructions();
    record.max_message_instructions = record.max_message_instructions.max(used);
    if record.recent.len() >= RECENT {
        record.recent.remove(0);
    }
    let used = used - start;
    record.recent.push(SliceFigures {
        instructions: used,
        budget: limit.saturating_sub(start),
        tokens: (answer_tokens(&record).len() - answered) as u32,
    });
    let totals = &mut state.control.totals;
    let prompt = record.prompt_instructions - spent.0;
    let generate = record.generate_instructions - spent.1;
    totals.prompt_instructions += prompt;
    totals.generate_instructions += generate;
    totals.overhead_instructions += used.saturating_sub(prompt + generate);
    let outcome = if progress(&record) == before && record.end.is_none() {
        SliceOutcome::Prepared
    } else {
        SliceOutcome::Advanced
    };
    if record.end.is_some() {
        finish::finish(state, record);
    } else {
        state.put_generation(record);
    }
    outcome
}

/// Returns what changes when a generation gets somewhere: positions, layer, length of the answer.
fn progress(record: &GenerationRecord) -> (u32, u64, usize) {
    let layer = match record.stage {
        Stage::Start => 0,
        Stage::Layer(layer, _) => 1 + u64::from(layer),
        Stage::Head(_) => u64::MAX,
    };
    (record.computed, layer, answer_tokens(record).len())
}

fn work(
    state: &mut State,
    slot: ModelSlot,
    record: &mut GenerationRecord,
    budget: u64,
) -> Result<(), Error> {
    let id = record.id;
    let now = state.control.slices;
    let Some(Loaded {
        model,
        tokenizer,
        workspace,
        costs,
        ..
    }) = state.residency.loaded.get_mut(&slot)
    else {
        return Ok(());
    };
    let shape = model.config.kv_shape();
    make_room(&mut state.running, id);
    let running = match state.running.entry(id) {
        Entry::Occupied(running) => running.into_mut(),
        Entry::Vacant(vacant) => {
            drop_unreadable(record, &mut state.pools);
            vacant.insert(Running {
                generation: to_generation(record),
                kv: KvCache::new(shape),
                restored_blocks: 0,
                stored: record.computed as usize,
                last_slice: now,
            })
        }
    };
    running.last_slice = now;
    if !restore(running, slot, record, budget)? {
        return Ok(());
    }

    let mut budget_left =
        InstructionBudget::new(&Counter, costs, budget, OVERHEAD + store_base(&shape));
    let g = &mut running.generation;
    let mut positions = g.computed;
    loop {
        let step = g.step(
            model,
            tokenizer,
            workspace,
            &mut running.kv,
            &mut budget_left,
        );
        budget_left.reserve(store_cost(&shape) * (g.computed - positions) as u64);
        positions = g.computed;
        match step {
            Ok(Step::Token(_)) => {}
            Ok(Step::Paused | Step::Finished(_)) => break,
            Err(e) => return Err(engine_error(e)),
        }
    }
    if g.finished.is_none() || record.chat.is_some() {
        let config = &state.control.config;
        let (max_kv, max_stable) = (config.max_kv_bytes, config.max_stable_bytes);
        let allocator = BlockAllocator {
            slot,
            pools: &mut state.pools,
            chats: &mut state.chats,
            totals: &mut state.control.totals,
            max_kv,
            max_stable,
        };
        store(running, record, &shape, allocator)?;
    }
    update_record(record, &running.generation);
    Ok(())
}

/// Blocks that do not hold what they should (they were given to somebody else, or never filled) are
/// not read: their positions are computed again from the tokens.
fn drop_unreadable(record: &mut GenerationRecord, pools: &mut BlockPools) {
    let wanted = record.computed as usize + usize::from(record.stage != Stage::Start);
    let readable = block_table::readable_blocks(&record.block_table, wanted, pools);
    if readable * BLOCK < wanted {
        record.computed = (readable * BLOCK) as u32;
        record.stage = Stage::Start;
    }
    block_table::truncate(&mut record.block_table, readable * BLOCK, pools);
}

/// Removes other generations' caches from the heap, the least recently used first, until the rest fits:
/// they are in stable memory.
fn make_room(running: &mut BTreeMap<GenerationId, Running>, id: GenerationId) {
    loop {
        let others = || running.iter().filter(|(other, _)| **other != id);
        if others().map(|(_, r)| r.kv.bytes()).sum::<usize>() <= HEAP_CACHE_BYTES {
            return;
        }
        let Some(oldest) = others()
            .min_by_key(|(_, r)| r.last_slice)
            .map(|(id, _)| *id)
        else {
            return;
        };
        running.remove(&oldest);
    }
}

/// Fills the KV cache in the heap from stable memory, a block at a time. Returns `true` if all of it is
/// there.
fn restore(
    running: &mut Running,
    slot: ModelSlot,
    record: &GenerationRecord,
    budget: u64,
) -> Result<bool, Error> {
    let shape = running.kv.shape();
    let block = shape.block_bytes();
    let mut worked = false;
    while running.restored_blocks < record.block_table.len() {
        let cost = 2 * block as u64;
        if worked && runtime::instructions() + cost + OVERHEAD > budget {
            return Ok(false);
        }
        let b = running.restored_blocks;
        running.kv.grow((b + 1) * BLOCK).map_err(engine_error)?;
        let at = u64::from(record.block_table[b].index) * block as u64;
        regions::kv(slot).read(at, running.kv.block_mut(b));
        running.restored_blocks += 1;
        worked = true;
    }
    Ok(true)
}

/// Where blocks come from: free ones, and those of idle chats.
struct BlockAllocator<'a> {
    slot: ModelSlot,
    pools: &'a mut BlockPools,
    chats: &'a mut ChatStore,
    totals: &'a mut Totals,
    /// Most bytes of blocks in use, and of stable memory.
    max_kv: u64,
    max_stable: u64,
}

impl BlockAllocator<'_> {
    /// Returns a new block. Evicts idle chats, the least recently used first, if there is no room.
    fn allocate(&mut self, block_bytes: u64) -> Result<KvBlock, Error> {
        loop {
            let index = u64::from(self.pools.next_index(self.slot));
            let within = self.pools.used_bytes() + block_bytes <= self.max_kv;
            if within
                && regions::ensure_within(
                    &regions::kv(self.slot),
                    (index + 1) * block_bytes,
                    self.max_stable,
                )
                && let Some(block) = self.pools.allocate(self.slot)
            {
                return Ok(block);
            }
            if !self.chats.evict_oldest(self.pools) {
                return Err(Error::OutOfMemory(
                    "stable memory (or max_kv_bytes) cannot hold the KV cache".into(),
                ));
            }
            self.totals.evictions += 1;
        }
    }
}

/// Writes the keys and values that are new since the last time, those of an unfinished token included.
fn store(
    running: &mut Running,
    record: &mut GenerationRecord,
    shape: &KvShape,
    mut allocator: BlockAllocator<'_>,
) -> Result<(), Error> {
    let g = &running.generation;
    let partly = usize::from(g.forward.stage() != forward::Stage::Start);
    let end = g.computed + partly;
    let block_bytes = shape.block_bytes() as u64;
    if let Some(block) = record.block_table.get_mut(running.stored / BLOCK)
        && end > running.stored
        && allocator.pools.is_frozen(*block)
    {
        // Others read this block: what follows goes to one of our own, with what it begins with.
        let own = allocator.allocate(block_bytes)?;
        allocator.pools.release(std::mem::replace(block, own));
        running.stored -= running.stored % BLOCK;
    }
    while record.block_table.len() < shape.blocks(end) {
        record.block_table.push(allocator.allocate(block_bytes)?);
    }
    running.restored_blocks = record.block_table.len();
    let region = regions::kv(allocator.slot);
    let kv = &running.kv;
    let stored: Result<(), std::convert::Infallible> =
        shape.rows(running.stored, end, |block, offset, len| {
            let at = u64::from(record.block_table[block].index) * block_bytes + offset as u64;
            region.write(at, &kv.block(block)[offset..offset + len]);
            Ok(())
        });
    let Ok(()) = stored;
    for b in running.stored / BLOCK..shape.blocks(end) {
        let filled = (end - b * BLOCK).min(BLOCK);
        allocator.pools.set_filled(record.block_table[b], filled);
    }
    publish(running, record, allocator.pools);
    running.stored = g.computed;
    Ok(())
}

/// Lets others find the blocks that have become complete.
fn publish(running: &Running, record: &mut GenerationRecord, pools: &mut BlockPools) {
    let g = &running.generation;
    let complete = g.computed / BLOCK;
    let first = running.stored / BLOCK;
    if first >= complete {
        return;
    }
    let tokens = &g.tokens[..complete * BLOCK];
    let hashes =
        block_hash::block_hashes(&record.model, &record.owner, record.public as usize, tokens);
    for (block, hash) in record.block_table.iter_mut().zip(hashes).skip(first) {
        *block = pools.publish(*block, &hash);
    }
}

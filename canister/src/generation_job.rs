//! A generation's round: go on with it until the budget is used up, then write through what has
//! changed.

use crate::api::Error;
use crate::app::{App, Loaded, Running};
use crate::durable::Record;
use crate::{memory, system};
use engine::kv::{KvCache, KvShape};
use engine::{Meter, Pacer, Step};
use ic_stable_structures::Memory;

/// Instructions of a round that are not the generation's: reading and writing its record, the next
/// round, heap pages.
const OVERHEAD: u64 = 6_000_000;
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

/// One round of generation `id`.
pub fn run(app: &mut App, id: u64, budget: u64) {
    let Some(mut record) = app.records.get(&id).filter(|r| r.end.is_none()) else {
        app.heap.open.retain(|open| *open != id);
        return;
    };
    let result = work(app, &mut record, budget);
    record.rounds += 1;
    if let Err(e) = result {
        system::log(&format!("generation {id}: {e:?}"));
        record.end = Some(Err(e));
    }
    record.max_message_instructions = record.max_message_instructions.max(system::instructions());
    let ended = record.end.is_some();
    app.put(record);
    if ended {
        app.end(id, None);
    }
}

fn work(app: &mut App, record: &mut Record, budget: u64) -> Result<(), Error> {
    let id = record.id;
    let now = app.control.rounds;
    let Some(Loaded {
        model,
        tokenizer,
        workspace,
        ..
    }) = &mut app.heap.loaded
    else {
        return Ok(());
    };
    let shape = KvShape::of(&model.config);
    make_room(&mut app.heap.running, id);
    let running = app.heap.running.entry(id).or_insert_with(|| Running {
        generation: record.to_generation(),
        kv: KvCache::new(shape),
        restored_blocks: 0,
        stored: record.computed as usize,
        last_round: now,
    });
    running.last_round = now;
    if !restore(running, record, budget)? {
        return Ok(());
    }

    let mut pacer = Pacer::new(
        &Counter,
        &mut app.heap.experience,
        budget,
        OVERHEAD + store_base(&shape),
    );
    let g = &mut running.generation;
    let mut positions = g.computed;
    loop {
        let step = g.step(model, tokenizer, workspace, &mut running.kv, &mut pacer);
        pacer.keep(store_cost(&shape) * (g.computed - positions) as u64);
        positions = g.computed;
        match step {
            Ok(Step::Token(_)) => {}
            Ok(Step::Paused | Step::Finished(_)) => break,
            Err(e) => return Err(e.into()),
        }
    }
    if g.finished.is_none() {
        store(running, record, &shape, &mut app.heap.slots)?;
    }
    record.update(&running.generation);
    Ok(())
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
fn restore(running: &mut Running, record: &Record, budget: u64) -> Result<bool, Error> {
    let shape = running.kv.shape();
    let block = shape.block_bytes();
    let mut worked = false;
    while running.restored_blocks < record.slots.len() {
        let cost = 2 * block as u64;
        if worked && system::instructions() + cost + OVERHEAD > budget {
            return Ok(false);
        }
        let b = running.restored_blocks;
        running.kv.grow((b + 1) * 64)?;
        let at = u64::from(record.slots[b]) * block as u64;
        memory::kv().read(at, running.kv.block_mut(b));
        running.restored_blocks += 1;
        worked = true;
    }
    Ok(true)
}

/// Writes the rows that are new since the last time, those of an unfinished token included.
fn store(
    running: &mut Running,
    record: &mut Record,
    shape: &KvShape,
    slots: &mut crate::slots::Slots,
) -> Result<(), Error> {
    let g = &running.generation;
    let partly = usize::from(g.forward.stage != engine::forward::Stage::Start);
    let end = g.computed + partly;
    let block_bytes = shape.block_bytes() as u64;
    while record.slots.len() < shape.blocks(end) {
        let slot = slots.allocate();
        record.slots.push(slot);
        if !memory::ensure(&memory::kv(), (u64::from(slot) + 1) * block_bytes) {
            return Err(Error::OutOfMemory(
                "stable memory cannot hold the KV cache".into(),
            ));
        }
    }
    running.restored_blocks = record.slots.len();
    let region = memory::kv();
    let kv = &running.kv;
    let stored: Result<(), std::convert::Infallible> =
        shape.rows(running.stored, end, |block, offset, len| {
            let at = u64::from(record.slots[block]) * block_bytes + offset as u64;
            region.write(at, &kv.block(block)[offset..offset + len]);
            Ok(())
        });
    let Ok(()) = stored;
    running.stored = g.computed;
    Ok(())
}

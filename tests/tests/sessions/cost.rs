//! What a chat costs: the next turn pays for its new tokens only, and many chats cost no heap.

use anyhow::{Result, ensure};
use e2e::harness::{Direct, caller, greedy};
use e2e::tiny_model::{Tiny, smallest};
use interface::{
    ChatInfo, ChatListArgs, ConfigPatch, GenerateArgs, Generation, Input, Outcome, Started,
};

/// Large enough that a token's own cost is what counts.
fn middling() -> Tiny {
    Tiny {
        layers: 4,
        dim: 256,
        ffn_dim: 512,
        heads: 8,
        kv_heads: 4,
        head_dim: 32,
        ..Tiny::default()
    }
}

/// About so many tokens.
fn text(tokens: usize) -> String {
    let mut text = String::new();
    for n in 0..tokens / 2 {
        text.push_str(&format!("{} th", n % 10));
    }
    text
}

/// What the engine spends on `read` tokens and then `drawn` ones.
fn engine(d: &mut Direct, who: u64, read: u32, drawn: u32) -> Result<u64> {
    let digits = (0..read).map(|n| char::from(b'0' + (n % 10) as u8));
    let request = GenerateArgs {
        input: Input::Prompt(digits.collect()),
        options: Some(greedy(drawn)),
        ..GenerateArgs::default()
    };
    let started: Outcome<Started> = d.update(caller(who), "generate", (request,))?;
    let started = started?;
    ensure!(started.prompt_tokens == read, "{}", started.prompt_tokens);
    let end = d.finish(caller(who), started.id)?;
    ensure!(end.generated_tokens == drawn && end.cached_tokens == 0);
    Ok(end.prompt_instructions + end.generate_instructions)
}

#[test]
fn the_second_turn_costs_its_new_tokens_only() -> Result<()> {
    const DRAWN: u32 = 128;
    let me = caller(1);
    let mut d = Direct::with_model(&middling())?;
    // Upgraded, evicted, or neither before the second turn: its instructions in all, and the answer.
    let run = |d: &mut Direct, upgrade: bool, evict: bool| -> Result<(u64, Generation)> {
        let chat = d.chat(me, None)?;
        d.answer(me, chat, &text(1_000), greedy(8))?;
        if upgrade {
            d.upgrade()?;
            d.until_ready()?;
        }
        if evict {
            // Somebody else's generation needs all the room there is.
            let page = d.status()?.cache.block_bytes;
            let room = |d: &mut Direct, pages: u64| {
                d.config(ConfigPatch {
                    max_kv_bytes: Some(pages * page),
                    ..ConfigPatch::default()
                })
            };
            room(d, 2)?;
            let other = d.chat(caller(2), None)?;
            d.answer(caller(2), other, "Hello", greedy(2))?;
            room(d, 1_000)?;
        }
        let before = d.instructions();
        let second = d.answer(me, chat, "And what is the rest of it?", greedy(DRAWN))?;
        let cost = d.instructions() - before;
        d.delete_chats(me)?;
        d.delete_chats(caller(2))?;
        Ok((cost, second))
    };
    let (kept, second) = run(&mut d, false, false)?;
    let (upgraded, after_upgrade) = run(&mut d, true, false)?;
    let (evicted, after_eviction) = run(&mut d, false, true)?;
    let all = engine(&mut d, 3, second.prompt_tokens, DRAWN)?;
    let new = all - engine(&mut d, 4, second.cached_tokens, 1)?;
    println!(
        "second turn of a chat of {} tokens ({} more read, {DRAWN} drawn): {kept} instructions, after \
         an upgrade {upgraded}, after an eviction {evicted}; the engine's for the new tokens {new}",
        second.cached_tokens,
        second.prompt_tokens - second.cached_tokens,
    );
    ensure!(second.cached_tokens >= 1_000);
    ensure!(after_upgrade.cached_tokens == second.cached_tokens);
    ensure!(after_eviction.cached_tokens == 0);
    ensure!(second.token_ids == after_upgrade.token_ids);
    ensure!(second.token_ids == after_eviction.token_ids);
    ensure!(kept as f64 <= 1.05 * new as f64, "{kept} {new}");
    ensure!(upgraded as f64 <= 1.05 * new as f64, "{upgraded} {new}");
    Ok(())
}

#[test]
fn a_common_system_prompt_is_kept_once() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    let system = text(400);
    let mut pages = Vec::new();
    let mut cached = Vec::new();
    for n in 1..=5 {
        let chat = d.chat(caller(n), Some(&system))?;
        let answer = d.answer(caller(n), chat, "Hello", greedy(2))?;
        cached.push(answer.cached_tokens);
        pages.push(d.status()?.cache.blocks_used);
    }
    println!("pages {pages:?}, cached {cached:?}");
    // Each further chat needs its own last page only, and reads only what follows the common pages.
    ensure!(pages.windows(2).all(|p| p[1] == p[0] + 1) && pages[0] > 5);
    ensure!(
        cached[0] == 0
            && cached[1..]
                .iter()
                .all(|c| *c as usize / 64 == pages[0] as usize - 1)
    );
    // What a caller wrote himself is shared with nobody: it is not seen by how much is read.
    let question = text(300);
    for (n, known) in [(6, false), (6, true), (7, false)] {
        let chat = d.chat(caller(n), None)?;
        let answer = d.answer(caller(n), chat, &question, greedy(2))?;
        ensure!(
            (answer.cached_tokens > 64) == known,
            "{n}: {}",
            answer.cached_tokens
        );
    }
    for n in 1..=7 {
        d.delete_chats(caller(n))?;
    }
    ensure!(d.status()?.cache.blocks_used == 0);
    Ok(())
}

#[test]
fn a_thousand_chats_cost_no_heap() -> Result<()> {
    let mut d = Direct::with_model(&smallest())?;
    let fill = |d: &mut Direct, from: u64, to: u64| -> Result<()> {
        let mut last = None;
        for n in from..to {
            let who = caller(1 + n % 10);
            let chat = d.chat(who, None)?;
            let question = format!("{n} {}", text(480));
            last = Some((who, d.ask(who, chat, &question, greedy(4))??.id));
            if d.status()?.generations_running > 40 {
                d.settle()?;
            }
        }
        if let Some((who, id)) = last {
            d.finish(who, id)?;
        }
        d.settle()
    };
    // What it costs to list, to send and to evict, with as many chats as there are.
    let measure = |d: &mut Direct| -> Result<[u64; 3]> {
        let me = caller(77);
        for _ in 0..12 {
            d.chat(me, None)?;
        }
        let request = ChatListArgs {
            before: None,
            limit: 10,
        };
        let own: Vec<ChatInfo> = d.query(me, "chat_list", (request,))?;
        ensure!(own.len() == 10);
        let list = d.replica.last_query_instructions();
        let before = d.instructions();
        d.answer(me, own[0].id, "Hello", greedy(1))?;
        let send = d.instructions() - before;
        // As many pages as are used now: the next has to take somebody's.
        let status = d.status()?;
        d.config(ConfigPatch {
            max_kv_bytes: Some(u64::from(status.cache.blocks_used) * status.cache.block_bytes),
            ..ConfigPatch::default()
        })?;
        let before = d.instructions();
        d.answer(me, own[1].id, "Hello", greedy(1))?;
        let evict = d.instructions() - before;
        ensure!(d.status()?.totals.evictions == status.totals.evictions + 1);
        d.config(ConfigPatch {
            max_kv_bytes: Some(u64::MAX / 2),
            ..ConfigPatch::default()
        })?;
        d.delete_chats(me)?;
        Ok([list, send, evict])
    };
    fill(&mut d, 0, 10)?;
    let few = measure(&mut d)?;
    let heap = d.status()?.heap_bytes;
    fill(&mut d, 10, 1_000)?;
    let many = measure(&mut d)?;
    let status = d.status()?;
    println!(
        "with 10 and with {} chats: heap {heap} and {} bytes; list, send, send with eviction {few:?} \
         and {many:?} instructions",
        status.chats, status.heap_bytes
    );
    ensure!(status.chats == 1_000 && status.cache.blocks_used > 5_000);
    ensure!(status.heap_bytes <= heap + (1 << 20), "the heap has grown");
    // Maps of a thousand are a level or two deeper than maps of ten, and that is all.
    for (few, many) in few.into_iter().zip(many) {
        ensure!(many < few + few / 4 + 250_000, "{few} {many}");
    }
    // Listing is in pages and complete.
    let mut before = None;
    let mut count = 0;
    loop {
        let request = ChatListArgs { before, limit: 30 };
        let page: Vec<ChatInfo> = d.query(caller(3), "chat_list", (request,))?;
        ensure!(page.windows(2).all(|c| c[0].id > c[1].id));
        count += page.len();
        match page.last() {
            Some(last) => before = Some(last.id),
            None => break,
        }
    }
    ensure!(count == 100);
    Ok(())
}

//! Chats with a real model: what they take of heap and stable memory.

use anyhow::{Result, ensure};
use e2e::harness::{Direct, caller, greedy};

#[test]
fn twenty_chats_of_a_real_model_fit_a_gibibyte_of_heap() -> Result<()> {
    // Longer chats at night.
    let long = match std::env::var_os("LLM_NIGHTLY") {
        Some(_) => "Tell me all that you know of this. ".repeat(60),
        None => "Hello".into(),
    };
    let mut d = Direct::install(&e2e::wasm()?)?;
    d.upload(&std::fs::read(e2e::model()?)?)?;
    let system = "You are a helpful assistant who answers in one short sentence, politely, plainly \
                  and truthfully, without repeating the question, and who says so when an answer \
                  is not known. You never use lists, headings or emphasis, and you do not apologise."
        .repeat(3);
    // It fills two pages and a little: these are read once.
    let system = &system[..system.len() * 84 / 100];
    let mut running = Vec::new();
    let mut tokens = 0;
    for n in 1..=20 {
        let chat = d.chat(caller(n), Some(system))?;
        let started = d.ask(caller(n), chat, &format!("{long} {n}"), greedy(2))??;
        if n == 1 {
            d.finish(caller(n), started.id)?;
        }
        running.push((caller(n), started.id));
    }
    let mut shared = 0;
    for (who, id) in running {
        let end = d.finish(who, id)?;
        tokens += u64::from(end.prompt_tokens + end.generated_tokens);
        shared += u64::from(end.cached_tokens);
    }
    let s = d.status()?;
    let kv = u64::from(s.cache.blocks_used) * s.cache.block_bytes;
    println!(
        "20 chats of SmolLM2-135M, {tokens} tokens of context, {shared} of them read for others: heap \
         {} MiB; {} KV pages of {} bytes, {} bytes a token of a full page, {} a token of context here",
        s.heap_bytes >> 20,
        s.cache.blocks_used,
        s.cache.block_bytes,
        s.cache.block_bytes / 64,
        kv / tokens
    );
    ensure!(s.chats == 20 && s.cache.cached_chats == 20);
    ensure!(s.heap_bytes < 1 << 30, "{}", s.heap_bytes);
    Ok(())
}

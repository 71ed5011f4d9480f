//! What uploads leave behind: nothing that was not asked for.

use crate::support::{File, alias, delete, start, two, until_means};
use anyhow::{Result, ensure};
use candid::Nat;
use e2e::harness::{Direct, caller, greedy};
use e2e::tiny_model::Tiny;
use interface::{Done, Error, Manifest, Phase, Range};
use replica::management::types::CanisterSettings;
use serde_bytes::ByteBuf;

fn manifest(file: &File, chunk_size: u32) -> Manifest {
    Manifest {
        name: "another name".into(),
        size: file.bytes.len() as u64,
        chunk_size,
        sha256: ByteBuf::from(file.sha256.clone()),
        checksums: (file.bytes.chunks(chunk_size as usize))
            .map(interface::checksum)
            .collect(),
    }
}

#[test]
fn a_file_is_stored_once() -> Result<()> {
    let [a, b] = two()?;
    let mut d = Direct::install(&e2e::wasm()?)?;
    d.upload(&a.bytes)?;
    // Under another name, in other chunks: it is there.
    d.update::<_, Done>(caller(0), "upload_begin", (manifest(&a, 10_000),))??;
    let missing: Vec<Range> = d.query(caller(0), "upload_missing", ())?;
    ensure!(missing.is_empty());
    d.update::<_, Done>(caller(0), "upload_commit", ())??;
    ensure!(d.models()?.models.len() == 1);

    // One file at a time; the same in other chunks would not fit what is there.
    d.update::<_, Done>(caller(0), "upload_begin", (manifest(&b, 10_000),))??;
    let other: Done = d.update(caller(0), "upload_begin", (manifest(&b, 20_000),))?;
    ensure!(matches!(other, Err(Error::WrongPhase { .. })), "{other:?}");
    let third = File::new(&Tiny {
        seed: 3,
        ..Tiny::default()
    })?;
    let other: Done = d.update(caller(0), "upload_begin", (manifest(&third, 20_000),))?;
    ensure!(matches!(other, Err(Error::WrongPhase { .. })), "{other:?}");
    // Dropping it leaves the model that answers alone, said once or twice.
    for _ in 0..2 {
        d.update::<_, Done>(caller(0), "upload_abort", ())??;
        ensure!(d.status()?.model.phase == Phase::Ready && d.models()?.models.len() == 1);
    }
    Ok(())
}

#[test]
fn memory_is_used_again_after_a_delete() -> Result<()> {
    let [a, b] = two()?;
    let mut d = Direct::install(&e2e::wasm()?)?;
    d.upload(&a.bytes)?;
    let alone = d.status()?;
    let in_use = |s: &interface::Status| s.cache.blocks_used;
    let mut after = Vec::new();
    for _ in 0..4 {
        d.upload(&b.bytes)?;
        alias(&mut d, "wide", &b.name())??;
        until_means(&mut d, "wide", &b.sha256)?;
        // Pages of its cache, shared and kept by a chat.
        let chat = d.chat(caller(1), Some("Be brief."))?;
        d.answer(
            caller(1),
            chat,
            "Hello, hello, hello, hello, hello",
            greedy(80),
        )?;
        let id = start(&mut d, caller(1), Some("wide"), "Hello", greedy(100))??.id;
        d.finish(caller(1), id)?;
        delete(&mut d, &b.name(), true)??;
        let status = d.status()?;
        ensure!(d.models()?.models.len() == 1);
        after.push((status.heap_bytes, status.stable_bytes));
        d.delete_chats(caller(1))?;
        ensure!(
            in_use(&d.status()?) == in_use(&alone),
            "{:?}",
            d.status()?.cache
        );
    }
    // Neither heap nor stable memory can shrink; what is free is used again, all of it.
    // (A second time around, freed pieces of the heap may have come to lie otherwise.)
    ensure!(
        after[1..].iter().all(|sizes| *sizes == after[1]),
        "{after:?}"
    );
    ensure!(
        after[0].1 == after[1].1 && after[1].0 - after[0].0 < 1 << 20,
        "{after:?}"
    );
    println!(
        "heap and stable memory: {:?} with one model, {:?} after another came and went, 4 times",
        (alone.heap_bytes, alone.stable_bytes),
        after[3]
    );
    Ok(())
}

#[test]
fn a_model_for_which_there_is_no_room_beside_another_waits() -> Result<()> {
    let small = File::new(&Tiny::default())?;
    let large = File::new(&Tiny {
        layers: 2,
        dim: 512,
        ffn_dim: 1_536,
        heads: 8,
        head_dim: 64,
        ..Tiny::default()
    })?;
    let mut d = Direct::install(&e2e::wasm()?)?;
    d.upload(&small.bytes)?;
    let heap = d.status()?.heap_bytes;
    d.settings(CanisterSettings {
        wasm_memory_limit: Some(Nat::from(heap + (4 << 20))),
        ..CanisterSettings::default()
    })?;
    let failed = d.upload(&large.bytes);
    ensure!(failed.is_err(), "it fits: too small for this test");
    let there = d.model(&large.sha256)?;
    ensure!(
        there.phase == Phase::Failed && there.error.is_some(),
        "{there:?}"
    );
    // The other answers as if nothing had been.
    let id = start(&mut d, caller(1), None, "Hello", greedy(5))??.id;
    ensure!(d.finish(caller(1), id)?.generated_tokens == 5);
    // With room it is made ready from what was sent: nothing is sent again.
    d.settings(CanisterSettings {
        wasm_memory_limit: Some(Nat::from(0u8)),
        ..CanisterSettings::default()
    })?;
    d.update::<_, Done>(caller(0), "upload_begin", (manifest(&large, 1_000_000),))??;
    let missing: Vec<Range> = d.query(caller(0), "upload_missing", ())?;
    ensure!(missing.is_empty(), "{missing:?}");
    d.update::<_, Done>(caller(0), "upload_commit", ())??;
    for _ in 0..500 {
        d.rounds(1);
    }
    ensure!(d.model(&large.sha256)?.phase == Phase::Stored);
    Ok(())
}

#[test]
fn sixteen_models_and_no_more() -> Result<()> {
    let mut d = Direct::install(&e2e::wasm()?)?;
    for seed in 0..16 {
        let tiny = Tiny {
            seed,
            ..e2e::tiny_model::smallest()
        };
        d.upload(&tiny.bytes()?)?;
    }
    let models = d.models()?;
    ensure!(models.free_slots == 0 && models.models.len() == 16);
    let more = File::new(&Tiny::default())?;
    let full: Done = d.update(caller(0), "upload_begin", (manifest(&more, 1_000_000),))?;
    ensure!(matches!(full, Err(Error::OutOfMemory(_))), "{full:?}");
    let name = crate::support::hex(&models.models[9].sha256);
    delete(&mut d, &name, false)??;
    d.upload(&more.bytes)?;
    alias(&mut d, "default", &more.name())??;
    until_means(&mut d, "default", &more.sha256)
}

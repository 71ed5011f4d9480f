//! An upgrade from the stable memory that each layout's program wrote: `tests/data/layout-1.gz` and
//! `tests/data/layout-2.gz` were written by the last programs with those layouts, with
//! [`make_the_fixture`]:
//!
//! ```text
//! gzip of: pages of 64 KiB: u64 | for each 4 KiB that is not zero: its number u64, its bytes
//! ```
//!
//! `tests/data/layout-N.json` has the tokens that its generations had then. (What a version draws further
//! is that version's: its kernels may round otherwise.)

use anyhow::{Context, Result, ensure};
use candid::{CandidType, Principal};
use e2e::harness::{Direct, caller, drawn, greedy};
use e2e::tiny_model::smallest;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use interface::{
    Done, Error, GenerateArgs, GenerationArgs, GenerationState, Input, Options, Outcome, Started,
};
use replica::management::types::InstallMode;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

const PAGE: usize = 4_096;

fn fixture(layout: u32) -> std::path::PathBuf {
    e2e::folder().join(format!("tests/data/layout-{layout}.gz"))
}

fn tokens(layout: u32) -> std::path::PathBuf {
    e2e::folder().join(format!("tests/data/layout-{layout}.json"))
}

/// Writes into stable memory: `put` takes an offset (8 bytes) and bytes, `grow` a size in pages of
/// 64 KiB (8 bytes).
const WRITER: &str = r#"(module
    (import "ic0" "msg_arg_data_size" (func $size (result i32)))
    (import "ic0" "msg_arg_data_copy" (func $copy (param i32 i32 i32)))
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "stable64_grow" (func $grow (param i64) (result i64)))
    (import "ic0" "stable64_write" (func $write (param i64 i64 i64)))
    (memory 40)
    (func (export "canister_update grow")
        (call $copy (i32.const 0) (i32.const 0) (i32.const 8))
        (drop (call $grow (i64.load (i32.const 0))))
        (call $reply))
    (func (export "canister_update put")
        (call $copy (i32.const 0) (i32.const 0) (call $size))
        (call $write (i64.load (i32.const 0)) (i64.const 8)
            (i64.extend_i32_u (i32.sub (call $size) (i32.const 8))))
        (call $reply)))"#;

/// What was asked of the first release: the finished, the cancelled, the running and the waiting one.
fn questions() -> [(u64, Principal, &'static str, Options); 5] {
    [
        (1, caller(1), "One two three", greedy(20)),
        (2, caller(2), "The rain on the other morning", drawn(30, 9)),
        (3, caller(1), "Never to be finished", greedy(500)),
        (4, caller(1), "On and on and on", drawn(200, 4)),
        (5, Principal::anonymous(), "And the last one", greedy(60)),
    ]
}

fn request(question: &str, options: &Options) -> GenerateArgs {
    GenerateArgs {
        input: Input::Prompt(question.into()),
        options: Some(options.clone()),
        ..GenerateArgs::default()
    }
}

/// A canister with the stable memory of the fixture, upgraded to this version.
fn upgraded(layout: u32) -> Result<Direct> {
    let file = std::fs::File::open(fixture(layout))?;
    let mut image = Vec::new();
    GzDecoder::new(file).read_to_end(&mut image)?;
    let (size, pages) = image.split_at_checked(8).context("an empty fixture")?;
    let mut d = Direct::install(&wat::parse_str(WRITER)?)?;
    let send = |d: &mut Direct, method: &str, arg: Vec<u8>| {
        d.raw(caller(0), method, arg)
            .map_err(|e| anyhow::anyhow!("{e:?}"))
    };
    send(&mut d, "grow", size.to_vec())?;
    for page in pages.chunks_exact(8 + PAGE) {
        let number = u64::from_le_bytes(page[..8].try_into()?);
        let mut arg = (number * PAGE as u64).to_le_bytes().to_vec();
        arg.extend(&page[8..]);
        send(&mut d, "put", arg)?;
    }
    d.one_message_a_round();
    d.code(&e2e::wasm()?, InstallMode::upgrade(None))?;
    Ok(d)
}

#[test]
fn the_first_layout_is_brought_to_this_one_and_goes_on() -> Result<()> {
    goes_on(1)
}

#[test]
fn the_second_layout_is_brought_to_this_one_and_goes_on() -> Result<()> {
    goes_on(2)
}

fn goes_on(layout: u32) -> Result<()> {
    let mut d = upgraded(layout)?;
    // Records of the first have to be converted, one after the other; of the second only one.
    let now = if layout == 1 { 1 } else { 3 };
    ensure!(d.status()?.layout == now, "it was converted in one message");
    // What is there can be read before it is done; new work waits for it.
    let before = d.look(caller(1), 1)?;
    ensure!(matches!(before.state, GenerationState::Finished(_)));
    d.until_ready()?;
    let status = d.status()?;
    ensure!(
        status.layout == 3 && status.generations_running == 2,
        "{status:?}"
    );
    ensure!(
        status.config.max_context_tokens == 1_234,
        "settings are kept"
    );
    let cancelled = d.look(caller(1), 3)?;
    ensure!(matches!(
        cancelled.state,
        GenerationState::Failed(Error::Cancelled)
    ));
    ensure!(cancelled.generated_tokens > 0, "what it had is kept");

    // Nothing that was drawn is lost, and what was not ended goes on to its end.
    let had: Vec<Vec<u32>> = serde_json::from_str(&std::fs::read_to_string(tokens(layout))?)?;
    for ((id, who, _, _), had) in questions().into_iter().zip(had) {
        let end = d.finish(who, id)?;
        ensure!(end.token_ids.starts_with(&had), "generation {id}");
        ensure!(had.is_empty() == (id == 5));
        match id {
            1..=3 => ensure!(end.token_ids == had, "generation {id}"),
            _ => ensure!(matches!(end.state, GenerationState::Finished(_)), "{end:?}"),
        }
    }
    // The one that had only waited is what a canister of this version gives.
    let mut fresh = Direct::with_model(&smallest())?;
    let [.., (id, who, question, options)] = questions();
    let started: Outcome<Started> =
        fresh.update(who, "generate", (request(question, &options),))?;
    let expected = fresh.finish(who, started?.id)?;
    let end = d.finish(who, id)?;
    ensure!(end.token_ids == expected.token_ids, "{end:?} {expected:?}");
    // And everything new works on it.
    let chat = d.chat(caller(1), None)?;
    d.answer(caller(1), chat, "Hello", greedy(10))?;
    d.upgrade()?;
    d.until_ready()?;
    d.answer(caller(1), chat, "And now?", greedy(10))?;
    d.delete_chats(caller(1))?;
    let status = d.status()?;
    ensure!(
        (status.cache.blocks_used, status.generations_running) == (0, 0),
        "{status:?}"
    );
    Ok(())
}

/// The parts of the first release's answers that are wanted here.
#[derive(CandidType, Deserialize)]
struct OldGeneration {
    state: GenerationState,
    token_ids: Vec<u32>,
    generated_tokens: u32,
}

#[derive(CandidType, Serialize)]
struct OldPatch {
    round_instructions: Option<u64>,
    max_context_tokens: Option<u32>,
}

fn old_look(d: &mut Direct, who: Principal, id: u64) -> Result<OldGeneration> {
    let request = GenerationArgs {
        id,
        from_byte: 0,
        from_token: 0,
    };
    let look: Outcome<OldGeneration> = d.query(who, "generation", (request,))?;
    Ok(look?)
}

/// Writes the fixture with an old program: `LLM_OLD_WASM=… LLM_OLD_LAYOUT=2 cargo test -- --ignored`.
#[test]
#[ignore = "the fixture is checked in; this is how it was made"]
fn make_the_fixture() -> Result<()> {
    let old = std::env::var_os("LLM_OLD_WASM").context("LLM_OLD_WASM names the old code")?;
    let layout: u32 = std::env::var("LLM_OLD_LAYOUT")?.parse()?;
    let mut d = Direct::install(&std::fs::read(old)?)?;
    // Its status has other fields than today's: wait by the clock.
    let uploaded = d.upload(&smallest().bytes()?);
    ensure!(uploaded.is_err());
    d.rounds(300);
    let set = |d: &mut Direct, budget: u64| -> Result<()> {
        let patch = OldPatch {
            round_instructions: Some(budget),
            max_context_tokens: Some(1_234),
        };
        d.raw(caller(0), "set_config", candid::encode_one(patch)?)
            .map_err(|e| anyhow::anyhow!("{e:?}"))?;
        Ok(())
    };
    for (id, who, question, options) in questions() {
        if id == 3 {
            d.one_message_a_round();
            set(&mut d, 8_000_000)?;
        }
        let started: Outcome<Started> =
            d.update(who, "generate", (request(question, &options),))?;
        ensure!(started?.id == id);
        if id < 3 {
            d.rounds(30);
            let look = old_look(&mut d, who, id)?;
            ensure!(matches!(look.state, GenerationState::Finished(_)));
        }
        if id == 3 {
            while old_look(&mut d, who, id)?.generated_tokens < 5 {
                d.rounds(1);
            }
            let cancelled: Done = d.update(who, "cancel", (id,))?;
            cancelled?;
        }
        if id == 4 {
            while old_look(&mut d, who, id)?.generated_tokens < 3 {
                d.rounds(1);
            }
        }
    }
    for (id, who, _, _) in &questions()[3..] {
        let look = old_look(&mut d, *who, *id)?;
        ensure!(!look.state.is_over(), "{id}: {:?}", look.state);
    }
    let mut had = Vec::new();
    for (id, who, _, _) in questions() {
        had.push(old_look(&mut d, who, id)?.token_ids);
    }
    std::fs::write(tokens(layout), serde_json::to_string(&had)?)?;
    let canister = d.replica.canister(&d.canister).context("no canister")?;
    let pages = canister.stable_pages();
    let mut image = pages.to_le_bytes().to_vec();
    let mut page = vec![0; PAGE];
    for number in 0..pages * 65_536 / PAGE as u64 {
        canister.stable.read(number * PAGE as u64, &mut page);
        if page.iter().any(|b| *b != 0) {
            image.extend(number.to_le_bytes());
            image.extend(&page);
        }
    }
    let file = std::fs::File::create(fixture(layout))?;
    let mut gzip = GzEncoder::new(file, Compression::best());
    gzip.write_all(&image)?;
    gzip.finish()?;
    Ok(())
}

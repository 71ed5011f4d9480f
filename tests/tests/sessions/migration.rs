//! A canister with the stable memory that an earlier program wrote: `tests/data/layout-1.gz`, the image
//! of a small populated canister, goes on under today's program as it was left. The test
//! [`write_the_image`] wrote it:
//!
//! ```text
//! gzip of: pages of 64 KiB: u64 | for each 4 KiB that is not zero: its number u64, its bytes
//! ```
//!
//! `tests/data/layout-1.json` has the tokens that its generations had then. (What a version generates
//! after that may differ: its kernels may round otherwise.) A change of a stored type keeps this image
//! and adds another; see CONTRIBUTING.md.

use anyhow::{Context, Result, ensure};
use candid::Principal;
use e2e::harness::{Direct, caller, drawn, greedy};
use e2e::tiny_model::smallest;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use interface::{
    AliasSetArgs, ChatHistory, ChatHistoryArgs, ConfigPatch, Done, Error, GenerateArgs,
    GenerationState, Input, Options, Outcome, Started,
};
use replica::management::types::InstallMode;
use std::io::{Read, Write};

const PAGE: usize = 4_096;

/// The layout that today's program writes.
const LAYOUT: u32 = 1;

fn image_file(layout: u32) -> std::path::PathBuf {
    e2e::folder().join(format!("tests/data/layout-{layout}.gz"))
}

fn tokens_file(layout: u32) -> std::path::PathBuf {
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

/// The generations of the image: two finished, one cancelled, one running, one waiting.
/// (Number 3 is the chat's answer.)
fn questions() -> [(u64, Principal, &'static str, Options); 5] {
    [
        (1, caller(1), "One two three", greedy(20)),
        (2, caller(2), "The rain on the other morning", drawn(30, 9)),
        (4, caller(1), "Never to be finished", greedy(500)),
        (5, caller(1), "On and on and on", drawn(200, 4)),
        (6, Principal::anonymous(), "And the last one", greedy(60)),
    ]
}

fn request(question: &str, options: &Options) -> GenerateArgs {
    GenerateArgs {
        input: Input::Prompt(question.into()),
        options: Some(options.clone()),
        ..GenerateArgs::default()
    }
}

/// Returns a canister with the stable memory of an image, upgraded to today's program.
fn upgraded(layout: u32) -> Result<Direct> {
    let file = std::fs::File::open(image_file(layout))?;
    let mut image = Vec::new();
    GzDecoder::new(file).read_to_end(&mut image)?;
    let (size, pages) = image.split_at_checked(8).context("an empty image")?;
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
fn the_image_of_layout_1_goes_on_as_it_was_left() -> Result<()> {
    let mut d = upgraded(1)?;
    // What is finished can be read at once.
    let before = d.look(caller(1), 1)?;
    ensure!(matches!(before.state, GenerationState::Finished(_)));
    d.until_ready()?;
    let status = d.status()?;
    ensure!(
        status.layout == LAYOUT && status.generations_running == 2,
        "{status:?}"
    );
    ensure!(
        status.config.max_context_tokens == 1_234,
        "settings are kept"
    );
    let models = d.models()?;
    ensure!(models.aliases.iter().any(|a| a.alias == "story"));
    let cancelled = d.look(caller(1), 4)?;
    ensure!(matches!(
        cancelled.state,
        GenerationState::Failed(Error::Cancelled)
    ));
    ensure!(cancelled.generated_tokens > 0, "its tokens are kept");
    let chat = read_chat(&mut d)?;
    let texts: Vec<&str> = chat.turns.iter().map(|t| t.content.as_str()).collect();
    ensure!(
        texts.len() == 3 && texts[..2] == ["Be brief.", "Who are you?"],
        "{texts:?}"
    );

    // No token is lost, and what had not ended goes on to its end.
    let had: Vec<Vec<u32>> = serde_json::from_str(&std::fs::read_to_string(tokens_file(1))?)?;
    for ((id, who, _, _), had) in questions().into_iter().zip(had) {
        let end = d.finish(who, id)?;
        ensure!(end.token_ids.starts_with(&had), "generation {id}");
        ensure!(had.is_empty() == (id == 6));
        match id {
            1..=4 => ensure!(end.token_ids == had, "generation {id}"),
            _ => ensure!(matches!(end.state, GenerationState::Finished(_)), "{end:?}"),
        }
    }
    // The one that had only waited gets the tokens that a new canister of today's program computes.
    let mut fresh = Direct::with_model(&smallest())?;
    let [.., (id, who, question, options)] = questions();
    let started: Outcome<Started> =
        fresh.update(who, "generate", (request(question, &options),))?;
    let expected = fresh.finish(who, started?.id)?;
    let end = d.finish(who, id)?;
    ensure!(end.token_ids == expected.token_ids, "{end:?} {expected:?}");
    // The chat goes on, and a new one works.
    d.answer(caller(7), CHAT, "And now?", greedy(10))?;
    let new = d.chat(caller(1), None)?;
    d.answer(caller(1), new, "Hello", greedy(10))?;
    d.upgrade()?;
    d.until_ready()?;
    d.answer(caller(1), new, "And now?", greedy(10))?;
    for who in [caller(1), caller(7)] {
        d.delete_chats(who)?;
    }
    let status = d.status()?;
    ensure!(
        (status.cache.blocks_used, status.generations_running) == (0, 0),
        "{status:?}"
    );
    Ok(())
}

/// Returns the chat of the image.
fn read_chat(d: &mut Direct) -> Result<ChatHistory> {
    let request = ChatHistoryArgs {
        chat: CHAT,
        from: 0,
        limit: 100,
    };
    let chat: Outcome<ChatHistory> = d.query(caller(7), "chat_history", (request,))?;
    Ok(chat?)
}

/// The number of the image's chat.
const CHAT: u64 = 1;

/// Writes the image with today's program. Do this once for each layout, with its first release.
#[test]
#[ignore = "the image is checked in; this is how it was made"]
fn write_the_image() -> Result<()> {
    let mut d = Direct::with_model(&smallest())?;
    for (id, who, question, options) in questions() {
        if id == 4 {
            let chat = d.chat(caller(7), Some("Be brief."))?;
            ensure!(chat == CHAT);
            d.answer(caller(7), chat, "Who are you?", greedy(12))?;
            let story = AliasSetArgs {
                alias: "story".into(),
                model: "default".into(),
            };
            let done: Done = d.update(caller(0), "alias_set", (story,))?;
            done?;
            d.one_message_a_round();
            d.config(ConfigPatch {
                round_instructions: Some(8_000_000),
                max_context_tokens: Some(1_234),
                ..ConfigPatch::default()
            })?;
        }
        let started: Outcome<Started> =
            d.update(who, "generate", (request(question, &options),))?;
        ensure!(started?.id == id);
        match id {
            1 | 2 => {
                d.finish(who, id)?;
            }
            4 => {
                while d.look(who, id)?.generated_tokens < 5 {
                    d.rounds(1);
                }
                let cancelled: Done = d.update(who, "cancel", (id,))?;
                cancelled?;
            }
            5 => {
                while d.look(who, id)?.generated_tokens < 3 {
                    d.rounds(1);
                }
            }
            _ => {}
        }
    }
    let mut had = Vec::new();
    for (id, who, _, _) in questions() {
        let look = d.look(who, id)?;
        ensure!(look.state.is_over() == (id < 5), "{id}: {:?}", look.state);
        had.push(look.token_ids);
    }
    std::fs::write(tokens_file(LAYOUT), serde_json::to_string(&had)?)?;
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
    let file = std::fs::File::create(image_file(LAYOUT))?;
    let mut gzip = GzEncoder::new(file, Compression::best());
    gzip.write_all(&image)?;
    gzip.finish()?;
    Ok(())
}

//! What `upload --dry-run` says of the real models is what the canister then shows.

use anyhow::{Context, Result, ensure};
use e2e::harness::{Direct, caller, greedy};
use interface::{GenerateArgs, Input, Outcome, Started};
use loader::model_file::ModelFile;
use loader::plan::{POSITION, Plan};
use std::path::PathBuf;

fn within(what: &str, estimated: u64, measured: u64) -> Result<()> {
    let off = estimated as f64 / measured as f64 - 1.0;
    println!(
        "{what}: estimated {estimated}, measured {measured} ({:+.1} %)",
        100.0 * off
    );
    ensure!(off.abs() <= 0.10, "{what}: {estimated} against {measured}");
    Ok(())
}

/// Instructions of the prompt and of each generated token.
fn measure(d: &mut Direct, prompt: &str, tokens: u32) -> Result<(u64, u64, u32)> {
    let request = GenerateArgs {
        input: Input::Prompt(prompt.into()),
        options: Some(greedy(tokens)),
        ..GenerateArgs::default()
    };
    let started: Outcome<Started> = d.update(caller(0), "generate", (request,))?;
    let end = d.finish(caller(0), started?.id)?;
    let prompt = end.prompt_instructions / u64::from(end.prompt_tokens.max(1));
    let token = end.generate_instructions / u64::from(end.generated_tokens.max(1));
    Ok((prompt, token, end.prompt_tokens))
}

fn check(file: PathBuf) -> Result<()> {
    let plan = Plan::of(&ModelFile::open(std::slice::from_ref(&file))?)?;
    println!("{}", plan.table());
    let mut d = Direct::install(&e2e::wasm()?)?;
    let before = d.instructions();
    d.upload(&std::fs::read(&file)?)?;
    within(
        "load instructions",
        plan.load_instructions,
        d.instructions() - before,
    )?;
    let status = d.status()?;
    within("heap bytes", plan.heap_bytes, status.heap_bytes)?;
    let entry = d.models()?.models.pop().context("no model")?;
    within("stable bytes", plan.stable_bytes, entry.stable_bytes)?;
    let info = entry.status.info.context("no info")?;
    ensure!(info.parameters == plan.parameters && info.packed_bytes == plan.packed_bytes);
    within(
        "KV bytes a token",
        plan.kv_bytes_per_token,
        info.block_bytes / 64,
    )?;

    // Tokens around the position that the plan is about; a prompt as long from its start.
    let text = "one two three four five six seven eight nine ten ".repeat(12);
    let (prompt, token, length) = measure(&mut d, &text, 16)?;
    println!("a prompt of {length} tokens");
    ensure!((length as usize).abs_diff(POSITION) < 40, "{length}");
    within(
        "a prompt's token",
        plan.instructions_per_prompt_token,
        prompt,
    )?;
    within(
        "a generated token",
        plan.instructions_per_generated_token,
        token,
    )?;
    let before = d.instructions();
    d.upgrade()?;
    d.until_ready()?;
    within(
        "restore instructions",
        plan.restore_instructions,
        d.instructions() - before,
    )
}

#[test]
fn a_dry_run_of_smollm2_is_right() -> Result<()> {
    check(e2e::model()?)
}

#[test]
fn a_dry_run_of_gemma3_is_right() -> Result<()> {
    check(e2e::gemma()?)
}

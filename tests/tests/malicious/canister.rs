//! Every crafted file, uploaded to the canister: the model fails with a typed error after few
//! instructions, nothing traps, and the canister takes a good model afterwards.

use anyhow::{Result, ensure};
use e2e::harness::{Direct, caller, greedy};
use e2e::malicious::{Crafted, corpus, templates};
use e2e::tiny_model::smallest;
use interface::{
    Done, Error, GenerateArgs, GenerationState, Input, Message, ModelDeleteArgs, Outcome, Phase,
    Started,
};

/// Instructions of everything from the first chunk to the refusal: a fiftieth of what one message
/// may use.
const MOST: u64 = 800_000_000;

fn generate(d: &mut Direct, input: Input) -> Result<Outcome<Started>> {
    let options = Some(greedy(4));
    let request = GenerateArgs {
        input,
        options,
        ..GenerateArgs::default()
    };
    d.update(caller(0), "generate", (request,))
}

/// A round that traps would end with another error, and a call that traps with a reject.
fn refused(d: &mut Direct, file: &Crafted) -> Result<()> {
    let name = file.name;
    let before = d.instructions();
    let failed = d.upload(&file.bytes).is_err();
    ensure!(failed, "{name}: it was taken");
    let used = d.instructions() - before;
    let model = d.status()?.model;
    let error = match (model.phase, &model.error) {
        (Phase::Failed, Some(e)) => e,
        // Of a file without bytes there is nothing to upload.
        (Phase::Empty, None) if file.bytes.is_empty() => return Ok(()),
        other => anyhow::bail!("{name}: {other:?}"),
    };
    let typed = matches!(
        error,
        Error::InvalidModel(_) | Error::UnsupportedModel(_) | Error::OutOfMemory(_)
    );
    ensure!(typed, "{name}: {error:?}");
    ensure!(used < MOST, "{name}: {used} instructions");
    println!("{name}: {used}");
    Ok(())
}

#[test]
fn every_crafted_file_fails_and_the_canister_goes_on() -> Result<()> {
    let mut d = Direct::install(&e2e::wasm()?)?;
    for file in corpus()? {
        refused(&mut d, &file)?;
        let gone: Done = d.update(caller(0), "upload_abort", ())?;
        ensure!(gone.is_ok(), "{}: {gone:?}", file.name);
    }
    d.upload(&smallest().bytes()?)?;
    let id = generate(&mut d, Input::Prompt("On and on".into()))??.id;
    let end = d.finish(caller(0), id)?;
    ensure!(end.generated_tokens == 4, "{:?}", end.state);
    Ok(())
}

#[test]
fn a_template_that_does_harm_ends_no_more_than_its_chat() -> Result<()> {
    let mut d = Direct::install(&e2e::wasm()?)?;
    for file in templates()? {
        let name = file.name;
        d.upload(&file.bytes)?;
        let before = d.instructions();
        let message = Message {
            role: "user".into(),
            content: "Hello".into(),
        };
        let refused = generate(&mut d, Input::Chat(vec![message]))?;
        let used = d.instructions() - before;
        ensure!(
            matches!(refused, Err(Error::InvalidArgument(_))),
            "{name}: {refused:?}"
        );
        println!("{name}: {used}");
        // Well below the 40 billion of a message.
        ensure!(used < 10_000_000_000, "{name}: {used} instructions");
        let id = generate(&mut d, Input::Prompt("On".into()))??.id;
        let end = d.finish(caller(0), id)?;
        ensure!(
            matches!(end.state, GenerationState::Finished(_)),
            "{name}: {:?}",
            end.state
        );
        // The next file is then the only one, and the one that answers.
        let models = d.models()?.models;
        ensure!(models.len() == 1, "{name}: {} models", models.len());
        let model: String = models[0]
            .sha256
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let force = true;
        let gone: Done = d.update(
            caller(0),
            "model_delete",
            (ModelDeleteArgs { model, force },),
        )?;
        ensure!(gone.is_ok(), "{name}: {gone:?}");
    }
    Ok(())
}

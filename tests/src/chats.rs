//! Short forms for asking the canister in tests.

use anyhow::{Context, Result};
use interface::{Config, ConfigPatch, Generation, Input, Options, Phase};
use loader::generate::follow;
use loader::{Client, Error};
use std::time::Duration;

/// Greedy decoding of `max_tokens`.
pub fn greedy(max_tokens: u32) -> Option<Options> {
    Some(Options {
        max_tokens: Some(max_tokens),
        ..Options::default()
    })
}

/// A plain prompt.
pub fn prompt(text: &str) -> Input {
    Input::Prompt(text.into())
}

/// A chat of one user message.
pub fn chat(text: &str) -> Input {
    Input::Chat(vec![interface::Message {
        role: "user".into(),
        content: text.into(),
    }])
}

/// Generates to the end.
pub async fn ask(client: &Client, input: Input, options: Option<Options>) -> Result<Generation> {
    let started = client.generate(input, options).await?;
    Ok(follow(client, started.id, |_| ()).await?)
}

/// Sets the budget of a round.
pub async fn set_budget(client: &Client, round_instructions: u64) -> Result<Config> {
    let patch = ConfigPatch {
        round_instructions: Some(round_instructions),
        ..ConfigPatch::default()
    };
    Ok(client.set_config(patch).await?)
}

/// Waits until the model is ready (or has failed for good).
pub async fn until_ready(client: &Client) -> Result<()> {
    loop {
        let model = client.status().await?.model;
        match model.phase {
            Phase::Ready => return Ok(()),
            Phase::Failed => anyhow::bail!("the model failed: {:?}", model.error),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Waits until `when` says so of a generation, looking often; gives what it saw.
pub async fn until(
    client: &Client,
    id: u64,
    when: impl Fn(&Generation) -> bool,
) -> Result<Generation> {
    for _ in 0..20_000 {
        let look = client.generation(id, 0, 0).await?;
        if when(&look) {
            return Ok(look);
        }
        anyhow::ensure!(!look.state.is_over(), "it ended before: {:?}", look.state);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    anyhow::bail!("generation {id} did not get there")
}

/// The canister's own error of a refused call.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Result<interface::Error> {
    match result {
        Err(Error::Canister(e)) => Ok(e),
        other => {
            let text = format!("{other:?}");
            Err(anyhow::anyhow!("not an error of the canister: {text}"))
                .context("a typed error was due")
        }
    }
}

//! What each command does.

use crate::arguments::{Access, Arguments, Command, Config, Global, Install, Prompt};
use crate::display;
use crate::verify::verify;
use crate::{chat, library};
use anyhow::{Context, Result};
use ic_agent::Identity;
use ic_agent::identity::AnonymousIdentity;
use interface::{ConfigPatch, GenerateArgs, Input, Message};
use loader::{Client, Network, identity, management, network, remembered};
use serde::de::IgnoredAny;
use serde_json::json;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs the command. Returns the exit code of the program.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { global, command } = arguments;
    let identity = identity(&global)?;
    if let Command::Principal = command {
        principal(global.json, identity.as_ref())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Upload(arguments) = &command
        && arguments.dry_run
    {
        library::dry_run(global.json, arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let named = global.canister()?;
    let remembered = match named {
        Some(_) => None,
        None => remembered::canister(&network::url(&global.network())?),
    };
    if matches!(command, Command::Models) && named.or(remembered).is_none() {
        library::list(None, global.json).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let network = Network::connect(&global.network(), identity).await?;
    if let Command::Install(arguments) = command {
        install(&network, &global, arguments).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let json = global.json;
    let canister = named.or(remembered).with_context(|| {
        format!(
            "no canister is named, and none is remembered for {}: name one with --canister ID or \
             LLM_CANISTER, or install one with `loader install`",
            network.url
        )
    })?;
    if remembered.is_some() && !json {
        eprintln!(
            "using the canister {canister}, which was installed on {}",
            network.url
        );
    }
    let client = Client::new(network, canister);
    let outcome = run_on(&client, json, command).await;
    let missing = |error: &anyhow::Error| {
        let error = error.downcast_ref::<loader::Error>();
        error.is_some_and(loader::Error::is_missing_canister)
    };
    match outcome {
        Err(error) if remembered.is_some() && missing(&error) => Err(anyhow::anyhow!(
            "the canister {canister}, which was installed on {} before, is not there any more: install \
             one with `loader install`, or name another with --canister ID",
            client.network().url
        )),
        outcome => outcome,
    }
}

/// Runs a command that calls a canister.
async fn run_on(client: &Client, json: bool, command: Command) -> Result<ExitCode> {
    match command {
        Command::Upload(arguments) => library::send(client, json, arguments).await?,
        Command::Models => library::list(Some(client), json).await?,
        Command::Use(arguments) => library::take_into_use(client, json, arguments).await?,
        Command::Rollback(arguments) => library::roll_back(client, json, arguments).await?,
        Command::Delete(arguments) => library::delete(client, json, arguments).await?,
        Command::Status => status(client, json).await?,
        Command::Prompt(arguments) => prompt(client, json, arguments).await?,
        Command::Chat(arguments) => chat::converse(client, json, &arguments.sampling).await?,
        Command::Config(arguments) => configure(client, json, arguments).await?,
        Command::Verify(arguments) => return verify(client, json, &arguments).await,
        Command::Cancel { id } => {
            client.cancel(id).await?;
            display::result(json, &json!({ "cancelled": id }), || {
                format!("generation {id} is cancelled")
            })?;
        }
        Command::Abort => {
            client.upload_abort().await?;
            display::result(json, &json!({ "aborted": true }), || {
                "the upload is dropped".into()
            })?;
        }
        Command::Install(_) | Command::Principal => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn principal(json: bool, identity: &dyn Identity) -> Result<()> {
    let principal = identity.sender().map_err(anyhow::Error::msg)?.to_text();
    display::result(json, &json!({ "principal": principal }), || {
        principal.clone()
    })
}

/// Returns the key to sign with: the one that is named; else one that is kept, for a local replica; else
/// none.
fn identity(global: &Global) -> Result<Arc<dyn Identity>> {
    Ok(match &global.identity() {
        Some(path) => identity::read(path)?,
        None if network::is_local(&global.network())? => {
            identity::read_or_create(&identity::default_path()?)?
        }
        None => Arc::new(AnonymousIdentity),
    })
}

async fn install(network: &Network, global: &Global, arguments: Install) -> Result<()> {
    let path = &arguments.wasm;
    let wasm = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let canister = match global.canister()? {
        Some(canister) => canister,
        None => management::create_canister(network, arguments.cycles).await?,
    };
    let stop = arguments.stop && management::module_hash(network, canister).await?.is_some();
    if stop {
        management::stop(network, canister).await?;
    }
    let installed = management::install(network, canister, &wasm, arguments.mode.into()).await;
    if stop {
        // Also if the installation failed: the old code goes on.
        management::start(network, canister).await?;
    }
    let mode = match installed? {
        management::CanisterInstallMode::Install => "install",
        management::CanisterInstallMode::Reinstall => "reinstall",
        management::CanisterInstallMode::Upgrade(_) => "upgrade",
    };
    let hash = management::module_hash(network, canister)
        .await?
        .map(hex::encode);
    let report = json!({ "canister": canister.to_text(), "mode": mode, "module_hash": hash });
    display::result(global.json, &report, || canister.to_text())?;
    // Programs name the canister that they have installed.
    if !global.json {
        match remembered::remember(&network.url, canister) {
            Ok(()) => eprintln!(
                "remembered for {}: commands without --canister call this canister",
                network.url
            ),
            Err(error) => eprintln!("the canister is not remembered: {error}"),
        }
    }
    Ok(())
}

async fn status(client: &Client, json: bool) -> Result<()> {
    let status = client.status().await?;
    display::result(json, &display::status_json(client, &status), || {
        display::status_text(&status)
    })
}

/// Returns the functions in a file: one JSON object, or several, with or without brackets around them. Their
/// text stays as it is, because models read it.
fn tools(file: &Path) -> Result<Vec<String>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = text.trim();
    let list = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let mut rest = list.unwrap_or(text).trim();
    let mut tools = Vec::new();
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        let value = values.next().transpose();
        value.with_context(|| format!("{}: expected JSON", file.display()))?;
        let (tool, after) = rest.split_at(values.byte_offset());
        tools.push(tool.trim().to_string());
        let after = after.trim_start();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
    }
    Ok(tools)
}

async fn prompt(client: &Client, json: bool, arguments: Prompt) -> Result<()> {
    let text = match arguments.text.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read standard input")?;
            text
        }
        text => text.to_string(),
    };
    let input = if arguments.raw {
        Input::Prompt(text)
    } else {
        let mut messages = chat::opening(&arguments.sampling);
        messages.push(Message {
            role: "user".into(),
            content: text,
        });
        Input::Chat(messages)
    };
    let request = GenerateArgs {
        input,
        options: Some(arguments.sampling.options()),
        model: arguments.sampling.model.clone(),
        tools: arguments.tools.as_deref().map(tools).transpose()?,
    };
    let report = chat::answer(client, request, json).await?;
    display::result(json, &serde_json::to_value(&report)?, || {
        format!("\n{}", report.table().trim_end())
    })
}

async fn configure(client: &Client, json: bool, arguments: Config) -> Result<()> {
    let patch = ConfigPatch {
        round_instructions: arguments.round_instructions,
        max_context_tokens: arguments.max_context_tokens,
        max_generations: arguments.max_generations,
        max_output_tokens: arguments.max_output_tokens,
        access: arguments.access.map(|access| match access {
            Access::Controllers => interface::Access::Controllers,
            Access::AllowList => interface::Access::AllowList,
            Access::SignedIn => interface::Access::SignedIn,
            Access::Anyone => interface::Access::Anyone,
        }),
        tokens_per_day: arguments.tokens_per_day,
        tokens_in_flight: arguments.tokens_in_flight,
        generations_per_caller: arguments.generations_per_caller,
        chats_per_caller: arguments.chats_per_caller,
        controller_weight: arguments.controller_weight,
        max_kv_bytes: arguments.max_kv_bytes,
        max_stable_bytes: arguments.max_stable_bytes,
        min_cycles: arguments.min_cycles,
        cycles_per_million_tokens: arguments.cycles_per_million_tokens,
    };
    let config = if patch == ConfigPatch::default() {
        client.status().await?.config
    } else {
        client.set_config(patch).await?
    };
    display::result(json, &display::config_json(&config), || {
        display::config_text(&config)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_keep_their_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tools.json");
        let (one, two) = (r#"{"b": [1, 2], "a": {}}"#, r#"{"name": "x"}"#);
        for text in [
            format!("[{one}, {two}]\n"),
            format!("{one}\n{two}"),
            format!("[ {one} , {two} ]"),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(tools(&file).unwrap(), [one, two]);
        }
        std::fs::write(&file, one).unwrap();
        assert_eq!(tools(&file).unwrap(), [one]);
        std::fs::write(&file, "[{]").unwrap();
        assert!(tools(&file).is_err());
    }
}

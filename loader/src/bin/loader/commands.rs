//! What each command does.

use crate::arguments::{Access, Arguments, Command, Config, Global, Install, Prompt};
use crate::display;
use crate::verify::verify;
use crate::{chat, library};
use anyhow::{Context, Result};
use ic_agent::Identity;
use ic_agent::identity::AnonymousIdentity;
use interface::{ConfigPatch, GenerateArgs, Input, Message};
use loader::{Client, Network, identity, management, network};
use serde::de::IgnoredAny;
use serde_json::json;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs the command; gives the program's exit code.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
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
    if matches!(command, Command::Models) && global.canister.is_none() {
        library::list(None, global.json).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let network = Network::connect(&global.network, identity).await?;
    if let Command::Install(arguments) = command {
        install(&network, &global, arguments).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let canister = global
        .canister
        .context("which canister? Name it with --canister ID (or LLM_CANISTER)")?;
    let client = Client::new(network, canister);
    let json = global.json;
    match command {
        Command::Upload(arguments) => library::send(&client, json, arguments).await?,
        Command::Models => library::list(Some(&client), json).await?,
        Command::Use(arguments) => library::take_into_use(&client, json, arguments).await?,
        Command::Rollback(arguments) => library::roll_back(&client, json, arguments).await?,
        Command::Delete(arguments) => library::delete(&client, json, arguments).await?,
        Command::Status => status(&client, json).await?,
        Command::Prompt(arguments) => prompt(&client, json, arguments).await?,
        Command::Chat(arguments) => chat::converse(&client, json, &arguments.sampling).await?,
        Command::Config(arguments) => configure(&client, json, arguments).await?,
        Command::Verify(arguments) => return verify(&client, json, &arguments).await,
        Command::Cancel { id } => {
            client.cancel(id).await?;
            display::result(json, &json!({ "cancelled": id }), || {
                format!("cancelled {id}")
            })?;
        }
        Command::Abort => {
            client.upload_abort().await?;
            display::result(json, &json!({ "aborted": true }), || "dropped".into())?;
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

/// The key to sign with: the one named; else on a local replica one that is kept; else none.
fn identity(global: &Global) -> Result<Arc<dyn Identity>> {
    Ok(match &global.identity {
        Some(path) => identity::read(path)?,
        None if network::is_local(&global.network)? => {
            identity::read_or_create(&identity::default_path()?)?
        }
        None => Arc::new(AnonymousIdentity),
    })
}

async fn install(network: &Network, global: &Global, arguments: Install) -> Result<()> {
    let path = &arguments.wasm;
    let wasm = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let canister = match global.canister {
        Some(canister) => canister,
        None => management::create_canister(network, arguments.cycles).await?,
    };
    let stop = arguments.stop && management::module_hash(network, canister).await?.is_some();
    if stop {
        management::stop(network, canister).await?;
    }
    let installed = management::install(network, canister, &wasm, arguments.mode.into()).await;
    if stop {
        // Also after an install that failed: the old code goes on.
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
    display::result(global.json, &report, || canister.to_text())
}

async fn status(client: &Client, json: bool) -> Result<()> {
    let status = client.status().await?;
    display::result(json, &display::status_json(client, &status), || {
        display::status_text(&status)
    })
}

/// The functions of a file: one JSON object, or several, with or without brackets around them. Their
/// text stays as it is, for models read it.
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
        value.with_context(|| format!("{} is not JSON", file.display()))?;
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
        min_cycles: arguments.min_cycles.map(Into::into),
        cycles_per_million_tokens: arguments.cycles_per_million_tokens.map(Into::into),
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

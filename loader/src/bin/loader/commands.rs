//! What each command does.

use crate::arguments::{Arguments, Command, Config, Global, Install, Prompt, Upload, Verify};
use crate::chat;
use crate::display::{self, UploadBars};
use anyhow::{Context, Result, bail};
use ic_agent::Identity;
use ic_agent::identity::AnonymousIdentity;
use loader::types::{ConfigPatch, Input, Message, Phase};
use loader::upload::{UploadOptions, upload};
use loader::{Client, Network, identity, management, network};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { global, command } = arguments;
    let identity = identity(&global)?;
    if let Command::Principal = command {
        let principal = identity.sender().map_err(anyhow::Error::msg)?;
        return display::result(
            global.json,
            &json!({ "principal": principal.to_text() }),
            || principal.to_text(),
        );
    }
    let network = Network::connect(&global.network, identity).await?;
    if let Command::Install(arguments) = command {
        return install(&network, &global, arguments).await;
    }
    let canister = global
        .canister
        .context("which canister? Name it with --canister ID (or LLM_CANISTER)")?;
    let client = Client::new(network, canister);
    match command {
        Command::Upload(arguments) => send(&client, global.json, arguments).await,
        Command::Status => status(&client, global.json).await,
        Command::Prompt(arguments) => prompt(&client, global.json, arguments).await,
        Command::Chat(arguments) => chat::converse(&client, global.json, &arguments.sampling).await,
        Command::Config(arguments) => configure(&client, global.json, arguments).await,
        Command::Verify(arguments) => verify(&client, global.json, arguments).await,
        Command::Cancel { id } => {
            client.cancel(id).await?;
            display::result(global.json, &json!({ "cancelled": id }), || {
                format!("cancelled {id}")
            })
        }
        Command::Abort => {
            client.upload_abort().await?;
            display::result(global.json, &json!({ "aborted": true }), || {
                "dropped".into()
            })
        }
        Command::Install(_) | Command::Principal => Ok(()),
    }
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

async fn send(client: &Client, json: bool, arguments: Upload) -> Result<()> {
    let options = UploadOptions {
        chunk_size: arguments.chunk_size,
        parallel: arguments.parallel,
        replace: arguments.replace,
    };
    let mut bars = UploadBars::new(json);
    let model = upload(client, &arguments.file, &options, |event| bars.show(&event)).await?;
    bars.finish();
    display::result(json, &display::model_json(&model), || {
        display::model_line(&model)
    })
}

async fn status(client: &Client, json: bool) -> Result<()> {
    let status = client.status().await?;
    display::result(json, &display::status_json(client, &status), || {
        display::status_text(&status)
    })
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
    let report = chat::answer(client, input, arguments.sampling.options(), json).await?;
    display::result(json, &serde_json::to_value(&report)?, || {
        format!("\n{}", report.table().trim_end())
    })
}

async fn configure(client: &Client, json: bool, arguments: Config) -> Result<()> {
    let patch = ConfigPatch {
        round_instructions: arguments.round_instructions,
        max_context_tokens: arguments.max_context_tokens,
        max_generations: arguments.max_generations,
    };
    let config = if patch == ConfigPatch::default() {
        client.status().await?.config
    } else {
        client.set_config(patch).await?
    };
    display::result(json, &serde_json::to_value(config)?, || {
        display::config_text(&config)
    })
}

async fn verify(client: &Client, json: bool, arguments: Verify) -> Result<()> {
    let mut report = serde_json::Map::new();
    let mut lines = Vec::new();
    let mut same = true;
    let mut compare = |what: &str, file: &Path, there: Option<String>| -> Result<()> {
        let here = sha256(file)?;
        let there = there.unwrap_or_else(|| "nothing".into());
        let verdict = if here == there {
            "the same"
        } else {
            "DIFFERENT"
        };
        lines.push(format!("{what}: {verdict} (here {here}, there {there})"));
        report.insert(
            what.into(),
            json!({ "same": here == there, "here": here, "there": there }),
        );
        same &= here == there;
        Ok(())
    };
    if let Some(file) = &arguments.wasm {
        let hash = management::module_hash(client.network(), client.canister()).await?;
        compare("code", file, hash.map(hex::encode))?;
    }
    if let Some(file) = &arguments.model {
        let model = client.status_certified().await?.model;
        // Before the canister has verified the file itself, the hash is only what was announced.
        let verified = matches!(
            model.phase,
            Phase::Preparing | Phase::Restoring | Phase::Ready
        );
        let stored = model.manifest.filter(|_| verified);
        compare(
            "model",
            file,
            stored.map(|stored| hex::encode(stored.sha256)),
        )?;
    }
    display::result(json, &report.into(), || lines.join("\n"))?;
    if !same {
        bail!("the canister is not what it should be");
    }
    Ok(())
}

/// SHA-256 of a file, hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let file = File::open(path).and_then(|mut file| {
        let mut hash = Sha256::new();
        std::io::copy(&mut file, &mut hash)?;
        Ok(hex::encode(hash.finalize()))
    });
    file.with_context(|| format!("cannot read {}", path.display()))
}

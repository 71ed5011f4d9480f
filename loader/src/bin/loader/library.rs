//! The commands about the models of a canister.

use crate::arguments::{Delete, Rollback, Upload, Use};
use crate::display::{self, UploadBars};
use anyhow::Result;
use interface::Models;
use interface::limits::DEFAULT_ALIAS;
use loader::Client;
use loader::model_file::{KNOWN, ModelFile, cache};
use loader::plan::Plan;
use loader::report::grouped;
use loader::upload::{Progress, UploadOptions, set_alias, settled, upload_model};
use serde_json::json;

/// Shows what an upload would need and cost.
pub(crate) fn dry_run(json: bool, arguments: &Upload) -> Result<()> {
    let plan = Plan::of(&ModelFile::open(&arguments.model)?)?;
    display::result(json, &serde_json::to_value(&plan)?, || plan.table())
}

/// Uploads a model.
pub(crate) async fn send(client: &Client, json: bool, arguments: Upload) -> Result<()> {
    let model = ModelFile::open(&arguments.model)?;
    let options = UploadOptions {
        chunk_size: arguments.chunk_size,
        parallel: arguments.parallel,
        replace: arguments.replace,
        alias: arguments
            .alias
            .or_else(|| arguments.r#use.then(|| DEFAULT_ALIAS.into())),
        ..UploadOptions::default()
    };
    let mut bars = UploadBars::new(json);
    let status = upload_model(client, model, &options, |event| bars.show(&event)).await?;
    bars.finish();
    display::result(json, &display::model_json(&status), || {
        display::model_line(&status)
    })
}

/// Lists the models in the canister, and those that are known by name.
pub(crate) async fn list(client: Option<&Client>, json: bool) -> Result<()> {
    let models = match client {
        Some(client) => Some(client.models().await?),
        None => None,
    };
    let folder = cache();
    let here = |file: &str| {
        folder
            .as_ref()
            .is_some_and(|folder| folder.join(file).exists())
    };
    let known: Vec<_> = KNOWN
        .iter()
        .map(|k| {
            json!({ "name": k.name, "file": k.file, "sha256": k.sha256, "bytes": k.bytes,
                "about": k.about, "here": here(k.file) })
        })
        .collect();
    let report = json!({ "known": known, "canister": models.as_ref().map(models_json) });
    display::result(json, &report, || {
        let mut lines = Vec::new();
        if let Some(models) = &models {
            lines.push(models_text(models));
            lines.push(String::new());
        }
        lines.push("models known by name (loader upload NAME):".into());
        for k in KNOWN {
            let here = if here(k.file) {
                "here"
            } else {
                "not here: run scripts/fetch-model"
            };
            lines.push(format!(
                "  {:14} {:>13} bytes  {}…  {} ({here})",
                k.name,
                grouped(k.bytes),
                &k.sha256[..12],
                k.about
            ));
        }
        lines.join("\n")
    })
}

/// Points an alias at a model and waits until it is ready.
pub(crate) async fn take_into_use(client: &Client, json: bool, arguments: Use) -> Result<()> {
    set_alias(client, &arguments.alias, &arguments.model).await?;
    follow(client, json, &arguments.alias).await
}

/// Points an alias at the model that it meant before.
pub(crate) async fn roll_back(client: &Client, json: bool, arguments: Rollback) -> Result<()> {
    client.alias_rollback(&arguments.alias).await?;
    follow(client, json, &arguments.alias).await
}

/// Waits until an alias has been switched, and shows the model.
async fn follow(client: &Client, json: bool, alias: &str) -> Result<()> {
    let mut bars = UploadBars::new(json);
    let status = settled(client, alias, |status| {
        bars.show(&Progress::Model(Box::new(status.clone())));
    })
    .await?;
    bars.finish();
    let report = json!({ "alias": alias, "model": display::model_json(&status) });
    display::result(json, &report, || {
        format!("{alias}: {}", display::model_line(&status))
    })
}

/// Deletes a model.
pub(crate) async fn delete(client: &Client, json: bool, arguments: Delete) -> Result<()> {
    client
        .model_delete(&arguments.model, arguments.force)
        .await?;
    display::result(json, &json!({ "deleted": arguments.model }), || {
        format!("deleted {}", arguments.model)
    })
}

fn models_json(models: &Models) -> serde_json::Value {
    let aliases = models.aliases.iter().map(|a| {
        json!({ "alias": a.alias, "model_sha256": hex::encode(&a.model_sha256),
            "next_sha256": a.next_sha256.as_ref().map(hex::encode),
            "previous_sha256": a.previous_sha256.iter().map(hex::encode).collect::<Vec<_>>() })
    });
    let entries = models.models.iter().map(|m| {
        let mut value = display::model_json(&m.status);
        value["aliases"] = json!(m.aliases);
        value["generations"] = json!(m.generations);
        value["stable_bytes"] = json!(m.stable_bytes);
        value["heap_bytes"] = json!(m.heap_bytes);
        value
    });
    json!({ "models": entries.collect::<Vec<_>>(), "aliases": aliases.collect::<Vec<_>>(),
        "free_slots": models.free_slots })
}

fn models_text(models: &Models) -> String {
    let mut lines = vec![format!(
        "{:12}  {:10} {:9} {:>13} {:>13}  {:16} name",
        "sha256", "phase", "running", "stable bytes", "heap bytes", "aliases"
    )];
    for m in &models.models {
        let name = m.status.manifest.as_ref().map_or("", |f| f.name.as_str());
        let coming = |a: &&interface::AliasEntry| a.next_sha256.as_ref() == Some(&m.sha256);
        let next = models.aliases.iter().filter(coming);
        let next = next.map(|a| format!("({} next)", a.alias));
        let aliases: Vec<String> = m.aliases.iter().cloned().chain(next).collect();
        lines.push(format!(
            "{:12}  {:10} {:9} {:>13} {:>13}  {:16} {name}",
            &hex::encode(&m.sha256)[..12],
            m.status.phase.name(),
            m.generations,
            grouped(m.stable_bytes),
            grouped(m.heap_bytes),
            aliases.join(", ")
        ));
        if let Some(error) = &m.status.error {
            lines.push(format!("              {error}"));
        }
    }
    if models.models.is_empty() {
        lines = vec!["no model; upload one with `loader upload FILE`".into()];
    }
    lines.join("\n")
}

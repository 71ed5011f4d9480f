//! Checking what a canister runs, certified by the subnet.

use crate::arguments::Verify;
use crate::display;
use anyhow::{Context, Result};
use interface::limits::DEFAULT_ALIAS;
use interface::{ModelEntry, Phase};
use loader::{Client, management};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

/// Compares the canister's code, and one of its models, with files. Prints both, and returns a failure if
/// they differ.
pub(crate) async fn verify(client: &Client, json: bool, arguments: &Verify) -> Result<ExitCode> {
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
        lines.push(format!(
            "{what}: {verdict} (this file {here}, canister {there})"
        ));
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
        let library = client.models_certified().await?;
        // Before the canister has verified a file, its hash is only what the manifest says.
        let verified = |m: &&ModelEntry| {
            !matches!(
                m.status.phase,
                Phase::Empty | Phase::Uploading | Phase::Verifying | Phase::Failed
            )
        };
        let verified: Vec<&ModelEntry> = library.models.iter().filter(verified).collect();
        let here = sha256(file)?;
        // This file, else the one that callers get.
        let stored = (verified.iter().find(|m| hex::encode(&m.sha256) == here)).or_else(|| {
            verified
                .iter()
                .find(|m| m.aliases.iter().any(|a| a == DEFAULT_ALIAS))
        });
        compare("model", file, stored.map(|m| hex::encode(&m.sha256)))?;
    }
    display::result(json, &report.into(), || lines.join("\n"))?;
    Ok(if same {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Returns the SHA-256 of a file (hexadecimal).
fn sha256(path: &Path) -> Result<String> {
    let file = File::open(path).and_then(|mut file| {
        let mut hash = Sha256::new();
        std::io::copy(&mut file, &mut hash)?;
        Ok(hex::encode(hash.finalize()))
    });
    file.with_context(|| format!("cannot read {}", path.display()))
}

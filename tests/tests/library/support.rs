//! Models that differ in every size, and what they say when nobody disturbs them.

use anyhow::{Context, Result};
use candid::Principal;
use e2e::harness::{Direct, caller};
use e2e::tiny_model::Tiny;
use interface::{
    AliasSetArgs, Done, GenerateArgs, Generation, Input, ModelDeleteArgs, Options, Outcome, Started,
};
use sha2::{Digest, Sha256};

/// A model file and its SHA-256.
pub(crate) struct File {
    pub bytes: Vec<u8>,
    pub sha256: Vec<u8>,
}

impl File {
    pub(crate) fn new(tiny: &Tiny) -> Result<Self> {
        let bytes = tiny.bytes()?;
        let sha256 = Sha256::digest(&bytes).to_vec();
        Ok(Self { bytes, sha256 })
    }

    /// Its SHA-256 as a name.
    pub(crate) fn name(&self) -> String {
        hex(&self.sha256)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Two models with other weights, and pages of other sizes.
pub(crate) fn two() -> Result<[File; 2]> {
    let small = Tiny::default();
    let wide = Tiny {
        layers: 3,
        dim: 96,
        ffn_dim: 160,
        heads: 3,
        kv_heads: 3,
        head_dim: 32,
        seed: 7,
        ..Tiny::default()
    };
    Ok([File::new(&small)?, File::new(&wide)?])
}

pub(crate) fn start(
    d: &mut Direct,
    who: Principal,
    model: Option<&str>,
    text: &str,
    options: Options,
) -> Result<Outcome<Started>> {
    let request = GenerateArgs {
        model: model.map(Into::into),
        input: Input::Prompt(text.into()),
        options: Some(options),
        ..GenerateArgs::default()
    };
    d.update(who, "generate", (request,))
}

pub(crate) fn alias(d: &mut Direct, alias: &str, model: &str) -> Result<Done> {
    let (alias, model) = (alias.into(), model.into());
    d.update(caller(0), "alias_set", (AliasSetArgs { alias, model },))
}

pub(crate) fn roll_back(d: &mut Direct, alias: &str) -> Result<Done> {
    d.update(caller(0), "alias_rollback", (alias,))
}

pub(crate) fn delete(d: &mut Direct, model: &str, force: bool) -> Result<Done> {
    let model = model.into();
    d.update(
        caller(0),
        "model_delete",
        (ModelDeleteArgs { model, force },),
    )
}

/// Rounds until an alias means this model.
pub(crate) fn until_means(d: &mut Direct, alias: &str, sha256: &[u8]) -> Result<()> {
    for _ in 0..2_000 {
        let models = d.models()?;
        let entry = models.aliases.iter().find(|a| a.alias == alias);
        let entry = entry.context("no such alias")?;
        let model = models.models.iter().find(|m| m.sha256 == sha256);
        let ready = model.is_some_and(|m| m.status.phase == interface::Phase::Ready);
        if entry.model_sha256 == sha256 && entry.next_sha256.is_none() && ready {
            return Ok(());
        }
        d.rounds(1);
    }
    anyhow::bail!("{alias} does not come to mean it")
}

/// What a model says to this when it is alone.
pub(crate) fn alone(file: &File, text: &str, options: &Options) -> Result<Generation> {
    let mut d = Direct::install(&e2e::wasm()?)?;
    d.upload(&file.bytes)?;
    let id = start(&mut d, caller(1), None, text, options.clone())??.id;
    d.finish(caller(1), id)
}

//! What the canister says of itself agrees with what it did, and Prometheus can read it.

use anyhow::{Context, Result, ensure};
use candid::CandidType;
use e2e::harness::{Direct, caller, greedy};
use e2e::tiny_model::Tiny;
use serde::Deserialize;
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;

#[derive(CandidType)]
struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: ByteBuf,
    certificate_version: Option<u16>,
}

#[derive(CandidType, Deserialize)]
struct Response {
    status_code: u16,
    headers: Vec<(String, String)>,
    body: ByteBuf,
}

#[test]
fn metrics_and_status_tell_what_was_done() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    let chat = d.chat(caller(1), None)?;
    let first = d.answer(caller(1), chat, "Hello", greedy(20))?;
    let second = d.answer(caller(1), chat, "And again", greedy(30))?;
    let request = Request {
        method: "GET".into(),
        url: "/metrics".into(),
        headers: Vec::new(),
        body: ByteBuf::new(),
        certificate_version: Some(2),
    };
    let response: Response = d.query(caller(1), "http_request", (request,))?;
    ensure!(response.status_code == 200);
    let kind = response.headers.iter().find(|h| h.0 == "content-type");
    ensure!(kind.is_some_and(|h| h.1.starts_with("text/plain; version=0.0.4")));
    let text = String::from_utf8(response.body.into_vec())?;
    let mut figures = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').context("a line without a value")?;
        ensure!(name.starts_with("llm_"), "{line}");
        ensure!(
            figures.insert(name, value.parse::<f64>()?).is_none(),
            "{name} twice"
        );
    }
    let figure = |name: &str| figures.get(name).copied().context(name.to_string());
    let drawn = f64::from(first.generated_tokens + second.generated_tokens);
    ensure!(figure("llm_tokens_total{kind=\"generated\"}")? == drawn);
    let cached = f64::from(second.cached_tokens);
    ensure!(figure("llm_tokens_total{kind=\"cached\"}")? == cached && cached > 20.0);
    let engine = first.prompt_instructions + second.prompt_instructions;
    ensure!(figure("llm_instructions_total{kind=\"prompt\"}")? == engine as f64);
    ensure!(figure("llm_generations_total{end=\"finished\"}")? == 2.0);
    ensure!(figure("llm_chats")? == 1.0);
    let status = d.status()?;
    ensure!(figure("llm_stable_bytes")? == status.stable_bytes as f64);
    let regions: u64 = status.regions.iter().map(|r| r.bytes).sum();
    ensure!(regions > 0 && regions <= status.stable_bytes);
    ensure!(status.days_left > 1 && status.cache.cached_chats == 1);
    Ok(())
}

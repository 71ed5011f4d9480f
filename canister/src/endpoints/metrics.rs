//! Figures for Prometheus, in its text format.

use crate::runtime;
use crate::stable::regions;
use crate::state::{State, billing};
use std::fmt::Write;

/// Returns all figures.
pub(crate) fn text(state: &State) -> String {
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
        let _ = writeln!(out, "# HELP llm_{name} {help}\n# TYPE llm_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(out, "llm_{name}{labels} {value}");
        }
    };
    let one = |value: f64| vec![(String::new(), value)];
    let label = |key: &str, name: &str, value: f64| (format!("{{{key}=\"{name}\"}}"), value);
    let t = &state.control.totals;

    put(
        "generations_open",
        "gauge",
        "Generations that wait or run.",
        &one(state.queue.len() as f64),
    );
    put(
        "generations_total",
        "counter",
        "Generations that have ended, by how.",
        &[
            label("end", "finished", t.generations_finished as f64),
            label("end", "failed", t.generations_failed as f64),
        ],
    );
    put(
        "tokens_total",
        "counter",
        "Tokens, by what was done with them.",
        &[
            label("kind", "read", t.prompt_tokens as f64),
            label("kind", "cached", t.cached_tokens as f64),
            label("kind", "generated", t.generated_tokens as f64),
        ],
    );
    put(
        "instructions_total",
        "counter",
        "Instructions of slices, by what they were for.",
        &[
            label("kind", "prompt", t.prompt_instructions as f64),
            label("kind", "generate", t.generate_instructions as f64),
            label("kind", "model", t.model_instructions as f64),
            label("kind", "overhead", t.overhead_instructions as f64),
        ],
    );
    put(
        "rounds_total",
        "counter",
        "Slices that have ended.",
        &one(state.control.slices as f64),
    );
    put(
        "rounds_lost_total",
        "counter",
        "Slices that did not end: they trapped or were not delivered.",
        &one(t.slices_lost as f64),
    );
    put(
        "message_instructions_max",
        "gauge",
        "Instructions of the largest message.",
        &one(state.control.max_message_instructions as f64),
    );
    put(
        "chats",
        "gauge",
        "Chats.",
        &one(state.chats.chats.len() as f64),
    );
    put(
        "kv_blocks",
        "gauge",
        "Blocks of the KV cache.",
        &[
            label("state", "used", f64::from(state.pools.used())),
            label(
                "state",
                "free",
                f64::from(state.pools.blocks() - state.pools.used()),
            ),
        ],
    );
    put(
        "kv_block_bytes",
        "gauge",
        "Bytes of a block of the KV cache of the default model.",
        &one(super::status::default_block_bytes(state) as f64),
    );
    put(
        "cache_evictions_total",
        "counter",
        "Chats whose KV blocks were evicted.",
        &one(t.evictions as f64),
    );
    let regions: Vec<_> = regions::sizes()
        .into_iter()
        .map(|(name, bytes)| label("region", &name, bytes as f64))
        .collect();
    put(
        "region_bytes",
        "gauge",
        "Bytes of stable memory, by region.",
        &regions,
    );
    put(
        "stable_bytes",
        "gauge",
        "Bytes of stable memory.",
        &one(runtime::stable_bytes() as f64),
    );
    put(
        "heap_bytes",
        "gauge",
        "Bytes of heap.",
        &one(runtime::heap_bytes() as f64),
    );
    put(
        "cycles",
        "gauge",
        "Cycles, all and those above the freezing threshold.",
        &[
            label("kind", "all", runtime::cycles() as f64),
            label("kind", "liquid", runtime::liquid_cycles() as f64),
        ],
    );
    put(
        "days_left",
        "gauge",
        "Days until the canister freezes if it does no work.",
        &one(billing::days_left() as f64),
    );
    put(
        "paused",
        "gauge",
        "1 while work is paused because cycles are low.",
        &one(f64::from(u8::from(state.control.paused.is_some()))),
    );
    out
}

//! Figures for Prometheus, in its text format.

use crate::app::App;
use crate::{cycles, memory, system};
use std::fmt::Write;

/// All figures.
pub fn text(app: &App) -> String {
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
        let _ = writeln!(out, "# HELP llm_{name} {help}\n# TYPE llm_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(out, "llm_{name}{labels} {value}");
        }
    };
    let one = |value: f64| vec![(String::new(), value)];
    let label = |key: &str, name: &str, value: f64| (format!("{{{key}=\"{name}\"}}"), value);
    let t = &app.control.totals;

    put(
        "generations_open",
        "gauge",
        "Generations that wait or run.",
        &one(app.queue.len() as f64),
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
        "Instructions of rounds, by what they were for.",
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
        "Rounds that have ended.",
        &one(app.control.rounds as f64),
    );
    put(
        "rounds_lost_total",
        "counter",
        "Rounds that did not end: they trapped or were not delivered.",
        &one(t.rounds_lost as f64),
    );
    put(
        "message_instructions_max",
        "gauge",
        "Instructions of the largest message.",
        &one(app.control.max_message_instructions as f64),
    );
    put(
        "chats",
        "gauge",
        "Chats.",
        &one(app.chats.chats.len() as f64),
    );
    put(
        "cache_pages",
        "gauge",
        "Pages of the KV cache.",
        &[
            label("state", "used", f64::from(app.pages.used())),
            label(
                "state",
                "free",
                f64::from(app.pages.slots() - app.pages.used()),
            ),
        ],
    );
    put(
        "cache_page_bytes",
        "gauge",
        "Bytes of a page of the KV cache.",
        &one(app.page_bytes() as f64),
    );
    put(
        "cache_evictions_total",
        "counter",
        "Chats whose pages were dropped to make room.",
        &one(t.evictions as f64),
    );
    let regions: Vec<_> = memory::sizes()
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
        &one(system::stable_bytes() as f64),
    );
    put(
        "heap_bytes",
        "gauge",
        "Bytes of heap.",
        &one(system::heap_bytes() as f64),
    );
    put(
        "cycles",
        "gauge",
        "Cycles, all and those above the freezing threshold.",
        &[
            label("kind", "all", system::cycles() as f64),
            label("kind", "liquid", system::liquid_cycles() as f64),
        ],
    );
    put(
        "days_left",
        "gauge",
        "Days until the canister freezes if it does no work.",
        &one(cycles::days_left() as f64),
    );
    put(
        "paused",
        "gauge",
        "1 while no work is done for want of cycles.",
        &one(f64::from(u8::from(app.control.paused.is_some()))),
    );
    out
}

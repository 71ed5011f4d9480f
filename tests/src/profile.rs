//! Where instructions go: counts by function, and by part of the system.

use std::collections::BTreeMap;

/// Instructions by function.
#[derive(Debug, Default, Clone)]
pub struct Profile(BTreeMap<String, u64>);

/// Parts, and what names of functions in them contain. The first that fits counts.
const PARTS: [(&str, &[&str]); 9] = [
    ("projections and head", &["kernels::linear"]),
    ("attention", &["kernels::attention"]),
    (
        "norms, RoPE, gates",
        &[
            "kernels::norm",
            "kernels::rope",
            "kernels::activation",
            "kernels::exp",
        ],
    ),
    ("activations to integers", &["kernels::quantize"]),
    ("sampling", &["sampler"]),
    (
        "tokenizer and text",
        &[
            "tokenizer",
            "text_stream::",
            "template",
            "fancy_regex",
            "regex",
        ],
    ),
    (
        "packing and hashing",
        &["pack::", "model::load", "sha2", "gguf", "xxh"],
    ),
    (
        "forward pass, rest",
        &["forward", "generation::Generation", "engine::"],
    ),
    (
        "persistence",
        &["ic_stable_structures", "durable", "postcard", "memory::"],
    ),
];

impl Profile {
    /// From the replica's counts; functions of one name are added up.
    pub fn new(counts: Vec<(String, u64)>) -> Self {
        let mut by_name = BTreeMap::new();
        for (name, count) in counts {
            *by_name.entry(name).or_insert(0) += count;
        }
        Self(by_name)
    }

    /// What was counted after `before`.
    pub fn since(&self, before: &Self) -> Self {
        let less = |name: &String| before.0.get(name).copied().unwrap_or(0);
        Self(
            self.0
                .iter()
                .map(|(name, n)| (name.clone(), n.saturating_sub(less(name))))
                .collect(),
        )
    }

    /// A table: parts of `total` instructions, then the functions that cost most.
    pub fn table(&self, total: u64) -> String {
        let mut parts: Vec<(&str, u64)> = PARTS.iter().map(|p| (p.0, 0)).collect();
        let mut other = 0;
        let mut functions: Vec<(String, u64)> = Vec::new();
        for (name, count) in self.0.iter().filter(|(_, n)| **n > 0) {
            let name = format!("{:#}", rustc_demangle::demangle(name));
            match PARTS
                .iter()
                .position(|(_, marks)| marks.iter().any(|m| name.contains(m)))
            {
                Some(i) => parts[i].1 += count,
                None => other += count,
            }
            functions.push((name, *count));
        }
        let counted: u64 = functions.iter().map(|f| f.1).sum();
        parts.push(("bookkeeping", other));
        parts.push(("System API, pages, calls", total.saturating_sub(counted)));
        functions.sort_by_key(|f| std::cmp::Reverse(f.1));
        let line = |name: &str, n: u64| {
            let share = 100.0 * n as f64 / total.max(1) as f64;
            format!("  {:>14} {share:5.1} %  {name}\n", n)
        };
        let mut out = String::new();
        for (name, n) in parts.into_iter().filter(|p| p.1 > 0) {
            out += &line(name, n);
        }
        out += "  most of it in\n";
        for (name, n) in functions.iter().take(16) {
            out += &line(&name.chars().take(90).collect::<String>(), *n);
        }
        out
    }
}

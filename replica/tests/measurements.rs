//! Replays what was measured on the real replica; see `data/README.md`.

use replica::conformance::{CaseReport, list, replay};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases that this replica does not match, and why.
const KNOWN: [(&str, &str); 3] = [
    (
        "01_rollback_deep",
        "counts how deep a recursion goes before the stack overflows, which depends on the frames \
         of the engine's compiler; the trap and its rollback are the same",
    ),
    (
        "10_balance_in_message",
        "reads an absolute balance after an install, which depends on the size of the module as \
         another assembler writes it; the differences are the same",
    ),
    ("12_few_cycles", "burns an absolute balance, as above"),
];

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(name)
}

fn replay_all(folder: &str) -> Vec<CaseReport> {
    let dir = data(folder);
    let cases = list(&dir).expect("the cases are there");
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(report) = replay(&dir, case).expect("the case can be replayed") {
                        reports.lock().expect("no panic before").push(report);
                    }
                }
            });
        }
    });
    reports.into_inner().expect("no panic before")
}

fn assert_matches(folder: &str, count: usize) {
    let reports = replay_all(folder);
    assert_eq!(reports.len(), count, "cases replayed");
    let mut wrong = Vec::new();
    for report in reports {
        let known = KNOWN.iter().any(|(name, _)| *name == report.name);
        if known == report.mismatches.is_empty() {
            wrong.push(format!(
                "{} (known: {known}): {:#?}",
                report.name, report.mismatches
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn golden_figures_are_exact() {
    assert_matches("golden", 17);
}

#[test]
fn semantic_cases_match() {
    assert_matches("semantic", 165);
}

//! Replays what was measured on the real replica; see `data/README.md`.

use replica::conformance::{CaseReport, list, replay};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

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
        if !report.mismatches.is_empty() {
            wrong.push(format!("{}: {:#?}", report.name, report.mismatches));
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

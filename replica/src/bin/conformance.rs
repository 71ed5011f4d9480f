//! Replays a folder of measured cases: a line for each, then how many passed.

use replica::conformance::{CaseError, list, replay};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Replays the cases whose names contain `only`; true when all passed.
fn run(dir: PathBuf, only: &str) -> Result<bool, CaseError> {
    let cases = list(&dir)?;
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(4));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = case.file_stem().map(|s| s.to_string_lossy().into_owned());
                    if !name.is_some_and(|name| name.contains(only)) {
                        continue;
                    }
                    let result = replay(&dir, case);
                    if let Ok(mut results) = results.lock() {
                        results.push((case.clone(), result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by(|a, b| a.0.cmp(&b.0));
    let (mut passed, mut failed) = (0, 0);
    for (case, result) in results {
        match result {
            Ok(None) => {}
            Ok(Some(report)) if report.mismatches.is_empty() => {
                passed += 1;
                println!("ok   {}", report.name);
            }
            Ok(Some(report)) => {
                failed += 1;
                println!("FAIL {}", report.name);
                for line in report.mismatches {
                    println!("     {line}");
                }
            }
            Err(error) => {
                failed += 1;
                println!("FAIL {}: {error}", case.display());
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0 && passed > 0)
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next() else {
        eprintln!("usage: conformance DIR [PART OF A CASE'S NAME]");
        return ExitCode::from(2);
    };
    match run(dir.into(), &args.next().unwrap_or_default()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

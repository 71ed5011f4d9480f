//! Every crafted file, natively: a typed error that says what is wrong, after little work.

use anyhow::{Result, ensure};
use e2e::counted_load::{Came, Counted, walk};
use e2e::malicious::{corpus, templates};
use std::time::{Duration, Instant};

/// A shared machine may pause a thread for a while.
const LONGEST: Duration = Duration::from_secs(5);

#[test]
fn every_crafted_file_is_refused_after_little_work() -> Result<()> {
    for file in corpus()? {
        let name = file.name;
        let source = Counted::new(&file.bytes);
        let begin = Instant::now();
        let (came, error) = walk(&source, 4);
        let error = error.map(|e| e.to_string()).unwrap_or_default();
        ensure!(
            !error.is_empty() && came < Came::Through,
            "{name}: {came:?}"
        );
        ensure!(error.contains(file.says), "{name}: {error}");
        ensure!(
            error.len() < 1_000,
            "{name}: an error of {} bytes",
            error.len()
        );
        // Header, tokenizer and weights: nothing is read again and again.
        let limit = 4 * file.bytes.len() as u64 + (1 << 20);
        ensure!(
            source.read.get() <= limit,
            "{name}: {} read",
            source.read.get()
        );
        ensure!(
            source.reads.get() <= 10_000,
            "{name}: {} reads",
            source.reads.get()
        );
        let took = begin.elapsed();
        ensure!(took < LONGEST, "{name} took {took:?}");
    }
    Ok(())
}

#[test]
fn a_template_that_does_harm_is_stopped() -> Result<()> {
    for file in templates()? {
        let name = file.name;
        let begin = Instant::now();
        let (came, error) = walk(&Counted::new(&file.bytes), 1);
        let took = begin.elapsed();
        println!("{name}: {took:?}: {error:?}");
        ensure!(came == Came::Through, "{name}: {came:?} {error:?}");
        ensure!(
            matches!(error, Some(engine::Error::InvalidArgument(_))),
            "{name}: {error:?}"
        );
        ensure!(took < LONGEST, "{name} took {took:?}");
    }
    Ok(())
}

#[test]
fn the_good_model_comes_through() -> Result<()> {
    let good = e2e::tiny_model::smallest().bytes()?;
    let (came, error) = walk(&Counted::new(&good), 4);
    ensure!(
        came == Came::Through && error.is_none(),
        "{came:?} {error:?}"
    );
    Ok(())
}

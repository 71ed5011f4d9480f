//! Any order of uploads, switches, deletions, upgrades and questions: every answer is that of the
//! model it was begun on. `LIBRARY_CASES` sets how many orders are tried.

use crate::support::{File, alias, alone, delete, hex, roll_back, start, two};
use anyhow::{Result, bail, ensure};
use e2e::harness::{Direct, caller, drawn};
use e2e::tiny_model::{Tiny, smallest};
use interface::{Error, GenerationState};

const TEXT: &str = "The rain on the other morning";

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = (self.0)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What each model says, for each length.
fn expected(files: &[File]) -> Result<Vec<Vec<u32>>> {
    let whole = |file: &File| Ok(alone(file, TEXT, &drawn(120, 4))?.token_ids);
    files.iter().map(whole).collect()
}

fn one(seed: u64, files: &[File], expected: &[Vec<u32>]) -> Result<()> {
    let mut r = Random(seed);
    let mut d = Direct::install(&e2e::wasm()?)?;
    d.upload(&files[0].bytes)?;
    d.one_message_a_round();
    d.budget(8_000_000 + r.below(20_000_000))?;
    let mut asked = Vec::new();
    for _ in 0..40 {
        let n = r.below(files.len() as u64) as usize;
        let name = ["default", "other"][r.below(2) as usize];
        match r.below(12) {
            0 | 1 => d.upload(&files[n].bytes)?,
            2 | 3 => match alias(&mut d, name, &files[n].name())? {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(e) => bail!("{e:?}"),
            },
            4 => match roll_back(&mut d, name)? {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(e) => bail!("{e:?}"),
            },
            5 => match delete(&mut d, &files[n].name(), r.below(2) == 0)? {
                Ok(()) | Err(Error::NotFound(_) | Error::Busy(_)) => {}
                Err(e) => bail!("{e:?}"),
            },
            6 => d.upgrade()?,
            7 => d.rounds(1 + r.below(20) as usize),
            _ => {
                let who = caller(1 + r.below(3));
                let length = 1 + r.below(120) as u32;
                // Only if what it means is in the heap by now.
                match start(&mut d, who, Some(name), TEXT, drawn(length, 4)) {
                    Ok(Ok(started)) => asked.push((who, started.id, length)),
                    Ok(Err(Error::NotFound(_) | Error::WrongPhase { .. })) => {}
                    // Refused at the door: no model is in the heap.
                    Err(e) if format!("{e:#}").contains("WrongPhase") => {}
                    other => bail!("{other:?}"),
                }
            }
        }
    }
    for _ in 0..5_000 {
        if d.status()?.generations_running == 0 {
            break;
        }
        d.rounds(1);
    }
    let mut answered = 0;
    for (who, id, length) in asked {
        let end = d.look(who, id)?;
        let Some(n) = files.iter().position(|f| f.sha256 == *end.model_sha256) else {
            bail!("generation {id} ran on {}", hex(&end.model_sha256));
        };
        let whole = &expected[n][..expected[n].len().min(length as usize)];
        match &end.state {
            GenerationState::Finished(_) => ensure!(end.token_ids == whole, "generation {id}"),
            GenerationState::Failed(Error::WrongPhase { .. }) => {
                ensure!(whole.starts_with(&end.token_ids), "generation {id}");
            }
            other => bail!("generation {id}: {other:?}"),
        }
        answered += 1;
    }
    // Everything is given back.
    for file in files {
        let _ = delete(&mut d, &file.name(), true)?;
    }
    let status = d.status()?;
    ensure!(
        status.cache.blocks_used == 0,
        "{answered}: {:?}",
        status.cache
    );
    Ok(())
}

#[test]
fn any_order_of_events_gives_each_model_its_own_answers() -> Result<()> {
    let [a, b] = two()?;
    let c = File::new(&Tiny {
        seed: 11,
        ..smallest()
    })?;
    let files = [a, b, c];
    let expected = expected(&files)?;
    let cases = std::env::var("LIBRARY_CASES")
        .ok()
        .and_then(|n| n.parse().ok());
    for seed in 0..cases.unwrap_or(12) {
        one(seed, &files, &expected).map_err(|e| e.context(format!("seed {seed}")))?;
    }
    Ok(())
}

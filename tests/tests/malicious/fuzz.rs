//! Mutated model files through everything that reads them: no panic, none that takes long. Runs for a
//! moment; with `FUZZ_SECONDS=300` for five minutes.

use anyhow::Result;
use e2e::counted_load::{Came, Counted, walk};
use e2e::malicious::{corpus, templates};
use e2e::raw_gguf::Raw;
use e2e::tiny_model::{Random, Tiny, Value};
use std::time::{Duration, Instant};

/// The longest that one file may take. A shared machine may pause a thread for a while.
const LONGEST: Duration = Duration::from_secs(5);

/// Good models of every architecture.
fn good() -> Result<Vec<Raw>> {
    let per_layer = |architecture: &'static str, names: &[(&str, u32)], context: u32| {
        let mut model = Tiny {
            architecture,
            context,
            ..e2e::tiny_model::smallest()
        };
        for (name, len) in names {
            model.vectors.push((format!("blk.0.{name}"), *len));
        }
        model
    };
    let norms = [("attn_q_norm.weight", 16), ("attn_k_norm.weight", 16)];
    let mut gemma = per_layer("gemma3", &norms, 64);
    gemma
        .vectors
        .push(("blk.0.post_attention_norm.weight".into(), 32));
    gemma
        .vectors
        .push(("blk.0.post_ffw_norm.weight".into(), 32));
    gemma
        .metadata
        .push(("gemma3.attention.sliding_window".into(), Value::U32(4)));
    let biases = [
        ("attn_q.bias", 32),
        ("attn_k.bias", 16),
        ("attn_v.bias", 16),
    ];
    let mut scaled = per_layer("llama", &[], 64);
    scaled.vectors.push(("rope_freqs.weight".into(), 8));
    let models = [
        per_layer("llama", &[], 64),
        scaled,
        gemma,
        per_layer("qwen2", &biases, 64),
        per_layer("qwen3", &norms, 64),
        per_layer("smollm3", &[], 64),
        per_layer("phi3", &[], 64),
        Tiny {
            layers: 3,
            ..per_layer("lfm2", &[], 64)
        },
    ];
    models.iter().map(|m| Raw::parse(&m.bytes()?)).collect()
}

/// A number that is likely to hurt.
fn nasty(random: &mut Random) -> u64 {
    const EDGES: [u64; 14] = [
        0,
        1,
        3,
        4,
        16,
        31,
        33,
        255,
        65_535,
        65_536,
        1 << 20,
        1 << 31,
        u32::MAX as u64,
        u64::MAX,
    ];
    match random.below(4) {
        0 => EDGES[random.below(14) as usize].wrapping_sub(random.below(2)),
        1 => 1 << random.below(64),
        2 => random.below(300),
        _ => random.next(),
    }
}

/// Changes one part of the structure.
fn change(raw: &mut Raw, random: &mut Random) {
    let entry = random.below(raw.metadata.len() as u64) as usize;
    let tensor = random.below(raw.tensors.len() as u64) as usize;
    match random.below(14) {
        0 => drop(raw.metadata.swap_remove(entry)),
        1 => drop(raw.tensors.swap_remove(tensor)),
        2 => {
            // Another number in place of a number.
            let e = &mut raw.metadata[entry];
            let bytes = nasty(random).to_le_bytes();
            if e.value.len() <= 8 {
                let n = e.value.len();
                e.value.copy_from_slice(&bytes[..n]);
            } else {
                // A length, or what an array has.
                let at = random.below(e.value.len() as u64 - 8) as usize & !3;
                e.value[at..at + 8].copy_from_slice(&bytes);
            }
        }
        3 => raw.metadata[entry].kind = random.below(14) as u32,
        4 => {
            let again = raw.metadata[entry].value.clone();
            let other = random.below(raw.metadata.len() as u64) as usize;
            raw.metadata[other].value = again;
        }
        5 => raw.tensors[tensor].offset = nasty(random) & !31,
        6 => raw.tensors[tensor].kind = random.below(32) as u32,
        7 => {
            let t = &mut raw.tensors[tensor];
            let dim = random.below(t.dims.len() as u64) as usize;
            t.dims[dim] = nasty(random);
        }
        8 => raw.tensors[tensor].dims.push(random.below(3)),
        9 => {
            let other = random.below(raw.tensors.len() as u64) as usize;
            raw.tensors[tensor].name = raw.tensors[other].name.clone();
        }
        10 => {
            let counts = (raw.tensors.len() as u64, raw.metadata.len() as u64);
            raw.counts = Some(match random.below(2) {
                0 => (nasty(random), counts.1),
                _ => (counts.0, nasty(random)),
            });
        }
        11 => raw
            .data
            .truncate(random.below(raw.data.len() as u64 + 1) as usize),
        _ => {
            // Weights of any bits.
            for _ in 0..1 + random.below(20) {
                if !raw.data.is_empty() {
                    let at = random.below(raw.data.len() as u64) as usize;
                    raw.data[at] = random.next() as u8;
                }
            }
        }
    }
}

/// Changes bytes, whatever they are.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    // Mostly in the header.
    for _ in 0..1 + random.below(8) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(8_000.min(bytes.len() as u64)) as usize;
        match random.below(4) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => {
                let n = nasty(random).to_le_bytes();
                let end = bytes.len().min(at + 8);
                bytes[at..end].copy_from_slice(&n[..end - at]);
            }
            _ => drop(bytes.drain(at..bytes.len().min(at + 1 + random.below(40) as usize))),
        }
    }
}

#[test]
fn no_file_makes_the_engine_panic_or_take_long() -> Result<()> {
    let seconds: u64 = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(8);
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|s| s.parse().ok());
    let mut random = Random(seed.unwrap_or(1));
    let good = good()?;
    let crafted: Vec<Vec<u8>> = corpus()?
        .into_iter()
        .chain(templates()?)
        .map(|c| c.bytes)
        .filter(|b| b.len() < 100_000)
        .collect();
    for raw in &good {
        let bytes = raw.bytes();
        let (came, error) = walk(&Counted::new(&bytes), 4);
        assert!(
            came == Came::Through && error.is_none(),
            "{came:?} {error:?}"
        );
    }
    let begin = Instant::now();
    let (mut files, mut through, mut longest) = (0u64, 0u64, Duration::ZERO);
    while begin.elapsed() < Duration::from_secs(seconds) {
        let state = random.0;
        let bytes = if random.chance(10) {
            let mut bytes = crafted[random.below(crafted.len() as u64) as usize].clone();
            damage(&mut bytes, &mut random);
            bytes
        } else {
            let mut raw = good[random.below(good.len() as u64) as usize].clone();
            for _ in 0..random.below(4) {
                if !raw.metadata.is_empty() && !raw.tensors.is_empty() {
                    change(&mut raw, &mut random);
                }
            }
            let mut bytes = raw.bytes();
            if random.chance(40) {
                damage(&mut bytes, &mut random);
            }
            bytes
        };
        let source = Counted::new(&bytes);
        let start = Instant::now();
        let walked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| walk(&source, 4)));
        let took = start.elapsed();
        let Ok((came, error)) = walked else {
            panic!("FUZZ_SEED={state} panics");
        };
        let read = source.read.get();
        assert!(
            read <= 8 * bytes.len() as u64 + (1 << 20),
            "FUZZ_SEED={state}: {read} bytes read of {}",
            bytes.len()
        );
        assert!(
            took < LONGEST,
            "FUZZ_SEED={state} took {took:?}: {came:?} {error:?}"
        );
        longest = longest.max(took);
        files += 1;
        through += u64::from(came == Came::Through);
    }
    println!("{files} files, {through} of them models; the longest took {longest:?}");
    // Most mutations are refused, many do not matter; neither may be rare.
    assert!(
        through * 20 > files && through < files,
        "{through} of {files}"
    );
    Ok(())
}

//! How fast an upload is: as many chunks at once as are worth it, against one call after another.

use anyhow::{Result, ensure};
use e2e::Testbed;
use loader::Client;
use loader::shards::ShardedFile;
use loader::upload::{Progress, UploadOptions, upload};
use std::path::Path;
use std::time::Instant;

const MIB: f64 = 1_048_576.0;

/// Bytes a second of sending alone.
async fn rate(client: &Client, file: &Path, parallel: Option<usize>) -> Result<f64> {
    let options = UploadOptions {
        parallel,
        ..UploadOptions::default()
    };
    let (mut begin, mut end, mut bytes) = (None, None, 0);
    upload(client, file, &options, |progress| {
        if let Progress::Sending { done, total } = progress {
            begin.get_or_insert_with(Instant::now);
            bytes = total;
            if done == total {
                end.get_or_insert_with(Instant::now);
            }
        }
    })
    .await?;
    let (Some(begin), Some(end)) = (begin, end) else {
        anyhow::bail!("nothing was sent");
    };
    Ok(bytes as f64 / (end - begin).as_secs_f64())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_run_at_least_as_fast_as_raw_calls() -> Result<()> {
    let testbed = Testbed::start()?;
    let model = e2e::model()?;
    // The limit of one raw call after another: what was read and hashed before, nothing else.
    let client = testbed.install().await?;
    let file = ShardedFile::open(&model, UploadOptions::default().chunk_size, |_, _| ())?;
    client.upload_begin(file.manifest()).await?;
    let chunks = (0..file.manifest().checksums.len() as u32)
        .map(|index| Ok(file.chunk(index)?))
        .collect::<Result<Vec<_>>>()?;
    let before = client.status_certified().await?;
    let begin = Instant::now();
    for (index, chunk) in (0..).zip(&chunks) {
        client.upload_chunk(index, chunk).await?;
    }
    let raw = file.manifest().size as f64 / begin.elapsed().as_secs_f64();
    let after = client.status_certified().await?;
    let mib = file.manifest().size as f64 / MIB;
    let cycles = (before.cycles - after.cycles) as f64;
    println!("one raw call after another: {:.1} MiB/s", raw / MIB);
    println!(
        "cycles of a MiB: {:.1} million, ingress and execution",
        cycles / mib / 1e6
    );

    let mut rates = Vec::new();
    for parallel in [Some(1), Some(4), Some(16), None] {
        let client = testbed.install().await?;
        let rate = rate(&client, &model, parallel).await?;
        let name = parallel.map_or("as many as are worth it".into(), |n| format!("{n} at once"));
        println!(
            "upload, {name}: {:.1} MiB/s ({:.2} of raw calls)",
            rate / MIB,
            rate / raw
        );
        rates.push(rate);
    }
    // Wall time is noisy here: this says only that nothing is far off.
    let adaptive = rates[3];
    ensure!(adaptive > 0.5 * raw, "{adaptive} against {raw}");
    Ok(())
}

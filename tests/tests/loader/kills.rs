//! The loader's process is killed again and again: the upload goes on where it was, and hardly anything
//! is sent twice: only a chunk that was on its way when the process died is sent again.

use crate::command_line::program;
use crate::proxy::Proxy;
use anyhow::{Context, Result, ensure};
use e2e::Testbed;
use e2e::random;
use interface::Phase;
use loader::shards::ShardedFile;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KILLS: u32 = 10;
const PARALLEL: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_ten_times_it_sends_only_what_was_on_its_way_again() -> Result<()> {
    let testbed = Testbed::start()?;
    let client = testbed.install().await?;
    let proxy = Proxy::counting(&testbed.url()).await?;
    let model = e2e::model()?;
    // The controller's key, as a file.
    let home = tempfile::tempdir()?;
    let key = home.path().join("key.pem");
    std::fs::write(&key, controller_pem())?;
    let start = || -> Result<Child> {
        let child = Command::new(program()?)
            .args([
                "--network",
                &proxy.url,
                "--canister",
                &client.canister().to_text(),
            ])
            .args(["--json", "--identity"])
            .arg(&key)
            .args(["upload", "--parallel", &PARALLEL.to_string()])
            .args(["--chunk-size", "1000000"])
            .arg(&model)
            .env_clear()
            .env("HOME", home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(child)
    };
    let through = || proxy.chunks().values().sum::<u32>();
    for _ in 0..KILLS {
        // At a moment that is not known before: after some more chunks, while others are on their way.
        let (until, begin) = (through() + (random() % 9) as u32, Instant::now());
        let mut child = start()?;
        while through() <= until && begin.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_micros(random() % 3_000)).await;
        }
        ensure!(child.try_wait()?.is_none(), "it ended before it was killed");
        // On Unix this is SIGKILL.
        child.kill()?;
        child.wait()?;
        println!("killed after {} chunks", through());
    }
    let output = start()?.wait_with_output()?;
    ensure!(output.status.success(), "{output:?}");
    let status = client.status().await?.model;
    ensure!(status.phase == Phase::Ready, "{status:?}");
    let file = ShardedFile::open(&model, 1_000_000, |_, _| ())?;
    let stored = status.manifest.context("no file")?;
    ensure!(stored.sha256 == file.manifest().sha256);
    let (counts, unanswered) = (proxy.chunks(), proxy.unanswered());
    let needed = file.manifest().checksums.len();
    let sent = counts.values().sum::<u32>();
    println!(
        "{KILLS} kills: {needed} chunks of 1 MB, sent {sent}; most often: {:?}",
        counts.values().max()
    );
    ensure!(counts.len() == needed, "{counts:?}");
    for (index, sent) in &counts {
        let cut_off = unanswered.get(index).copied().unwrap_or_default();
        ensure!(
            *sent <= 1 + cut_off,
            "chunk {index} was sent {sent} times, {cut_off} of them without an answer"
        );
    }
    ensure!(
        sent as usize <= needed + (KILLS * PARALLEL) as usize,
        "{counts:?}"
    );
    Ok(())
}

/// [`e2e::controller`]'s key.
fn controller_pem() -> String {
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend([1; 32]);
    pem::encode(&pem::Pem::new("PRIVATE KEY", der))
}

//! The replica's process is killed again and again while a generation runs and an upload goes on:
//! what was acknowledged is there afterwards, and the tokens are those of an undisturbed run.
//!
//! `CRASH_KILLS=100` kills more often than a normal test run does.

use anyhow::{Context, Result, bail, ensure};
use candid::Principal;
use e2e::chats::{greedy, prompt, until_ready};
use e2e::random;
use interface::GenerationState;
use loader::generate::follow;
use loader::management::{self, Mode};
use loader::shards::{DEFAULT_CHUNK_SIZE, ShardedFile};
use loader::{Client, Network};
use oracle::native_run::Native;
use replica::ReplicaConfig;
use replica::http::{Server, ServerConfig};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KILLS: u32 = 12;
const TOKENS: u32 = 60;
const TEXT: &str = "The old lighthouse keeper climbed the stairs every evening, and";
/// Longest time from a start to a kill: a round takes less.
const LONGEST: Duration = Duration::from_millis(1800);
const CYCLES: u128 = 1_000_000_000_000_000;

/// The environment variables by which the child process knows what it is.
const STATE: &str = "CRASH_TEST_STATE";

/// Not a test: the process that is killed. It serves a state directory until its end.
#[test]
fn child() -> Result<()> {
    let Some(dir) = std::env::var_os(STATE).map(PathBuf::from) else {
        return Ok(());
    };
    let server = Server::start(ServerConfig {
        replica: ReplicaConfig {
            state_dir: Some(dir.join("state")),
            ..ReplicaConfig::default()
        },
        ..ServerConfig::default()
    })?;
    let new = dir.join("url.new");
    std::fs::write(&new, server.url())?;
    std::fs::rename(new, dir.join("url"))?;
    while server.is_running() {
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("the replica stopped by itself")
}

/// A replica in a process of its own.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    async fn start(dir: &Path) -> Result<Process> {
        let file = dir.join("url");
        let _ = std::fs::remove_file(&file);
        let mut child = Command::new(std::env::current_exe()?)
            .args(["crash::child", "--exact", "--nocapture"])
            .env(STATE, dir)
            .stdout(Stdio::null())
            .spawn()?;
        loop {
            if let Ok(url) = std::fs::read_to_string(&file) {
                return Ok(Process { child, url });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the replica does not start: {status}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    async fn client(&self, canister: Principal) -> Result<Client> {
        let network = Network::connect(&self.url, e2e::controller()).await?;
        Ok(Client::new(network, canister))
    }
}

/// What was seen so far, and must be there after every restart.
#[derive(Default)]
struct Seen {
    generation: u64,
    tokens: Vec<u32>,
    /// Chunks whose storing was acknowledged in the present upload.
    chunks: Vec<u32>,
    uploads: u32,
    generations: u32,
}

/// Follows the generation; begins another when one has ended.
async fn generate(client: &Client, expected: &[u32], seen: &mut Seen) -> Result<()> {
    loop {
        let look = client.generation(seen.generation, 0, 0).await?;
        ensure!(
            expected.starts_with(&look.token_ids),
            "other tokens: {:?}",
            look.token_ids
        );
        ensure!(
            look.token_ids.starts_with(&seen.tokens),
            "{} tokens were there, now {}",
            seen.tokens.len(),
            look.token_ids.len()
        );
        seen.tokens = look.token_ids;
        match look.state {
            GenerationState::Failed(error) => bail!("the generation failed: {error:?}"),
            GenerationState::Finished(_) => {
                ensure!(seen.tokens == expected, "it ended early");
                seen.generations += 1;
                let started = client.generate(prompt(TEXT), greedy(TOKENS)).await?;
                (seen.generation, seen.tokens) = (started.id, Vec::new());
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Sends what is missing of a file; begins anew when all is there.
async fn upload(client: &Client, file: &ShardedFile, seen: &mut Seen) -> Result<()> {
    loop {
        client.upload_begin(file.manifest()).await?;
        let missing = client.upload_missing().await?;
        for chunk in &seen.chunks {
            ensure!(
                !missing.iter().any(|m| (m.start..m.end).contains(chunk)),
                "chunk {chunk} was acknowledged and is missing"
            );
        }
        for index in missing.iter().flat_map(|m| m.start..m.end) {
            client.upload_chunk(index, &file.chunk(index)?).await?;
            seen.chunks.push(index);
        }
        seen.chunks.clear();
        client.upload_abort().await?;
        seen.uploads += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_goes_on() -> Result<()> {
    let _alone = crate::ALONE.lock().await;
    let kills = match std::env::var("CRASH_KILLS") {
        Ok(text) => text.parse().context("CRASH_KILLS")?,
        Err(_) => KILLS,
    };
    let mut native = Native::load(&e2e::model()?)?;
    let question = native.tokenizer.encode_plain(TEXT)?;
    let expected = native.greedy(&question, TOKENS as usize)?;
    drop(native);
    let dir = tempfile::tempdir()?;
    let file = ShardedFile::open(&e2e::model()?, DEFAULT_CHUNK_SIZE, |_, _| ())?;

    let process = Process::start(dir.path()).await?;
    let network = Network::connect(&process.url, e2e::controller()).await?;
    let mut canisters = Vec::new();
    for _ in 0..2 {
        let canister = management::create_canister(&network, CYCLES).await?;
        management::install(&network, canister, &e2e::wasm()?, Mode::Install).await?;
        canisters.push(canister);
    }
    let (writer, receiver) = (canisters[0], canisters[1]);
    let client = process.client(writer).await?;
    e2e::upload_file(&client, &e2e::model()?).await?;
    let started = client.generate(prompt(TEXT), greedy(TOKENS)).await?;
    let mut seen = Seen {
        generation: started.id,
        ..Seen::default()
    };
    process.kill()?;

    let mut uploading = Seen::default();
    let mut longest_start = Duration::ZERO;
    for kill in 1..=kills {
        let start = Instant::now();
        let process = Process::start(dir.path()).await?;
        longest_start = longest_start.max(start.elapsed());
        let moment = Duration::from_nanos(random() % LONGEST.as_nanos() as u64);
        let work = async {
            let (writer, receiver) = (
                process.client(writer).await?,
                process.client(receiver).await?,
            );
            tokio::try_join!(
                generate(&writer, &expected, &mut seen),
                upload(&receiver, &file, &mut uploading),
            )?;
            anyhow::Ok(())
        };
        tokio::select! {
            ended = work => bail!("before kill {kill}: {ended:?}"),
            () = tokio::time::sleep(moment) => process.kill()?,
        }
    }

    // Undisturbed at last: everything comes to its end.
    let process = Process::start(dir.path()).await?;
    let client = process.client(writer).await?;
    let answer = follow(&client, seen.generation, |_| ()).await?;
    assert_eq!(answer.token_ids, expected);
    let receiver = process.client(receiver).await?;
    e2e::upload_file(&receiver, &e2e::model()?).await?;
    until_ready(&receiver).await?;
    process.kill()?;
    println!(
        "{kills} kills, {} generations and {} uploads ended between them; a start took {:.2} s at \
         most",
        seen.generations + 1,
        uploading.uploads + 1,
        longest_start.as_secs_f64()
    );
    Ok(())
}

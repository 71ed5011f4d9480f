//! Runs the Playwright tests of `frontend/tests`.

use anyhow::{Context, Result, bail, ensure};
use e2e::Testbed;
use e2e::network::Setup;
use e2e::tiny_model::Tiny;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// A network with its state on disk that tests can stop and start again at the same address.
struct Restartable {
    testbed: Mutex<Option<Testbed>>,
    setup: Setup,
}

impl Restartable {
    fn stop(&self) {
        drop(
            self.testbed
                .lock()
                .expect("no panic while it is held")
                .take(),
        );
    }

    fn start(&self) -> Result<()> {
        let mut testbed = self.testbed.lock().expect("no panic while it is held");
        if testbed.is_none() {
            *testbed = Some(Testbed::start_with(&self.setup)?);
        }
        Ok(())
    }
}

/// Answers `GET /stop` and `GET /start`: the tests' hand on the network.
async fn control(listener: TcpListener, replica: Arc<Restartable>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        if let Err(error) = obey(stream, &replica).await {
            eprintln!("control: {error:#}");
        }
    }
}

async fn obey(stream: TcpStream, replica: &Arc<Restartable>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await?;
    let replica = replica.clone();
    let done = match request.split(' ').nth(1) {
        Some("/stop") => tokio::task::spawn_blocking(move || replica.stop())
            .await
            .is_ok(),
        Some("/start") => tokio::task::spawn_blocking(move || replica.start())
            .await?
            .is_ok(),
        _ => false,
    };
    let status = if done { "200 OK" } else { "500 Failed" };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.get_mut().write_all(answer.as_bytes()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_works_in_a_browser() -> Result<()> {
    let frontend = Path::new(env!("CARGO_MANIFEST_DIR")).join("../frontend");
    ensure!(
        frontend.join("node_modules/.bin/playwright").exists(),
        "the page's packages are not installed: run scripts/build-page"
    );
    let browser = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into());
    ensure!(
        Path::new(&browser).exists(),
        "no browser at {browser}: run scripts/setup-browser, or name one in CHROMIUM"
    );

    let state = tempfile::tempdir()?;
    let mut setup = Setup {
        state: Some(state.path().join("network")),
        ..Setup::default()
    };
    let testbed = Testbed::start_with(&setup)?;
    let canister = testbed.install_with_model().await?.canister();
    let empty = testbed.install().await?.canister();
    let url = testbed.url();
    let port = url
        .rsplit(':')
        .next()
        .and_then(|port| port.trim_end_matches('/').parse().ok())
        .context("the replica's port")?;
    setup.port = port;
    let replica = Arc::new(Restartable {
        testbed: Mutex::new(Some(testbed)),
        setup,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let control_url = format!("http://{}", listener.local_addr()?);
    let controlled = tokio::spawn(control(listener, replica.clone()));

    let model = |name: &str, seed| -> Result<_> {
        let path = state.path().join(name);
        let bytes = Tiny {
            seed,
            ..Tiny::default()
        }
        .bytes()?;
        std::fs::write(&path, &bytes)?;
        let digest = Sha256::digest(&bytes);
        let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((path, sha256))
    };
    let (tiny, sha256) = model("tiny.gguf", 1)?;
    let (other, other_sha256) = model("other.gguf", 2)?;

    let arguments = std::env::var("PLAYWRIGHT_ARGS").unwrap_or_default();
    let mut tests = Command::new("node_modules/.bin/playwright")
        .arg("test")
        .args(arguments.split_whitespace())
        .current_dir(&frontend)
        .env("PAGE_URL", format!("http://{canister}.localhost:{port}"))
        .env("EMPTY_URL", format!("http://{empty}.localhost:{port}/"))
        .env("CONTROL_URL", control_url)
        .env("TINY_MODEL", &tiny)
        .env("TINY_SHA256", sha256)
        .env("OTHER_MODEL", &other)
        .env("OTHER_SHA256", other_sha256)
        .env("CHROMIUM", browser)
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .context("Playwright")?;
    let status = tests.wait().await?;
    controlled.abort();
    tokio::task::spawn_blocking(move || replica.stop()).await?;
    if !status.success() {
        bail!("the page's tests failed, see above");
    }
    Ok(())
}

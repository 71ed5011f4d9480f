//! `replica`: a local Internet Computer on one machine, over HTTP.

use clap::Parser;
use replica::ReplicaConfig;
use replica::http::{Server, ServerConfig};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A local replica of the Internet Computer.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Port to listen on; 0 for any that is free.
    #[arg(long, default_value_t = 4943)]
    port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Folder that keeps the state; without it the state is lost at the end.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Shortest time between two rounds in milliseconds; 0 for as fast as possible, which lets a
    /// canister with a heartbeat keep a core busy.
    #[arg(long, value_name = "N", default_value_t = 10)]
    round_ms: u64,
    /// Charge no cycles.
    #[arg(long)]
    free: bool,
    /// Seed of the keys and of all randomness.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Say where it listens in one line of JSON: url, root_key in hexadecimal.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("replica: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Who reads that it is ready may end it at once.
    let (interrupt, terminate) = {
        let _in_runtime = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    let server = Server::start(ServerConfig {
        replica: ReplicaConfig {
            free: options.free,
            seed: options.seed,
            state_dir: options.state,
            ..ReplicaConfig::default()
        },
        host: options.host,
        port: options.port,
        round_interval: Duration::from_millis(options.round_ms),
    })?;
    if options.json {
        let ready = serde_json::json!({
            "url": server.url(),
            "root_key": hex::encode(server.root_key()),
        });
        println!("{ready}");
    } else {
        println!("replica: listening on {}", server.url());
        println!("root key: {}", hex::encode(server.root_key()));
    }
    runtime.block_on(wait(&server, interrupt, terminate));
    let failed = !server.is_running();
    server.shutdown();
    match failed {
        true => Err("the replica failed".into()),
        false => Ok(()),
    }
}

/// Waits for a signal to end, or the end of the replica itself.
async fn wait(server: &Server, mut interrupt: Signal, mut terminate: Signal) {
    let mut look = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            _ = interrupt.recv() => return,
            _ = terminate.recv() => return,
            _ = look.tick() => if !server.is_running() { return },
        }
    }
}

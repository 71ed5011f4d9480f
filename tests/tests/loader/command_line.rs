//! The program itself, as people and scripts call it.

use anyhow::{Context, Result, ensure};
use e2e::Testbed;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The program: the one `LLM_LOADER` names, or what cargo builds.
pub(crate) fn program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = PROGRAM.get() {
        return Ok(path);
    }
    let path = match std::env::var_os("LLM_LOADER") {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    Ok(PROGRAM.get_or_init(|| path))
}

fn build() -> Result<PathBuf> {
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "-p",
            "loader",
            "--bin",
            "loader",
        ])
        .current_dir(e2e::folder())
        .status()?;
    ensure!(built.success(), "the loader does not build");
    // This test is target/release/deps/loader-…: the program is two folders up.
    let test = std::env::current_exe()?;
    let folder = test
        .parent()
        .and_then(Path::parent)
        .context("no target folder")?;
    Ok(folder.join("loader"))
}

/// The command line of one user on one replica.
struct User {
    network: String,
    home: PathBuf,
    canister: Option<String>,
}

impl User {
    fn new(testbed: &Testbed, home: &Path) -> Self {
        Self {
            network: testbed.url(),
            home: home.to_path_buf(),
            canister: None,
        }
    }

    /// Runs the program in a thread that may block: the replica has its own.
    fn run(&self, arguments: &[&str], input: &str) -> Result<Output> {
        use std::io::Write;
        let mut command = Command::new(program()?);
        command
            .args(["--network", &self.network])
            .args(arguments)
            .env_clear()
            .env("HOME", &self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(canister) = &self.canister {
            command.env("LLM_CANISTER", canister);
        }
        let mut child = command.spawn()?;
        child
            .stdin
            .take()
            .context("no input")?
            .write_all(input.as_bytes())?;
        Ok(child.wait_with_output()?)
    }

    /// Standard output of a run that succeeds.
    fn succeed(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.run(arguments, input)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {errors}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The JSON that a successful run prints.
    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
        let text = self.succeed(&arguments, "")?;
        serde_json::from_str(&text).with_context(|| format!("{arguments:?} printed {text}"))
    }

    /// The kind of error that a failing run prints as JSON.
    fn fail(&self, arguments: &[&str]) -> Result<String> {
        let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
        let output = self.run(&arguments, "")?;
        ensure!(!output.status.success(), "{arguments:?} succeeded");
        let value: Value = serde_json::from_slice(&output.stdout)?;
        let kind = value["error"]["kind"].as_str().context("no kind")?;
        ensure!(
            value["error"]["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        Ok(kind.to_string())
    }
}

#[test]
fn from_install_to_verify() -> Result<()> {
    let testbed = Testbed::start()?;
    let home = tempfile::tempdir()?;
    let mut user = User::new(&testbed, home.path());
    let wasm = home.path().join("llm.wasm");
    std::fs::write(&wasm, e2e::wasm()?)?;
    let wasm = wasm.to_str().context("path")?;
    let model = e2e::model()?;
    let model = model.to_str().context("path")?;

    let installed = user.json(&["install", wasm])?;
    assert_eq!(installed["mode"], "install");
    user.canister = installed["canister"].as_str().map(String::from);

    assert_eq!(user.json(&["status"])?["model"]["phase"], "Empty");
    let uploaded = user.json(&["upload", model])?;
    assert_eq!(uploaded["phase"], "Ready");

    // One object with what programs need.
    let question = "What is the capital of France?";
    let answer = user.json(&["prompt", question, "--max-tokens", "12"])?;
    assert_eq!(answer["model_sha256"], uploaded["model_sha256"]);
    assert!(
        answer["text"]
            .as_str()
            .is_some_and(|text| text.contains("Paris")),
        "{answer}"
    );
    let tokens = answer["token_ids"].as_array().context("no tokens")?;
    assert_eq!(
        Some(tokens.len() as u64),
        answer["generated_tokens"].as_u64()
    );
    for field in [
        "prompt_tokens",
        "rounds",
        "max_message_instructions",
        "instructions_per_prompt_token",
        "instructions_per_generated_token",
        "cycles",
    ] {
        assert!(
            answer[field].as_u64().is_some_and(|value| value > 0),
            "{field}: {answer}"
        );
    }

    // People see the same text, and the figures.
    let shown = user.succeed(&["prompt", question, "--max-tokens", "12"], "")?;
    assert!(
        shown.starts_with(answer["text"].as_str().unwrap_or("?")),
        "{shown}"
    );
    assert!(
        shown.contains("instructions per generated token"),
        "{shown}"
    );

    // A conversation: the second question is about the first answer.
    let chat = ["--json", "chat", "--max-tokens", "12"];
    let turns = user.succeed(&chat, &format!("{question}\nAnd of Italy?\n"))?;
    let turns: Vec<Value> = turns
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    assert_eq!(turns.len(), 2);
    assert_eq!(turns[0]["token_ids"], answer["token_ids"]);
    assert!(turns[1]["prompt_tokens"].as_u64() > turns[0]["prompt_tokens"].as_u64());

    // An upgrade, stopped around it as other command lines do; then the check of both files.
    assert_eq!(user.json(&["install", wasm, "--stop"])?["mode"], "upgrade");
    let same = user.json(&["verify", "--wasm", wasm, "--model", model])?;
    assert_eq!(same["code"]["same"], true, "{same}");
    assert_eq!(same["model"]["same"], true, "{same}");
    let differs = user.run(&["verify", "--model", wasm], "")?;
    assert!(!differs.status.success());
    Ok(())
}

#[test]
fn failures_say_what_is_wrong() -> Result<()> {
    let testbed = Testbed::start()?;
    let home = tempfile::tempdir()?;
    let mut user = User::new(&testbed, home.path());
    let wasm = home.path().join("llm.wasm");
    std::fs::write(&wasm, e2e::wasm()?)?;
    assert_eq!(user.fail(&["status"])?, "Usage");
    user.canister = Some(
        user.succeed(&["install", wasm.to_str().context("path")?], "")?
            .trim()
            .into(),
    );
    assert_eq!(user.fail(&["prompt", "Hello"])?, "WrongPhase");
    assert_eq!(user.fail(&["upload", "no such file"])?, "File");
    assert_eq!(user.fail(&["cancel", "77"])?, "NotFound");
    assert_eq!(user.fail(&["--identity", "no such key", "status"])?, "File");

    // Somebody else, with a key made for them.
    let other_home = tempfile::tempdir()?;
    let mut other = User::new(&testbed, other_home.path());
    other.canister = user.canister.clone();
    assert_eq!(other.fail(&["abort"])?, "Unauthorized");
    assert_ne!(other.json(&["principal"])?, user.json(&["principal"])?);

    // A canister that is not there, and a network that is not.
    other.canister = Some("rno2w-sqaaa-aaaaa-aaacq-cai".into());
    assert_eq!(other.fail(&["status"])?, "Call");
    other.network = "http://127.0.0.1:9".into();
    assert_eq!(other.fail(&["status"])?, "Call");
    Ok(())
}

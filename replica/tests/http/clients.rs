//! The npm programs, unmodified: `icp`, and `@icp-sdk/core` in Node and in a browser. They are those of
//! `tests/clients`; `scripts/setup-browser` fetches them, and Node and Chromium, when they are missing.

use crate::gateway;
use crate::support::{self, COUNTER, controller};
use ic_agent::Identity;
use replica::http::Server;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// The folder with the programs' `node_modules`.
fn packages() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let output = Command::new(project.join("scripts/setup-browser"))
            .arg("--quiet")
            .output()
            .expect("scripts/setup-browser runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/setup-browser: {errors}");
        project.join("tests/clients")
    })
}

/// The browser.
fn chromium() -> String {
    std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into())
}

/// The `icp` program with a home of its own, which holds the controller's key.
struct Icp {
    program: PathBuf,
    home: PathBuf,
    network: [String; 6],
}

impl Icp {
    fn new(packages: &Path, server: &Server, name: &str) -> Icp {
        let home = std::env::temp_dir().join(format!("icp-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).expect("a home");
        let icp = Icp {
            program: packages.join("node_modules/@icp-sdk/icp-cli-linux-x64/bin/icp"),
            home,
            network: [
                "--network".into(),
                server.url(),
                "--root-key".into(),
                hex::encode(server.root_key()),
                "--identity".into(),
                "controller".into(),
            ],
        };
        let key = icp.home.join("key.pem");
        std::fs::write(&key, CONTROLLER_PEM).expect("a key file");
        let key = key.to_str().expect("a path").to_owned();
        let import = ["identity", "import", "controller", "--from-pem", &key];
        icp.run(&[&import[..], &["--storage", "plaintext"]].concat());
        icp
    }

    /// Runs `icp canister VERB` against the server. Answers what it prints.
    fn canister(&self, verb: &[&str], rest: &[&str]) -> String {
        let network = self.network.iter().map(String::as_str);
        let words: Vec<&str> = ["canister"]
            .into_iter()
            .chain(verb.iter().copied())
            .chain(network)
            .chain(rest.iter().copied())
            .collect();
        self.run(&words)
    }

    fn run(&self, words: &[&str]) -> String {
        let output = Command::new(&self.program)
            .args(words)
            .env("HOME", &self.home)
            .env("DO_NOT_TRACK", "1")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CACHE_HOME")
            .current_dir(&self.home)
            .output()
            .expect("icp runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "icp {words:?}: {printed}{errors}");
        printed
    }
}

impl Drop for Icp {
    fn drop(&mut self) {
        // What is left is in the system's temporary folder.
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_icp_program() {
    let packages = packages();
    let server = support::server();
    let agent = support::agent(&server, controller()).await;
    let (canister, hash) = support::install(&agent, COUNTER).await;
    let id = canister.to_text();
    let icp = Icp::new(packages, &server, "program");

    let hello = "(\"hello\")";
    let call = |extra: &[&str], method: &str, args: &str| {
        let rest = [&[id.as_str(), method, args], extra].concat();
        icp.canister(&["call"], &rest).trim().to_owned()
    };
    assert_eq!(call(&[], "echo", hello), hello);
    assert_eq!(call(&["--query"], "echo_query", hello), hello);
    let service = icp.canister(&["metadata"], &[&id, "candid:service"]);
    assert_eq!(service.trim(), "service : { inc : () -> () }");

    let status = icp.canister(&["status"], &[&id]);
    assert!(status.contains("Running"), "{status}");
    assert!(status.contains(&hex::encode(&hash)), "{status}");

    let module = icp.home.join("module.wasm");
    std::fs::write(&module, wat::parse_str(PRINTER).expect("a module")).expect("a file");
    let module = module.to_str().expect("a path");
    let install = |mode: &str| {
        let rest = [id.as_str(), "--mode", mode, "--wasm", module, "--yes"];
        icp.canister(&["install"], &rest)
    };
    install("upgrade");
    assert_eq!(call(&[], "say", "()"), "()");
    let logs = icp.canister(&["logs"], &[&id]);
    assert!(logs.contains("said something"), "{logs}");
    install("reinstall");

    let settings = ["settings", "update"];
    icp.canister(
        &settings,
        &[&id, "--freezing-threshold", "4000000", "--force"],
    );
    icp.canister(
        &settings,
        &[&id, "--add-controller", "2vxsx-fae", "--force"],
    );
    let shown = icp.canister(&["settings", "show"], &[&id]);
    assert!(shown.contains("2vxsx-fae"), "{shown}");
    assert!(shown.replace(['_', ','], "").contains("4000000"), "{shown}");

    icp.canister(&["stop"], &[&id]);
    let status = icp.canister(&["status"], &[&id]);
    assert!(status.contains("Stopped"), "{status}");
    icp.canister(&["start"], &[&id]);
    assert_eq!(call(&[], "say", "()"), "()");
}

/// The program that uses the JavaScript agent.
struct JavaScript {
    file: PathBuf,
    parameters: [String; 4],
}

impl JavaScript {
    async fn new(packages: &Path, server: &Server) -> JavaScript {
        let agent = support::agent(server, controller()).await;
        let (canister, hash) = support::install(&agent, COUNTER).await;
        let root_key = hex::encode(server.root_key());
        JavaScript {
            file: packages.join("client.mjs"),
            parameters: [
                server.url(),
                root_key,
                canister.to_text(),
                hex::encode(hash),
            ],
        }
    }

    /// The program with all its packages, as one text for a browser.
    fn bundle(&self, packages: &Path) -> String {
        let output = Command::new(packages.join("node_modules/.bin/esbuild"))
            .arg(&self.file)
            .args(["--bundle", "--minify", "--format=esm", "--platform=browser"])
            .args(["--target=es2022", "--log-level=error"])
            .output()
            .expect("esbuild runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).expect("text")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_agent_in_node() {
    let packages = packages();
    let server = support::server();
    let program = JavaScript::new(packages, &server).await;
    let output = Command::new("node")
        .arg(&program.file)
        .args(&program.parameters)
        .output()
        .expect("node runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "all good");
}

/// The page comes from a canister, through the gateway; it calls another canister.
#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_agent_in_chromium() {
    let packages = packages();
    let server = support::server();
    let program = JavaScript::new(packages, &server).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let report = listener.local_addr().expect("an address");
    let mut parameters = program.parameters.to_vec();
    parameters.push(format!("http://{report}/"));
    let page = format!(
        "<!doctype html><script>parameters = {parameters:?}</script>\
         <script type=\"module\">{}</script>",
        program.bundle(packages).replace("</script", "<\\/script")
    );
    let agent = support::agent(&server, controller()).await;
    let site = gateway::page_canister("text/html; charset=utf-8", &page);
    let (site, _) = support::install(&agent, &site).await;
    let profile = std::env::temp_dir().join(format!("chromium-{}", std::process::id()));
    let mut browser = Command::new(chromium())
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .arg("--remote-debugging-port=0")
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("http://{site}.raw.localhost:{}/", server.port()))
        .stderr(Stdio::null())
        .spawn()
        .expect("Chromium runs");
    let outcome = tokio::time::timeout(Duration::from_secs(60), reported(&listener)).await;
    // It may have ended by itself.
    let _ = browser.kill();
    let _ = browser.wait();
    let _ = std::fs::remove_dir_all(&profile);
    assert_eq!(outcome.expect("a report in time"), "/all%20good");
}

/// The path of the first request to a listener.
async fn reported(listener: &TcpListener) -> String {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 8192];
        let length = stream.read(&mut request).await.expect("a request");
        let request = String::from_utf8_lossy(&request[..length]);
        // Browsers open connections ahead, and close them unused.
        if let Some(path) = request.split(' ').nth(1) {
            return path.to_owned();
        }
    }
}

/// `say` prints a line to the canister's log.
const PRINTER: &str = r#"(module
  (import "ic0" "msg_reply" (func $reply))
  (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
  (import "ic0" "debug_print" (func $print (param i32 i32)))
  (memory 1)
  (data (i32.const 0) "said something")
  (data (i32.const 16) "DIDL\00\00")
  (func (export "canister_update say")
    (call $print (i32.const 0) (i32.const 14))
    (call $append (i32.const 16) (i32.const 6))
    (call $reply)))"#;

/// The private key of [`controller`], which is used in these tests only.
const CONTROLLER_PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB
-----END PRIVATE KEY-----
";

#[test]
fn the_key_file_is_the_controllers() {
    let identity = ic_agent::identity::BasicIdentity::from_pem(CONTROLLER_PEM.as_bytes());
    assert_eq!(identity.expect("a key").sender(), controller().sender());
}

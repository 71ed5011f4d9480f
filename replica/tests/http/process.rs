//! The `replica` program: what it prints, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Program {
    child: Child,
    address: String,
    root_key: String,
}

impl Program {
    fn start(options: &[&str]) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_replica"))
            .args(["--port", "0", "--json"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let text = |name: &str| ready[name].as_str().expect("a text").to_owned();
        Program {
            child,
            address: text("url").replace("http://", ""),
            root_key: text("root_key"),
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends a signal and waits for the end. Answers whether the program says that all was well.
    fn end(mut self, signal: &str) -> bool {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.expect("kill runs").success());
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status.success();
            }
            assert!(start.elapsed() < Duration::from_secs(15), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_says_where_it_listens_and_ends_in_order() {
    for signal in ["-TERM", "-INT"] {
        let program = Program::start(&["--seed", "5", "--free", "--round-ms", "1"]);
        assert_eq!(program.root_key.len(), 266);
        assert!(program.get("/api/v2/status").contains("healthy"));
        assert!(program.get("/_/metrics").contains("\"rounds\":0"));
        assert!(program.end(signal), "{signal}");
    }
}

#[test]
fn a_taken_port_is_an_error() {
    let first = Program::start(&[]);
    let port = first.address.rsplit(':').next().expect("a port");
    let second = Command::new(env!("CARGO_BIN_EXE_replica"))
        .args(["--port", port])
        .output()
        .expect("the program");
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("cannot listen"));
    assert!(first.end("-TERM"));
}

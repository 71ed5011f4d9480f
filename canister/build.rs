//! Takes the built chat page into the program: `target/page`, or the folder that `LLM_PAGE` names.
//!
//! Compressed here and not by the page's own tools, so that the bytes depend on Cargo.lock alone.
//! Without a built page the on-chain program is not built; native tests get along without.

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Everything comes from the canister itself; calls go to the network's own addresses.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; worker-src 'self'; manifest-src 'self'; connect-src 'self' \
    http://localhost:* http://127.0.0.1:* https://icp0.io https://*.icp0.io https://icp-api.io; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The worker that hashes a model file compiles a small Wasm for it.
const WORKER_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-env-changed=LLM_PAGE");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..");
    let page = env::var_os("LLM_PAGE").map_or_else(|| root.join("target/page"), PathBuf::from);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut names = Vec::new();
    if page.join("index.html").is_file() {
        println!("cargo:rerun-if-changed={}", page.display());
        list(&page, "", &mut names)?;
        names.sort();
    } else if env::var("CARGO_CFG_TARGET_ARCH")? == "wasm32" {
        return Err("the chat page is not built: run scripts/build, or scripts/build-page".into());
    }

    let mut code = String::from("static FILES: &[File] = &[\n");
    for (number, name) in names.iter().enumerate() {
        let bytes = fs::read(page.join(name))?;
        let path = if name == "index.html" {
            ""
        } else {
            name.as_str()
        };
        let immutable = name.starts_with("assets/");
        let policy = if name.starts_with("assets/worker-") {
            WORKER_POLICY
        } else {
            PAGE_POLICY
        };
        let plain = body(&out, &format!("{number}"), &bytes)?;
        let gzip = body(&out, &format!("{number}.gz"), &compressed(&bytes)?)?;
        writeln!(
            code,
            "File {{ path: {:?}, content_type: {:?}, policy: {policy:?}, immutable: {immutable}, \
             plain: {plain}, gzip: {gzip} }},",
            format!("/{path}"),
            content_type(name)?,
        )?;
    }
    code.push_str("];\n");
    fs::write(out.join("site.rs"), code)?;
    Ok(())
}

/// Every file below a folder, by its name from there.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), names)?;
        } else if !entry.file_name().to_string_lossy().starts_with('.') {
            names.push(name);
        }
    }
    Ok(())
}

fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Writes a body beside the generated code and returns the expression that includes it.
fn body(out: &Path, name: &str, bytes: &[u8]) -> io::Result<String> {
    fs::write(out.join(name), bytes)?;
    let sha256: [u8; 32] = Sha256::digest(bytes).into();
    Ok(format!(
        "Body {{ bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\")), sha256: {sha256:?} }}"
    ))
}

fn content_type(name: &str) -> Result<&'static str, String> {
    Ok(match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some("png") => "image/png",
        Some("txt") => "text/plain; charset=utf-8",
        Some("webmanifest") => "application/manifest+json",
        _ => return Err(format!("{name}: a file of no type that the page serves")),
    })
}

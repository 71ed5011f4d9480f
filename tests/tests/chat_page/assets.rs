//! How the page is served: certified, also after an upgrade, and never when it was changed.

use anyhow::{Context, Result, ensure};
use e2e::{Testbed, controller, wasm};
use loader::management::{self, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer of the gateway: status, head, body.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(n, value)| n.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// Asks for a page of a canister the way a browser does.
async fn get(testbed: &Testbed, canister: &str, path: &str, gzip: bool) -> Result<Answer> {
    let url = testbed.url();
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let port = address.rsplit(':').next().context("a port")?;
    let mut stream = TcpStream::connect(address).await?;
    let accepted = if gzip { "gzip" } else { "identity" };
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {canister}.localhost:{port}\r\naccept-encoding: {accepted}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .context("a head")?;
    let head = String::from_utf8(bytes[..end].to_vec())?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok(Answer {
        status,
        head,
        body: bytes[end + 4..].to_vec(),
    })
}

/// The page's script, by the name that its HTML gives.
fn script(html: &[u8]) -> Result<String> {
    let html = String::from_utf8_lossy(html);
    let start = html.find("/assets/index-").context("a script")?;
    let rest = &html[start..];
    Ok(rest[..rest.find('"').context("its end")?].to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_certified_also_after_an_upgrade() -> Result<()> {
    let testbed = Testbed::start()?;
    let client = testbed.install().await?;
    let id = client.canister().to_string();
    for upgraded in [false, true] {
        if upgraded {
            let network = testbed.network_as(controller()).await?;
            management::install(&network, client.canister(), &wasm()?, Mode::Upgrade).await?;
        }
        let page = get(&testbed, &id, "/", false).await?;
        ensure!(page.status == 200, "{}", page.head);
        ensure!(page.header("content-type") == Some("text/html; charset=utf-8"));
        ensure!(page.header("cache-control") == Some("no-cache"));
        let policy = page.header("content-security-policy").context("a policy")?;
        ensure!(!policy.contains("unsafe"), "{policy}");

        let path = script(&page.body)?;
        let plain = get(&testbed, &id, &path, false).await?;
        ensure!(plain.status == 200, "{}", plain.head);
        ensure!(plain.header("content-encoding").is_none());
        ensure!(
            plain
                .header("cache-control")
                .is_some_and(|c| c.contains("immutable"))
        );
        let small = get(&testbed, &id, &path, true).await?;
        ensure!(small.status == 200, "{}", small.head);
        ensure!(small.header("content-encoding") == Some("gzip"));
        ensure!(small.body.len() * 2 < plain.body.len());

        // A query is no part of the path, and what there is not is certified not to be.
        ensure!(get(&testbed, &id, "/?x=1", true).await?.status == 200);
        for path in [
            "/nothing",
            "/assets/",
            "/assets/../index",
            "/a/b/c?d",
            "/%20",
        ] {
            let missing = get(&testbed, &id, path, true).await?;
            ensure!(missing.status == 404, "{path}: {}", missing.head);
        }
    }
    // An address that is none gets an answer, only no certified one.
    let deep = "/a".repeat(1_000);
    let odd = get(&testbed, &id, &deep, true).await?;
    ensure!(odd.status == 503, "{}", odd.head);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_was_changed_is_refused() -> Result<()> {
    let testbed = Testbed::start()?;
    let client = testbed.install().await?;
    let network = testbed.network_as(controller()).await?;
    let id = client.canister().to_string();
    let page = get(&testbed, &id, "/", false).await?;
    let path = script(&page.body)?;
    ensure!(get(&testbed, &id, &path, false).await?.status == 200);

    // The same program, except for one byte of the script that it serves: its certificate, made from
    // what was built, does not cover it.
    let mut changed = wasm()?;
    let plain = get(&testbed, &id, &path, false).await?.body;
    let part = &plain[..4_096];
    let at = changed
        .windows(part.len())
        .position(|w| w == part)
        .context("the script in the program")?;
    changed[at + 100] ^= 1;
    management::install(&network, client.canister(), &changed, Mode::Upgrade).await?;
    let refused = get(&testbed, &id, &path, false).await?;
    ensure!(refused.status == 503, "{}", refused.head);
    ensure!(String::from_utf8_lossy(&refused.body).contains("not certified"));
    // The others are as they were, and the address that asks for no check shows what was changed.
    ensure!(get(&testbed, &id, "/", false).await?.status == 200);
    let raw = get(&testbed, &format!("{id}.raw"), &path, false).await?;
    ensure!(raw.status == 200 && raw.body != plain);
    Ok(())
}

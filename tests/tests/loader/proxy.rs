//! A bad network: a relay that cuts connections in the middle.

use anyhow::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Relays connections to a server until dropped; cuts every third after some bytes.
pub struct Proxy {
    pub url: String,
    cuts: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Relays to `http://ADDRESS`.
    pub async fn start(server: &str) -> Result<Self> {
        let server: SocketAddr = server.trim_start_matches("http://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let cuts = Arc::new(AtomicUsize::new(0));
        let counter = cuts.clone();
        let task = tokio::spawn(async move {
            let mut count = 0;
            while let Ok((client, _)) = listener.accept().await {
                count += 1;
                let limit = (count % 3 == 0).then_some(700_000);
                tokio::spawn(relay(client, server, limit, counter.clone()));
            }
        });
        Ok(Self { url, cuts, task })
    }

    /// Connections cut so far.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Copies both ways; after `limit` bytes of the client both connections end.
async fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    limit: Option<usize>,
    cuts: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut buffer = vec![0; 64 * 1024];
        let mut left = limit;
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return std::io::Result::Ok(());
            }
            if let Some(left) = &mut left {
                if *left < read {
                    cuts.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                *left -= read;
            }
            to_server.write_all(&buffer[..read]).await?;
        }
    };
    tokio::select! {
        ended = up => ended,
        ended = tokio::io::copy(&mut from_server, &mut to_client) => ended.map(|_| ()),
    }
}

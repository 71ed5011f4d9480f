//! A relay between the loader and the replica: a bad network that cuts connections in the middle, or
//! one that counts the chunks that go through it and says which of them were not answered.

use anyhow::Result;
use interface::Chunk;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How often each chunk came through whole.
type Chunks = Arc<Mutex<BTreeMap<u32, u32>>>;

/// Relays connections to a server until dropped.
pub(crate) struct Proxy {
    pub url: String,
    cuts: Arc<AtomicUsize>,
    chunks: Chunks,
    unanswered: Chunks,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Relays to `http://ADDRESS`; cuts every third connection after some bytes.
    pub(crate) async fn start(server: &str) -> Result<Self> {
        Self::relay(server, true).await
    }

    /// Relays to `http://ADDRESS` and cuts nothing.
    pub(crate) async fn counting(server: &str) -> Result<Self> {
        Self::relay(server, false).await
    }

    async fn relay(server: &str, bad: bool) -> Result<Self> {
        let server: SocketAddr = server.trim_start_matches("http://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let cuts = Arc::new(AtomicUsize::new(0));
        let counter = cuts.clone();
        let chunks = Chunks::default();
        let unanswered = Chunks::default();
        let (counted, cut_off) = (chunks.clone(), unanswered.clone());
        let task = tokio::spawn(async move {
            let mut count = 0;
            while let Ok((client, _)) = listener.accept().await {
                count += 1;
                let limit = (bad && count % 3 == 0).then_some(700_000);
                let sniffer = Sniffer::new(counted.clone(), cut_off.clone());
                tokio::spawn(relay(client, server, limit, counter.clone(), sniffer));
            }
        });
        Ok(Self {
            url,
            cuts,
            chunks,
            unanswered,
            task,
        })
    }

    /// How often each chunk came through whole.
    pub(crate) fn chunks(&self) -> BTreeMap<u32, u32> {
        copy(&self.chunks)
    }

    /// How often each chunk came through whole on a connection that ended before the server answered.
    pub(crate) fn unanswered(&self) -> BTreeMap<u32, u32> {
        copy(&self.unanswered)
    }

    /// Connections cut so far.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn copy(chunks: &Chunks) -> BTreeMap<u32, u32> {
    match chunks.lock() {
        Ok(chunks) => chunks.clone(),
        Err(poisoned) => poisoned.into_inner().clone(),
    }
}

/// Copies both ways; after `limit` bytes of the client both connections end.
async fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    limit: Option<usize>,
    cuts: Arc<AtomicUsize>,
    sniffer: Sniffer,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let sniffer = Mutex::new(sniffer);
    let watch = |see: &dyn Fn(&mut Sniffer)| {
        if let Ok(mut sniffer) = sniffer.lock() {
            see(&mut sniffer);
        }
    };
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
            watch(&|sniffer| sniffer.see(&buffer[..read]));
        }
    };
    let down = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_server.read(&mut buffer).await?;
            if read == 0 {
                return std::io::Result::Ok(());
            }
            watch(&|sniffer| sniffer.open.clear());
            to_client.write_all(&buffer[..read]).await?;
        }
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

/// Finds chunks in what a connection carries: the argument of `upload_chunk` in Candid is the types,
/// the data's length (LEB128), the data, the index.
struct Sniffer {
    types: Vec<u8>,
    seen: Vec<u8>,
    chunks: Chunks,
    /// Chunks of this connection that the server has not answered: HTTP/1.1 has one request at a time.
    open: Vec<u32>,
    unanswered: Chunks,
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        if let Ok(mut unanswered) = self.unanswered.lock() {
            for index in &self.open {
                *unanswered.entry(*index).or_default() += 1;
            }
        }
    }
}

impl Sniffer {
    fn new(chunks: Chunks, unanswered: Chunks) -> Self {
        let empty = Chunk {
            index: 0,
            data: Default::default(),
        };
        let mut types = candid::encode_one(empty).unwrap_or_default();
        // Without length and index.
        types.truncate(types.len().saturating_sub(5));
        Self {
            types,
            seen: Vec::new(),
            chunks,
            open: Vec::new(),
            unanswered,
        }
    }

    fn see(&mut self, bytes: &[u8]) {
        self.seen.extend_from_slice(bytes);
        while let Some((index, end)) = self.find() {
            self.seen.drain(..end);
            self.open.push(index);
            if let Ok(mut chunks) = self.chunks.lock() {
                *chunks.entry(index).or_default() += 1;
            }
        }
    }

    /// The first whole chunk, and where it ends.
    fn find(&self) -> Option<(u32, usize)> {
        let start = (self.seen.windows(self.types.len())).position(|w| w == self.types)?;
        let rest = &self.seen[start + self.types.len()..];
        let length_bytes = 1 + rest.iter().position(|b| b & 0x80 == 0)?;
        let length =
            (rest[..length_bytes].iter().rev()).fold(0usize, |n, b| n << 7 | usize::from(b & 0x7f));
        let index = rest.get(length_bytes + length..)?.first_chunk()?;
        let end = start + self.types.len() + length_bytes + length + 4;
        Some((u32::from_le_bytes(*index), end))
    }
}

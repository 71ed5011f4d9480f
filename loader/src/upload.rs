//! Sending a model file, and watching the canister make it ready.

use crate::retry::retry;
use crate::shards::{DEFAULT_CHUNK_SIZE, ShardedFile};
use crate::types::{Chunk, Error as CanisterError, ModelStatus, Phase, Range};
use crate::{Client, Error, Result};
use serde_bytes::ByteBuf;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Chunks on their way at once unless told otherwise.
pub const DEFAULT_PARALLEL: usize = 8;
/// Between two looks at the status.
const WATCH: Duration = Duration::from_millis(300);

/// How to upload.
#[derive(Clone, Debug)]
pub struct UploadOptions {
    /// Bytes of a chunk; an upload that is resumed keeps its own.
    pub chunk_size: u32,
    /// Chunks on their way at once.
    pub parallel: usize,
    /// Whether a model or upload of another file may be dropped.
    pub replace: bool,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            chunk_size: DEFAULT_CHUNK_SIZE,
            parallel: DEFAULT_PARALLEL,
            replace: false,
        }
    }
}

/// What an upload is doing.
#[derive(Clone, Debug)]
pub enum Progress {
    /// The file is read and hashed (bytes).
    Hashing { done: u64, total: u64 },
    /// Chunks are sent (bytes). Those stored by an earlier try count as done.
    Sending { done: u64, total: u64 },
    /// A call failed and is tried again.
    Retrying { reason: String },
    /// The canister works on the stored file.
    Model(ModelStatus),
}

/// Uploads a file and waits until its model is ready. May be interrupted at any moment and called
/// again: what the canister has is not sent twice.
pub async fn upload(
    client: &Client,
    path: &Path,
    options: &UploadOptions,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<ModelStatus> {
    let before = client.status().await?.model;
    let file = open(path, chunk_size(path, &before, options), &mut progress)?;
    let manifest = file.manifest();
    let same = before
        .manifest
        .as_ref()
        .is_some_and(|stored| stored.sha256 == manifest.sha256);
    let needs_chunks = match before.phase {
        Phase::Verifying | Phase::Preparing | Phase::Restoring | Phase::Ready if same => false,
        Phase::Empty => true,
        Phase::Failed => {
            // What failed is of no use; the same file may work now, under other settings.
            retry(|error| progress(retrying(error)), || client.upload_abort()).await?;
            true
        }
        Phase::Uploading if same => true,
        phase if options.replace => {
            progress(Progress::Retrying {
                reason: format!("replacing a model that is {phase:?}"),
            });
            retry(|_| (), || client.upload_abort()).await?;
            true
        }
        phase => {
            let name = before
                .manifest
                .map_or_else(String::new, |stored| stored.name);
            return Err(Error::Canister(CanisterError::WrongPhase {
                phase: format!("{phase:?} with another file ({name})"),
                hint: "--replace drops it".into(),
            }));
        }
    };
    if needs_chunks {
        retry(
            |error| progress(retrying(error)),
            || client.upload_begin(manifest),
        )
        .await?;
        send_missing(
            client,
            &Arc::new(file),
            options.parallel.max(1),
            &mut progress,
        )
        .await?;
        retry(|error| progress(retrying(error)), || client.upload_commit()).await?;
    }
    watch(client, |status| progress(Progress::Model(status.clone()))).await
}

/// Waits until the canister's model is ready; fails with the canister's error where it cannot be.
pub async fn watch(client: &Client, mut progress: impl FnMut(&ModelStatus)) -> Result<ModelStatus> {
    loop {
        let status = retry(|_| (), || client.status()).await?.model;
        progress(&status);
        match status.phase {
            Phase::Ready => return Ok(status),
            Phase::Failed => {
                let unknown = || CanisterError::InvalidModel("the canister gives no reason".into());
                return Err(Error::Canister(status.error.unwrap_or_else(unknown)));
            }
            Phase::Empty | Phase::Uploading => {
                return Err(Error::Canister(CanisterError::WrongPhase {
                    phase: format!("{:?}", status.phase),
                    hint: "upload one".into(),
                }));
            }
            Phase::Verifying | Phase::Preparing | Phase::Restoring => {
                tokio::time::sleep(WATCH).await;
            }
        }
    }
}

/// An upload that is resumed has to announce what it announced first.
fn chunk_size(path: &Path, before: &ModelStatus, options: &UploadOptions) -> u32 {
    let size = path.metadata().map(|metadata| metadata.len()).ok();
    match &before.manifest {
        Some(stored) if Some(stored.size) == size => stored.chunk_size,
        _ => options.chunk_size,
    }
}

fn open(path: &Path, chunk_size: u32, progress: &mut impl FnMut(Progress)) -> Result<ShardedFile> {
    ShardedFile::open(path, chunk_size, |done, total| {
        progress(Progress::Hashing { done, total })
    })
}

fn retrying(error: &Error) -> Progress {
    Progress::Retrying {
        reason: first_line(error),
    }
}

/// An error without the backtrace that may follow.
fn first_line(error: &Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_string()
}

/// Sends what is missing, again and again until nothing is: the canister knows what it has.
async fn send_missing(
    client: &Client,
    file: &Arc<ShardedFile>,
    parallel: usize,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<()> {
    let total = file.manifest().size;
    loop {
        let missing = retry(
            |error| progress(retrying(error)),
            || client.upload_missing(),
        )
        .await?;
        let mut waiting = indices(&missing);
        let left: u64 = waiting.clone().map(|index| file.chunk_len(index)).sum();
        let mut done = total.saturating_sub(left);
        progress(Progress::Sending { done, total });
        if left == 0 {
            return Ok(());
        }
        let (failures, mut failed) = mpsc::unbounded_channel();
        let mut sending = JoinSet::new();
        loop {
            while sending.len() < parallel
                && let Some(index) = waiting.next()
            {
                sending.spawn(send(client.clone(), file.clone(), index, failures.clone()));
            }
            tokio::select! {
                Some(reason) = failed.recv() => progress(Progress::Retrying { reason }),
                sent = sending.join_next() => match sent {
                    None => break,
                    Some(Ok(bytes)) => {
                        done += bytes?;
                        progress(Progress::Sending { done, total });
                    }
                    Some(Err(error)) => {
                        return Err(Error::Unsupported(format!("sending a chunk: {error}")));
                    }
                },
            }
        }
    }
}

/// The chunk indices of all ranges, in order.
fn indices(ranges: &[Range]) -> impl Iterator<Item = u32> + Clone + use<> {
    let ranges = ranges.to_vec();
    ranges.into_iter().flat_map(|range| range.start..range.end)
}

/// Sends one chunk until it is stored; gives its length in bytes.
async fn send(
    client: Client,
    file: Arc<ShardedFile>,
    index: u32,
    failures: mpsc::UnboundedSender<String>,
) -> Result<u64> {
    let data = file.chunk(index)?;
    let bytes = data.len() as u64;
    let chunk = Chunk {
        index,
        data: ByteBuf::from(data),
    };
    let failed = |error: &Error| {
        // Nobody listens any more once another chunk has failed for good.
        let _ = failures.send(format!("chunk {index}: {}", first_line(error)));
    };
    retry(failed, || client.upload_chunk(&chunk)).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_end_exclusive() {
        let ranges = [Range { start: 0, end: 2 }, Range { start: 5, end: 6 }];
        assert_eq!(indices(&ranges).collect::<Vec<_>>(), [0, 1, 5]);
        assert_eq!(indices(&[]).count(), 0);
    }
}

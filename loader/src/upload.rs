//! Sending a model file, and watching the canister make it ready.

use crate::check;
use crate::model_file::ModelFile;
use crate::plan::Plan;
use crate::retry::retry;
use crate::shards::{DEFAULT_CHUNK_SIZE, ShardedFile};
use crate::window::Window;
use crate::{Client, Error, Result};
use interface::limits::DEFAULT_ALIAS;
use interface::{Error as CanisterError, ModelEntry, ModelStatus, Models, Phase, Range};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Pause between two queries of the status.
const WATCH: Duration = Duration::from_millis(300);

/// How to upload.
#[derive(Clone, Debug)]
pub struct UploadOptions {
    /// Size of a chunk (bytes); an upload that is resumed keeps its own.
    pub chunk_size: u32,
    /// Chunks in flight at the same time; `None`: as many as make the upload faster.
    pub parallel: Option<usize>,
    /// The model replaces the default one, which is deleted once nothing runs on it; an unfinished upload
    /// of another file is dropped.
    pub replace: bool,
    /// An alias that will mean the model when it is ready.
    pub alias: Option<String>,
    /// Checks the model, and room and cycles in the canister, before anything is sent. Without it only the
    /// canister checks the file, after it was sent.
    pub check: bool,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            chunk_size: DEFAULT_CHUNK_SIZE,
            parallel: None,
            replace: false,
            alias: None,
            check: true,
        }
    }
}

/// What an upload is doing.
#[derive(Clone, Debug)]
pub enum Progress {
    /// The file is read and hashed.
    Hashing {
        /// Bytes hashed so far.
        done: u64,
        /// Size of the file (bytes).
        total: u64,
    },
    /// Chunks are sent.
    Sending {
        /// Bytes stored so far, those of an earlier attempt included.
        done: u64,
        /// Size of the file (bytes).
        total: u64,
    },
    /// A call failed and is tried again.
    Retrying {
        /// Why it failed.
        reason: String,
    },
    /// The canister works on the stored file.
    Model(Box<ModelStatus>),
    /// An alias is pointed at the model, or another model is deleted.
    Switching {
        /// What is done, in a sentence.
        what: String,
    },
}

/// Uploads a file and waits until its model is ready; see [`upload_model`].
///
/// ```no_run
/// use loader::upload::{Progress, UploadOptions, upload};
/// use std::path::Path;
///
/// # async fn example(client: &loader::Client) -> loader::Result<()> {
/// let options = UploadOptions {
///     alias: Some("small".into()),
///     ..UploadOptions::default()
/// };
/// let status = upload(client, Path::new("model.gguf"), &options, |progress| {
///     if let Progress::Sending { done, total } = progress {
///         println!("{done} of {total} bytes");
///     }
/// })
/// .await?;
/// println!("{}", status.phase);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Those of [`upload_model`], and of [`ModelFile::open`].
pub async fn upload(
    client: &Client,
    path: &Path,
    options: &UploadOptions,
    progress: impl FnMut(Progress) + Send,
) -> Result<ModelStatus> {
    upload_model(client, ModelFile::open(&[path.into()])?, options, progress).await
}

/// Uploads a model and waits until it is ready, or stored beside the one in use. It can be interrupted at
/// any moment and called again: nothing is sent twice.
///
/// # Errors
/// - [`Error::Model`] and [`Error::BadFile`] before anything is sent: the canister could not run it.
/// - [`Error::Canister`] with `OutOfMemory` or `LowCycles` before anything is sent, with `WrongPhase` if
///   another upload is unfinished, and with what the canister says of the stored file.
pub async fn upload_model(
    client: &Client,
    model: ModelFile,
    options: &UploadOptions,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<ModelStatus> {
    let plan = if options.check {
        Some(Plan::of(&model)?)
    } else {
        None
    };
    let before = client.models().await?;
    let chunk_size = chunk_size(model.bytes(), &before, options);
    let file = ShardedFile::of(model, chunk_size, |done, total| {
        progress(Progress::Hashing { done, total })
    })?;
    let manifest = file.manifest();
    let sha256 = manifest.sha256.clone();
    let name = hex::encode(&sha256);
    let other =
        |entry: &&ModelEntry| entry.status.phase == Phase::Uploading && entry.sha256 != sha256;
    if let Some(other) = before.models.iter().find(other) {
        let other = other.status.manifest.as_ref();
        let other = other.map_or("", |stored| stored.name.as_str());
        if !options.replace {
            return Err(Error::Canister(CanisterError::WrongPhase {
                phase: format!("Uploading (another file, {other})"),
                hint: "finish it first, or drop it with --replace".into(),
            }));
        }
        progress(Progress::Switching {
            what: format!("dropping the unfinished upload of {other}"),
        });
        retry(|_| (), || client.upload_abort()).await?;
    }
    let there = |entry: &&ModelEntry| {
        entry.sha256 == sha256 && !matches!(entry.status.phase, Phase::Uploading | Phase::Failed)
    };
    if !before.models.iter().any(|entry| there(&entry)) {
        if let Some(plan) = &plan {
            check::room(client, plan, &before, &sha256).await?;
        }
        retry(
            |error| progress(retrying(error)),
            || client.upload_begin(manifest),
        )
        .await?;
        send_missing(client, &Arc::new(file), options.parallel, &mut progress).await?;
        retry(|error| progress(retrying(error)), || client.upload_commit()).await?;
    }
    let status = watch(client, &sha256, |s| {
        progress(Progress::Model(Box::new(s.clone())))
    })
    .await?;
    let alias = match (&options.alias, options.replace) {
        (Some(alias), _) => Some(alias.as_str()),
        (None, true) => Some(DEFAULT_ALIAS),
        (None, false) => None,
    };
    let status = match alias {
        None => status,
        Some(alias) => {
            progress(Progress::Switching {
                what: format!("switching {alias} to {}", name_of(&status)),
            });
            set_alias(client, alias, &name).await?;
            settled(client, alias, |s| {
                progress(Progress::Model(Box::new(s.clone())))
            })
            .await?
        }
    };
    if options.replace {
        let old = before.aliases.iter().find(|a| a.alias == DEFAULT_ALIAS);
        let old = old.map(|a| &a.model_sha256).filter(|old| **old != sha256);
        let models = client.models().await?;
        let old = old.filter(|old| models.models.iter().any(|m| m.sha256 == **old));
        if let Some(old) = old.map(hex::encode) {
            progress(Progress::Switching {
                what: "deleting the previous model when its generations have ended".into(),
            });
            delete_unused(client, &old).await?;
        }
    }
    certify(client, &sha256).await?;
    Ok(status)
}

fn name_of(status: &ModelStatus) -> String {
    status
        .manifest
        .as_ref()
        .map_or_else(String::new, |file| file.name.clone())
}

/// Points an alias at a model (named as in [`interface::AliasSetArgs`]) as soon as that is ready; see
/// [`settled`].
///
/// # Errors
/// [`Error::Canister`] with `NotFound` if there is no such model.
pub async fn set_alias(client: &Client, alias: &str, model: &str) -> Result<()> {
    retry(|_| (), || client.alias_set(alias, model)).await
}

/// Waits until an alias has been switched to its next model, if it has one, and that is ready. Returns the
/// model's status.
///
/// # Errors
/// [`Error::Canister`] with `NotFound` if there is no such alias, or with the reason why the model failed.
pub async fn settled(
    client: &Client,
    alias: &str,
    mut progress: impl FnMut(&ModelStatus),
) -> Result<ModelStatus> {
    loop {
        let models = retry(|_| (), || client.models()).await?;
        let missing = || CanisterError::NotFound(format!("there is no alias {alias}"));
        let entry = models.aliases.iter().find(|a| a.alias == alias);
        let entry = entry.ok_or_else(missing)?;
        let coming = entry.next_sha256.as_ref().unwrap_or(&entry.model_sha256);
        let found = models.models.iter().find(|m| m.sha256 == *coming);
        let status = &found.ok_or_else(missing)?.status;
        progress(status);
        match status.phase {
            Phase::Ready if entry.next_sha256.is_none() => return Ok(status.clone()),
            Phase::Failed => return Err(failure(status)),
            _ => tokio::time::sleep(WATCH).await,
        }
    }
}

fn failure(status: &ModelStatus) -> Error {
    let unknown = || CanisterError::InvalidModel("the canister does not say why".into());
    Error::Canister(status.error.clone().unwrap_or_else(unknown))
}

/// Deletes a model that no alias means, as soon as its generations have ended. A model that is not there
/// any more is deleted.
async fn delete_unused(client: &Client, model: &str) -> Result<()> {
    loop {
        match client.model_delete(model, false).await {
            Err(Error::Canister(CanisterError::Busy(text))) => {
                let models = client.models().await?;
                let entry = (models.models.iter()).find(|m| hex::encode(&m.sha256) == model);
                if entry.is_none_or(|entry| entry.generations == 0) {
                    // Another alias means it, so it stays.
                    return Err(Error::Canister(CanisterError::Busy(text)));
                }
                tokio::time::sleep(WATCH).await;
            }
            // Beginning an upload drops models that failed.
            Err(Error::Canister(CanisterError::NotFound(_))) => return Ok(()),
            Err(error) if error.is_transient() => tokio::time::sleep(WATCH).await,
            outcome => return outcome,
        }
    }
}

/// Checks that the subnet certifies that the canister holds exactly this file, which it hashed itself.
async fn certify(client: &Client, sha256: &[u8]) -> Result<()> {
    let models = retry(|_| (), || client.models_certified()).await?;
    let verified = |m: &ModelEntry| {
        m.sha256 == sha256
            && matches!(
                m.status.phase,
                Phase::Ready | Phase::Stored | Phase::Restoring
            )
    };
    if models.models.iter().any(verified) {
        return Ok(());
    }
    Err(Error::Canister(CanisterError::NotFound(format!(
        "the canister no longer holds {}",
        hex::encode(sha256)
    ))))
}

/// Waits until the model of a file is ready or stored. Returns its status.
///
/// # Errors
/// [`Error::Canister`] with the reason why the model failed, or if it was dropped.
pub async fn watch(
    client: &Client,
    sha256: &[u8],
    mut progress: impl FnMut(&ModelStatus),
) -> Result<ModelStatus> {
    loop {
        let models = retry(|_| (), || client.models()).await?;
        let entry = models.models.into_iter().find(|m| m.sha256 == sha256);
        let status = entry.map(|entry| entry.status).ok_or_else(|| {
            Error::Canister(CanisterError::NotFound(
                "the model was dropped in the meantime".into(),
            ))
        })?;
        progress(&status);
        match status.phase {
            Phase::Ready | Phase::Stored => return Ok(status),
            Phase::Failed => return Err(failure(&status)),
            Phase::Empty | Phase::Uploading => {
                return Err(Error::Canister(CanisterError::WrongPhase {
                    phase: status.phase.name(),
                    hint: "upload a model".into(),
                }));
            }
            Phase::Verifying | Phase::Preparing | Phase::Restoring => {
                tokio::time::sleep(WATCH).await;
            }
        }
    }
}

/// Returns the size of chunks (bytes): an upload that is resumed must keep the one that it began with.
fn chunk_size(size: u64, before: &Models, options: &UploadOptions) -> u32 {
    let unfinished = before
        .models
        .iter()
        .filter(|m| m.status.phase == Phase::Uploading);
    let mut files = unfinished.filter_map(|m| m.status.manifest.as_ref());
    let same = files.find(|stored| stored.size == size);
    same.map_or(options.chunk_size, |stored| stored.chunk_size)
}

fn retrying(error: &Error) -> Progress {
    Progress::Retrying {
        reason: first_line(error),
    }
}

/// Returns an error's text without the backtrace that may follow.
fn first_line(error: &Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_string()
}

/// Sends what is missing until nothing is: the canister knows what it has.
async fn send_missing(
    client: &Client,
    file: &Arc<ShardedFile>,
    parallel: Option<usize>,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<()> {
    let total = file.manifest().size;
    let mut window = Window::new(parallel);
    loop {
        // As an update call it comes after everything that another run has sent.
        let missing = retry(
            |error| progress(retrying(error)),
            || client.upload_missing_certified(),
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
            while sending.len() < window.size()
                && let Some(index) = waiting.next()
            {
                sending.spawn(send(client.clone(), file.clone(), index, failures.clone()));
            }
            tokio::select! {
                Some(reason) = failed.recv() => {
                    window.failed();
                    progress(Progress::Retrying { reason });
                }
                sent = sending.join_next() => match sent {
                    None => break,
                    Some(Ok(bytes)) => {
                        let bytes = bytes?;
                        window.sent(bytes);
                        done += bytes;
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

/// Returns the numbers of all chunks in ranges, in order.
fn indices(ranges: &[Range]) -> impl Iterator<Item = u32> + Clone + use<> {
    let ranges = ranges.to_vec();
    ranges.into_iter().flat_map(|range| range.start..range.end)
}

/// Sends one chunk until it is stored. Returns its length (bytes).
async fn send(
    client: Client,
    file: Arc<ShardedFile>,
    index: u32,
    failures: mpsc::UnboundedSender<String>,
) -> Result<u64> {
    let data = file.chunk(index)?;
    let bytes = data.len() as u64;
    let failed = |error: &Error| {
        // Nobody listens once another chunk has failed for good.
        let _ = failures.send(format!("chunk {index}: {}", first_line(error)));
    };
    retry(failed, || client.upload_chunk(index, &data)).await?;
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

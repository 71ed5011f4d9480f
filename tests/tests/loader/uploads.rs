//! Uploads go on where they were interrupted, survive a bad network, and replace only when told.

use crate::proxy::Proxy;
use anyhow::{Result, bail};
use e2e::Testbed;
use interface::{Error as CanisterError, ModelStatus, Phase};
use loader::shards::ShardedFile;
use loader::upload::{Progress, UploadOptions, upload};
use loader::{Client, Error, Network};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// The bytes that count as stored, and whether chunks were sent, as an upload tells.
#[derive(Default)]
struct Sent {
    first: Option<u64>,
    last: u64,
}

impl Sent {
    fn note(&mut self, progress: &Progress) {
        if let Progress::Sending { done, .. } = progress {
            self.first.get_or_insert(*done);
            self.last = *done;
        }
    }
}

#[tokio::test]
async fn an_interrupted_upload_goes_on_where_it_was() -> Result<()> {
    let testbed = Testbed::start()?;
    let client = testbed.install().await?;
    let model = e2e::model()?;
    let size = model.metadata()?.len();

    // Dropped in the middle, chunks on their way.
    let options = UploadOptions::default();
    let (half, reached) = tokio::sync::oneshot::channel();
    let half = Mutex::new(Some(half));
    let interrupted = upload(&client, &model, &options, |progress| {
        if let Progress::Sending { done, total } = progress
            && done > total / 2
            && let Some(half) = half.lock().ok().and_then(|mut half| half.take())
        {
            let _ = half.send(());
        }
    });
    tokio::select! {
        outcome = interrupted => bail!("ended before it was interrupted: {outcome:?}"),
        _ = reached => {}
    }
    let status = client.status().await?;
    assert_eq!(status.model.phase, Phase::Uploading);
    let missing: u32 = client
        .upload_missing()
        .await?
        .iter()
        .map(|range| range.end - range.start)
        .sum();
    assert!(missing > 0, "everything was there already");

    // Another try, also when it asks for other chunks, sends the rest only.
    let other = UploadOptions {
        chunk_size: 1_000_000,
        ..options.clone()
    };
    let mut sent = Sent::default();
    let model_status = upload(&client, &model, &other, |progress| sent.note(&progress)).await?;
    assert_eq!(model_status.phase, Phase::Ready);
    assert!(
        sent.first.is_some_and(|first| first > size / 2),
        "{:?} of {size}",
        sent.first
    );
    assert_eq!(sent.last, size);

    // A third finds everything done.
    let mut sent = Sent::default();
    upload(&client, &model, &options, |progress| sent.note(&progress)).await?;
    assert_eq!(sent.first, None);
    Ok(())
}

#[tokio::test]
async fn an_upload_survives_a_bad_network() -> Result<()> {
    let testbed = Testbed::start()?;
    let canister = testbed.install().await?.canister();
    let proxy = Proxy::start(&testbed.url()).await?;
    let network = Network::connect(&proxy.url, e2e::controller()).await?;
    let client = Client::new(network, canister);
    let mut phases = BTreeSet::new();
    let status = upload(
        &client,
        &e2e::model()?,
        &UploadOptions::default(),
        |progress| {
            if let Progress::Model(status) = progress {
                phases.insert(format!("{:?}", status.phase));
            }
        },
    )
    .await?;
    assert_eq!(status.phase, Phase::Ready);
    assert!(phases.contains("Ready"), "{phases:?}");
    assert!(proxy.cuts() > 0, "the network was fine");
    Ok(())
}

#[tokio::test]
async fn another_file_replaces_only_when_told() -> Result<()> {
    let testbed = Testbed::start()?;
    let client = testbed.install().await?;
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    std::fs::write(&first, [1; 10_000])?;
    std::fs::write(&second, [2; 20_000])?;

    // An upload under way is kept. (Nothing is checked here, so that the canister has to do it.)
    let options = UploadOptions {
        check: false,
        ..UploadOptions::default()
    };
    let shards = ShardedFile::open(&first, options.chunk_size, |_, _| ())?;
    client.upload_begin(shards.manifest()).await?;
    let refused = upload(&client, &second, &options, |_| ()).await;
    assert!(
        matches!(
            refused,
            Err(Error::Canister(CanisterError::WrongPhase { .. }))
        ),
        "{refused:?}"
    );
    assert_eq!(stored(&client).await?, Some(10_000));

    // Unless told otherwise. No model is in this file, which the canister finds out.
    let replace = UploadOptions {
        replace: true,
        ..options.clone()
    };
    no_model(upload(&client, &second, &replace, |_| ()).await);
    assert_eq!(stored(&client).await?, Some(20_000));

    // What failed is in nobody's way: not in its own, and not in another's.
    no_model(upload(&client, &second, &options, |_| ()).await);
    no_model(upload(&client, &first, &options, |_| ()).await);
    assert_eq!(stored(&client).await?, Some(10_000));
    Ok(())
}

/// Bytes of the file that the canister has.
async fn stored(client: &Client) -> Result<Option<u64>> {
    Ok(client.status().await?.model.manifest.map(|file| file.size))
}

fn no_model(outcome: loader::Result<ModelStatus>) {
    assert!(
        matches!(
            outcome,
            Err(Error::Canister(CanisterError::InvalidModel(_)))
        ),
        "{outcome:?}"
    );
}

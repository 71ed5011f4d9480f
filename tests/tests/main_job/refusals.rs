//! Bad input gets a typed error that says what to do; nothing stored is lost; the canister answers
//! afterwards.

use anyhow::Result;
use e2e::chats::{ask, chat, greedy, prompt, refusal, until_ready};
use interface::{Error, GenerateArgs, GenerationState, Input, Manifest, Options, Phase};
use loader::Client;
use loader::shards::ShardedFile;
use serde_bytes::ByteBuf;

/// A manifest of `bytes` in chunks of `chunk_size`, true to them.
fn manifest(bytes: &[u8], chunk_size: u32) -> Result<(Manifest, Vec<Vec<u8>>)> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), bytes)?;
    let shards = ShardedFile::open(file.path(), chunk_size, |_, _| ())?;
    let manifest = shards.manifest().clone();
    let chunks = (0..manifest.checksums.len() as u32)
        .map(|index| Ok(shards.chunk(index)?))
        .collect::<Result<_>>()?;
    Ok((manifest, chunks))
}

/// Uploads `bytes` and gives the error the model ends with.
async fn failure_of(client: &Client, bytes: &[u8]) -> Result<Error> {
    client.upload_abort().await?;
    let (manifest, chunks) = manifest(bytes, 1_000_000)?;
    client.upload_begin(&manifest).await?;
    for (index, chunk) in (0..).zip(&chunks) {
        client.upload_chunk(index, chunk).await?;
    }
    client.upload_commit().await?;
    until_ready(client)
        .await
        .expect_err("a bad file became ready");
    let model = client.status().await?.model;
    assert_eq!(model.phase, Phase::Failed);
    model
        .error
        .ok_or_else(|| anyhow::anyhow!("no error in the status"))
}

/// The first `n` bytes of the real model.
fn beginning(n: usize) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = vec![0; n];
    std::fs::File::open(e2e::model()?)?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_are_wrong() -> Result<()> {
    let testbed = e2e::Testbed::start()?;
    let client = testbed.install().await?;
    let bytes: Vec<u8> = (0..10_000u32).map(|i| (i * 7) as u8).collect();
    let (manifest, chunks) = manifest(&bytes, 4_000)?;

    // Before anything is there.
    assert!(matches!(
        refusal(client.upload_chunk(0, &chunks[0]).await)?,
        Error::WrongPhase { .. }
    ));
    assert!(matches!(
        refusal(client.generate(prompt("Hello"), None).await)?,
        Error::WrongPhase { .. }
    ));

    // Manifests that do not fit themselves.
    for change in [
        |m: &mut Manifest| m.size = 0,
        |m: &mut Manifest| m.chunk_size = 0,
        |m: &mut Manifest| m.chunk_size = u32::MAX,
        |m: &mut Manifest| m.checksums.truncate(1),
        |m: &mut Manifest| m.sha256 = ByteBuf::from([1; 31]),
        |m: &mut Manifest| m.name.clear(),
        |m: &mut Manifest| m.size = u64::MAX,
    ] {
        let mut bad = manifest.clone();
        change(&mut bad);
        assert!(matches!(
            refusal(client.upload_begin(&bad).await)?,
            Error::InvalidArgument(_)
        ));
    }

    // Somebody who is no controller.
    for identity in [e2e::stranger(), e2e::anonymous()] {
        let other = testbed.client_as(client.canister(), identity).await?;
        for refused in [
            refusal(other.upload_begin(&manifest).await)?,
            refusal(other.upload_chunk(0, &chunks[0]).await)?,
            refusal(other.upload_commit().await)?,
            refusal(other.upload_abort().await)?,
            refusal(other.set_config(Default::default()).await)?,
        ] {
            assert!(matches!(refused, Error::Unauthorized(_)), "{refused:?}");
        }
    }

    // Wrong chunks are refused with their index, and change nothing.
    client.upload_begin(&manifest).await?;
    client.upload_chunk(1, &chunks[1]).await?;
    let mut wrong = chunks[0].clone();
    wrong[5] ^= 1;
    for (chunk, index) in [
        (wrong, 0),
        (chunks[2].clone(), 0),
        (chunks[2].clone(), 3),
        (Vec::new(), u32::MAX),
    ] {
        match refusal(client.upload_chunk(index, &chunk).await)? {
            Error::WrongChunk { index: i, .. } => assert_eq!(i, index),
            other => panic!("{other:?}"),
        }
    }
    // A commit before every chunk is there.
    match refusal(client.upload_commit().await)? {
        Error::MissingChunks { first, count } => assert_eq!((first, count), (vec![0, 2], 2)),
        other => panic!("{other:?}"),
    }
    let missing = client.upload_missing().await?;
    let missing: Vec<u32> = missing.iter().flat_map(|r| r.start..r.end).collect();
    assert_eq!(missing, [0, 2]);
    // Another file does not push this one out.
    let (other, _) = self::manifest(&bytes[1..], 4_000)?;
    assert!(matches!(
        refusal(client.upload_begin(&other).await)?,
        Error::WrongPhase { .. }
    ));

    // A file that is not the one announced.
    let mut lying = manifest.clone();
    lying.sha256 = ByteBuf::from([9; 32]);
    client.upload_abort().await?;
    client.upload_begin(&lying).await?;
    for (index, chunk) in (0..).zip(&chunks) {
        client.upload_chunk(index, chunk).await?;
    }
    client.upload_commit().await?;
    until_ready(&client).await.expect_err("the hash is wrong");
    assert!(matches!(
        client.status().await?.model.error,
        Some(Error::HashMismatch { .. })
    ));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_models() -> Result<()> {
    let testbed = e2e::Testbed::start()?;
    let client = testbed.install().await?;
    let head = beginning(3_000_000)?;

    let noise: Vec<u8> = (0..100_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8)
        .collect();
    assert!(matches!(
        failure_of(&client, &noise).await?,
        Error::InvalidModel(_)
    ));
    // Truncated: within the header, and within the tensors.
    assert!(matches!(
        failure_of(&client, &head[..500_000]).await?,
        Error::InvalidModel(_)
    ));
    let truncated = failure_of(&client, &head).await?;
    assert!(
        matches!(&truncated, Error::InvalidModel(m) if m.contains("truncated")),
        "{truncated:?}"
    );
    // Lengths beyond all bounds.
    for (at, what) in [(8, "tensors"), (16, "metadata"), (24, "key")] {
        let mut corrupt = head[..200_000].to_vec();
        corrupt[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        let error = failure_of(&client, &corrupt).await?;
        assert!(matches!(error, Error::InvalidModel(_)), "{what}: {error:?}");
    }
    // Another architecture: the same file with another name in it.
    let key = b"general.architecture";
    let at = head
        .windows(key.len())
        .position(|w| w == key)
        .expect("the key is there");
    let mut other = std::fs::read(e2e::model()?)?;
    let name = at + key.len() + 4 + 8;
    other[name..name + 5].copy_from_slice(b"mamba");
    match failure_of(&client, &other).await? {
        Error::UnsupportedModel(m) => assert!(m.contains("mamba"), "{m}"),
        other => panic!("{other:?}"),
    }

    // After all that the real one works.
    client.upload_abort().await?;
    e2e::upload_file(&client, &e2e::model()?).await?;
    assert_eq!(
        ask(&client, chat("Hello"), greedy(4))
            .await?
            .generated_tokens,
        4
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_cannot_be_answered() -> Result<()> {
    let client = e2e::shared().await?;

    for input in [prompt(""), Input::Chat(vec![])] {
        let refused = refusal(client.generate(input, None).await)?;
        assert!(matches!(refused, Error::InvalidArgument(_)), "{refused:?}");
    }
    match refusal(client.generate(prompt(&"word ".repeat(9_000)), None).await)? {
        Error::PromptTooLong {
            prompt_tokens,
            max_prompt_tokens,
        } => {
            assert_eq!((prompt_tokens, max_prompt_tokens), (9_001, 8_191));
        }
        other => panic!("{other:?}"),
    }
    // More than a message may have: the client says so before it sends anything, and the canister
    // refuses it from others.
    let long = prompt(&"a".repeat(1_500_000));
    match client.generate(long.clone(), None).await {
        Err(loader::Error::TooLarge { bytes, limit, .. }) => assert!(bytes > limit),
        other => panic!("{other:?}"),
    }
    let arguments = candid::encode_one(GenerateArgs {
        input: long,
        ..GenerateArgs::default()
    })?;
    let agent = &client.network().agent;
    let call = agent.update(&client.canister(), "generate");
    let refused = call.with_arg(arguments).call_and_wait().await;
    let text = refused.expect_err("a message of 1.5 MB").to_string();
    let long = interface::refusal::decode(&text);
    assert!(matches!(long, Some(Error::InvalidArgument(_))), "{text}");
    let some = |change: fn(&mut Options)| {
        let mut o = Options::default();
        change(&mut o);
        Some(o)
    };
    for options in [
        some(|o| o.temperature = Some(-1.0)),
        some(|o| o.temperature = Some(f32::NAN)),
        some(|o| o.top_p = Some(1.5)),
        some(|o| o.repetition_penalty = Some(0.0)),
        some(|o| o.max_tokens = Some(0)),
        some(|o| o.stop = Some(vec![String::new()])),
    ] {
        let refused = refusal(client.generate(prompt("Hello"), options).await)?;
        assert!(matches!(refused, Error::InvalidArgument(_)), "{refused:?}");
    }
    assert!(matches!(
        refusal(client.generation(u64::MAX, 0, 0).await)?,
        Error::NotFound(_)
    ));
    assert!(matches!(
        refusal(client.cancel(u64::MAX).await)?,
        Error::NotFound(_)
    ));

    // Odd texts are fine.
    for text in [
        "\u{0}",
        "<|im_end|><|im_start|>",
        "   \n\n\t  ",
        "🦀é世\u{202e}",
        "\u{F8FE}",
    ] {
        let answer = ask(&client, chat(text), greedy(2)).await?;
        assert!(answer.generated_tokens <= 2);
    }

    // A cancelled generation ends at once and frees its place; what it had produced can be read.
    let started = client
        .generate(prompt("Once upon a time"), greedy(2_000))
        .await?;
    let look = e2e::chats::until(&client, started.id, |g| g.generated_tokens > 0).await?;
    client.cancel(started.id).await?;
    let after = client.generation(started.id, 0, 0).await?;
    assert!(matches!(
        after.state,
        GenerationState::Failed(Error::Cancelled)
    ));
    assert!(after.text.starts_with(&look.text));
    client.cancel(started.id).await?;

    // Two at once, one call each.
    let (a, b) = tokio::join!(
        client.prompt("Name a fruit."),
        client.prompt("Name a river.")
    );
    let (a, b) = (a?, b?);
    assert!(a.generated_tokens > 0 && b.generated_tokens > 0 && a.id != b.id);
    // A stop string ends the text before it.
    let whole = ask(&client, prompt("One, two, three, four,"), greedy(24)).await?;
    let stop = whole.text.chars().skip(12).take(3).collect::<String>();
    let options = Options {
        stop: Some(vec![stop.clone()]),
        max_tokens: Some(24),
        ..Options::default()
    };
    let cut = ask(&client, prompt("One, two, three, four,"), Some(options)).await?;
    assert_eq!(Some(cut.text.as_str()), whole.text.split(&stop).next());
    // The same seed draws the same tokens; without one a seed is drawn and told.
    let warm = |seed| Options {
        temperature: Some(1.0),
        max_tokens: Some(12),
        seed,
        ..Options::default()
    };
    let first = ask(&client, prompt("The weather"), Some(warm(None))).await?;
    let again = ask(&client, prompt("The weather"), Some(warm(Some(first.seed)))).await?;
    assert_eq!(first.token_ids, again.token_ids);
    let other = ask(&client, prompt("The weather"), Some(warm(None))).await?;
    assert_ne!(other.seed, first.seed);
    Ok(())
}

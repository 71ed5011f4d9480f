//! Models in several files are uploaded as the one file they are.

use anyhow::{Result, ensure};
use e2e::Testbed;
use e2e::chats::{ask, greedy, prompt};
use e2e::tiny_model::Tiny;
use loader::model_file::ModelFile;
use loader::upload::{UploadOptions, upload_model};
use std::path::{Path, PathBuf};
use weights::GgufFile;

/// Cuts a GGUF file as llama.cpp's gguf-split does: the metadata in the first part, tensors in all.
fn split(whole: &[u8], parts: usize, folder: &Path) -> Result<Vec<PathBuf>> {
    let file = GgufFile::read(whole)?;
    let mut names: Vec<&String> = file.tensors.keys().collect();
    names.sort_by_key(|name| file.tensors[*name].offset);
    // The tensors' entries and the metadata, as bytes.
    let metadata = 24..entries_start(whole, names[0])?;
    let count = u64::from_le_bytes(whole[16..24].try_into()?);
    let string = |out: &mut Vec<u8>, s: &str| {
        out.extend((s.len() as u64).to_le_bytes());
        out.extend(s.as_bytes());
    };
    let mut paths = Vec::new();
    for (n, some) in names.chunks(names.len().div_ceil(parts)).enumerate() {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((some.len() as u64).to_le_bytes());
        out.extend((if n == 0 { count + 3 } else { 3 }).to_le_bytes());
        if n == 0 {
            out.extend(&whole[metadata.clone()]);
        }
        for (key, value) in [("split.no", n), ("split.count", parts)] {
            string(&mut out, key);
            out.extend(2u32.to_le_bytes());
            out.extend((value as u16).to_le_bytes());
        }
        string(&mut out, "split.tensors.count");
        out.extend(5u32.to_le_bytes());
        out.extend((names.len() as u32).to_le_bytes());
        let mut data = Vec::new();
        for name in some {
            let info = &file.tensors[*name];
            let entry = entry(whole, name)?;
            out.extend(&entry[..entry.len() - 8]);
            out.extend((data.len() as u64).to_le_bytes());
            data.extend(&whole[info.offset as usize..(info.offset + info.bytes) as usize]);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        let path = folder.join(format!("tiny-{:05}-of-{parts:05}.gguf", n + 1));
        std::fs::write(&path, out)?;
        paths.push(path);
    }
    Ok(paths)
}

fn position(whole: &[u8], name: &str) -> Result<usize> {
    let mut spelled = (name.len() as u64).to_le_bytes().to_vec();
    spelled.extend(name.as_bytes());
    let found = whole.windows(spelled.len()).position(|w| w == spelled);
    found.ok_or_else(|| anyhow::anyhow!("{name} is not there"))
}

/// The bytes of a tensor's entry: name, dimensions, type, offset.
fn entry<'a>(whole: &'a [u8], name: &str) -> Result<&'a [u8]> {
    let start = position(whole, name)?;
    let at = start + 8 + name.len();
    let dims = u32::from_le_bytes(whole[at..at + 4].try_into()?) as usize;
    Ok(&whole[start..at + 4 + 8 * dims + 4 + 8])
}

/// Where the metadata ends: the first tensor's entry.
fn entries_start(whole: &[u8], any: &str) -> Result<usize> {
    let file = GgufFile::read(whole)?;
    let mut first = position(whole, any)?;
    for name in file.tensors.keys() {
        first = first.min(position(whole, name)?);
    }
    Ok(first)
}

#[tokio::test]
async fn a_split_model_says_what_the_whole_says() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bytes = Tiny::default().bytes()?;
    let whole = folder.path().join("whole.gguf");
    std::fs::write(&whole, &bytes)?;
    let testbed = Testbed::start()?;
    let client = testbed.install().await?;
    e2e::upload_file(&client, &whole).await?;
    let expected = ask(&client, prompt("On and on"), greedy(20)).await?;

    // Split by llama.cpp's rules: the first file's name is enough.
    let parts = split(&bytes, 3, folder.path())?;
    let model = ModelFile::open(&parts[..1])?;
    ensure!(
        model.name == "tiny.gguf" && model.paths == parts,
        "{model:?}"
    );
    let client = testbed.install().await?;
    upload_model(&client, model, &UploadOptions::default(), |_| ()).await?;
    let answer = ask(&client, prompt("On and on"), greedy(20)).await?;
    ensure!(answer.token_ids == expected.token_ids);
    // A part alone is none.
    ensure!(ModelFile::open(&parts[1..2]).is_err());

    // Cut by size: it is the very same file, which the canister has by now.
    let cut: Vec<PathBuf> = (0..)
        .zip(bytes.chunks(100_000))
        .map(|(n, chunk)| {
            let path = folder.path().join(format!("whole.gguf.{n:02}"));
            std::fs::write(&path, chunk)?;
            Ok(path)
        })
        .collect::<Result<_>>()?;
    ensure!(cut.len() > 1);
    let model = ModelFile::open(&cut)?;
    ensure!(model.name == "whole.gguf");
    let client = testbed.install().await?;
    upload_model(&client, model, &UploadOptions::default(), |_| ()).await?;
    let stored = client.models().await?.models;
    e2e::upload_file(&client, &whole).await?;
    ensure!(
        client.models().await?.models == stored,
        "it was stored twice"
    );
    Ok(())
}

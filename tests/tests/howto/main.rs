//! The howtos of `docs/howto`: each was followed once, and the change is a patch. A patch touches
//! only files that its howto names, and the tree with all of them compiles, tests included.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const HOWTOS: [&str; 4] = [
    "add-an-architecture",
    "add-a-quantization",
    "add-an-endpoint",
    "add-a-stored-type",
];

#[test]
fn every_howto_has_a_patch() -> Result<()> {
    for (folder, extension) in [("docs/howto", "md"), ("tests/data/howto", "patch")] {
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(root().join(folder))? {
            let path = entry?.path();
            ensure!(path.extension().is_some_and(|e| e == extension), "{path:?}");
            found.insert(path.file_stem().context("a name")?.to_owned());
        }
        ensure!(
            found == HOWTOS.map(Into::into).into(),
            "{folder}: {found:?}"
        );
    }
    Ok(())
}

#[test]
fn a_patch_touches_only_the_files_that_its_howto_names() -> Result<()> {
    for name in HOWTOS {
        let listed = listed_files(&read(&page(name))?);
        ensure!(listed.len() > 5, "{name} lists {listed:?}");
        let touched = touched_files(&read(&patch(name))?);
        ensure!(!touched.is_empty(), "{name}: an empty patch");
        for file in touched {
            let named = listed.iter().any(|pattern| matches(pattern, &file));
            ensure!(named, "{name} touches {file}, which the page does not name");
        }
    }
    Ok(())
}

#[test]
fn files_that_a_howto_names_exist() -> Result<()> {
    for name in HOWTOS {
        for file in listed_files(&read(&page(name))?) {
            let known = file.contains('<') || root().join(&file).is_file();
            ensure!(known, "{name} names {file}, which is not there");
        }
    }
    Ok(())
}

#[test]
fn the_tree_with_every_patch_compiles() -> Result<()> {
    let copy = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("howto");
    if copy.exists() {
        std::fs::remove_dir_all(&copy)?;
    }
    copy_tracked(&copy)?;
    for name in HOWTOS {
        run(Command::new("git")
            .args(["apply", "--whitespace=error"])
            .arg(patch(name))
            .current_dir(&copy)
            // Without it git takes the surrounding checkout for the place to patch.
            .env("GIT_CEILING_DIRECTORIES", env!("CARGO_TARGET_TMPDIR")))
        .with_context(|| format!("{name}.patch"))?;
    }
    run(Command::new(env!("CARGO"))
        .args(["check", "--release", "--offline", "--tests", "--quiet"])
        .args(["-p", "weights", "-p", "engine", "-p", "interface"])
        .args(["-p", "llm-canister", "-p", "loader"])
        .current_dir(&copy)
        .env("CARGO_TARGET_DIR", root().join("target"))
        .env_remove("RUSTC_BOOTSTRAP"))
}

#[test]
fn placeholders_stand_for_one_part_of_a_path() {
    assert!(matches("a/<name>.rs", "a/b.rs"));
    assert!(matches("golden/<Type>-1.hex", "golden/Note-1.hex"));
    assert!(!matches("a/<name>.rs", "a/b/c.rs"));
    assert!(!matches("a/b.rs", "a/c.rs"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> PathBuf {
    root().join("docs/howto").join(name).with_extension("md")
}

fn patch(name: &str) -> PathBuf {
    let folder = root().join("tests/data/howto");
    folder.join(name).with_extension("patch")
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// The files of the numbered list below `## Files`, with placeholders such as `<topic>`.
fn listed_files(page: &str) -> Vec<String> {
    let section = page.split("\n## ").find(|part| part.starts_with("Files"));
    let lines = section.unwrap_or_default().lines();
    lines
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .filter_map(|line| Some(line.split('`').nth(1)?.to_owned()))
        .collect()
}

fn touched_files(patch: &str) -> Vec<String> {
    let lines = patch.lines();
    lines
        .filter_map(|line| Some(line.strip_prefix("+++ b/")?.to_owned()))
        .collect()
}

/// Whether a path is what a pattern with at most one placeholder stands for.
fn matches(pattern: &str, path: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('<') else {
        return pattern == path;
    };
    let after = rest.split_once('>').map_or("", |(_, after)| after);
    path.strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after))
        .is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Copies the sources: what git tracks, and new files that it does not ignore.
fn copy_tracked(to: &Path) -> Result<()> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()?;
    ensure!(listed.status.success(), "git ls-files");
    for name in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        let (source, target) = (root().join(name), to.join(name));
        if source.is_file() {
            std::fs::create_dir_all(target.parent().context("a folder")?)?;
            std::fs::copy(source, target)?;
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {errors}");
    Ok(())
}

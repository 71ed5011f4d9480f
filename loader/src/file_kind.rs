//! What a file is that was given as a model and is no GGUF file that can be read.

/// How many bytes of a file's beginning [`describe`] looks at.
pub const HEAD_BYTES: usize = 16 << 10;

/// First bytes of kinds of files, what they are, and what to do.
const MAGIC: [(&[u8], &str); 23] = [
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the model that it points to: run `git lfs pull`, or download the file itself",
    ),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"\xfd7zXZ\0", "an xz archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first"),
    (b"\x04\x22\x4d\x18", "an LZ4 archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (
        b"\x89HDF",
        "an HDF5 file (Keras or TensorFlow): convert it to GGUF",
    ),
    (
        b"\0asm",
        "a WebAssembly module, such as the canister's own code",
    ),
    (b"\x7fELF", "a program"),
    (
        b"MZ",
        "a Windows program, such as a llamafile: use its GGUF file",
    ),
    (b"%PDF", "a PDF document"),
    (b"\x93NUMPY", "a NumPy array: convert the model to GGUF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"lmgg", OLD),
    (b"fmgg", OLD),
    (b"tjgg", OLD),
    (b"algg", OLD),
    (b"ggml", OLD),
    (b"FUGG", BIG_ENDIAN),
    (b"-----BEGIN ", "a key or a certificate"),
];

const OLD: &str = "a model file of an older format (GGML, GGMF, GGJT or GGLA), which GGUF replaced in 2023: \
                   download a GGUF file, or convert the original model";
const BIG_ENDIAN: &str = "a GGUF file in big-endian byte order: convert it to little-endian with \
                          gguf_convert_endian.py of llama.cpp, or download a little-endian one";
const PYTORCH: &str = "convert the model to GGUF with convert_hf_to_gguf.py of llama.cpp";

/// Returns what a file is, and what to do, if it is no little-endian GGUF file of version 2 or 3; `None`
/// if it begins as one.
///
/// `head` is the beginning of the file: [`HEAD_BYTES`], or all of a shorter file.
///
/// ```
/// use loader::file_kind::describe;
///
/// assert_eq!(describe(b"GGUF\x03\0\0\0"), None);
/// assert!(describe(b"<!DOCTYPE html>").is_some_and(|said| said.contains("HTML")));
/// ```
pub fn describe(head: &[u8]) -> Option<String> {
    if let Some(version) = head.strip_prefix(b"GGUF") {
        return gguf(version);
    }
    let known = MAGIC.iter().find(|(magic, _)| head.starts_with(magic));
    Some(match known {
        Some((_, what)) => format!("this is {what}"),
        None => other(head),
    })
}

/// A file that begins as GGUF: what is wrong with its version (GGUF specification, "File Structure").
fn gguf(version: &[u8]) -> Option<String> {
    let Some(version) = version.first_chunk() else {
        return Some("the file ends within its first 8 bytes: the download is incomplete".into());
    };
    let (little, big) = (u32::from_le_bytes(*version), u32::from_be_bytes(*version));
    match little {
        2 | 3 => None,
        _ if (1..=0xffff).contains(&big) => Some(format!("this is {BIG_ENDIAN}")),
        1 => Some(
            "this is a GGUF file of version 1, expected version 2 or 3: download a newer file, or convert \
             the original model again"
                .into(),
        ),
        other => Some(format!(
            "this is a GGUF file of version {other}, expected version 2 or 3"
        )),
    }
}

fn other(head: &[u8]) -> String {
    let holds = |what: &[u8]| head.windows(what.len()).any(|w| w == what);
    if head.is_empty() {
        return "the file is empty".into();
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return if holds(b"data.pkl") || holds(b"/version") {
            format!("this is a PyTorch checkpoint (a zip archive): {PYTORCH}")
        } else {
            "this is a zip archive: unpack it and use the GGUF file in it".into()
        };
    }
    if head.get(257..262) == Some(b"ustar") {
        return "this is a tar archive: unpack it and use the GGUF file in it".into();
    }
    if head.get(4..8) == Some(b"TFL3") {
        return "this is a TensorFlow Lite model: GGUF is read".into();
    }
    // safetensors: the length of a JSON header (64 bits), then the header.
    if let Some(length) = head.first_chunk()
        && (2..=100_000_000).contains(&u64::from_le_bytes(*length))
        && head.get(8) == Some(&b'{')
    {
        return format!("this is a safetensors file: {PYTORCH}");
    }
    // Pickle: opcode PROTO and a version.
    if matches!(head, [0x80, 2..=5, ..]) {
        return format!("this is a Python pickle (a PyTorch checkpoint): {PYTORCH}");
    }
    if head.iter().all(|byte| *byte == 0) {
        return "the file begins with zeros only: the download did not finish".into();
    }
    match text(head) {
        Some(text) => text_kind(text),
        None => {
            let first: Vec<String> = head.iter().take(4).map(|b| format!("{b:02x}")).collect();
            format!(
                "this is no GGUF file: it begins with the bytes {}, expected 47 47 55 46 (\"GGUF\")",
                first.join(" ")
            )
        }
    }
}

/// Returns the beginning of a file as text, if it is text.
fn text(head: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The beginning may end within a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}');
    text.chars().all(printable).then_some(text)
}

fn text_kind(text: &str) -> String {
    let start = text.trim_start_matches('\u{feff}').trim_start();
    let lower: String = start.chars().take(2_000).collect::<String>().to_lowercase();
    let html = ["<!doctype html", "<html", "<head", "<body"];
    if html.iter().any(|tag| lower.starts_with(tag))
        || (lower.starts_with('<') && lower.contains("<html"))
    {
        return "this is an HTML page, not a model: the address leads to a web page (often one to sign in \
                or to accept a licence); download the file itself"
            .into();
    }
    if lower.starts_with('<') {
        return "this is an XML document, often the error message of a download: download the file again"
            .into();
    }
    if lower.starts_with(['{', '[']) {
        return "this is a JSON file, not a model: settings of one, or the error message of a download"
            .into();
    }
    let line: String = start
        .lines()
        .next()
        .unwrap_or("")
        .chars()
        .take(60)
        .collect();
    format!("this is a text file, not a model: it begins with \"{line}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(head: &[u8]) -> String {
        describe(head).unwrap_or_else(|| panic!("{head:?} is taken for GGUF"))
    }

    #[test]
    fn gguf_files_are_told_by_version_and_byte_order() {
        assert_eq!(describe(b"GGUF\x03\0\0\0rest"), None);
        assert_eq!(describe(b"GGUF\x02\0\0\0rest"), None);
        assert!(said(b"GGUF\x01\0\0\0").contains("version 1"));
        assert!(said(b"GGUF\x63\0\0\0").contains("version 99"));
        assert!(said(b"GGUF\0\0\0\x03").contains("big-endian"));
        assert!(said(b"FUGG\0\0\0\x03").contains("big-endian"));
        assert!(said(b"GGUF\x03").contains("incomplete"));
    }

    #[test]
    fn each_kind_of_file_is_named() {
        let mut tar = vec![0; 512];
        tar[..5].copy_from_slice(b"a.txt");
        tar[257..262].copy_from_slice(b"ustar");
        let safetensors = [&40u64.to_le_bytes()[..], b"{\"a\":{\"dtype\":\"F32\"}}"].concat();
        let cases: [(&[u8], &str); 25] = [
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
                "LFS",
            ),
            (b"<!DOCTYPE html><html>", "HTML"),
            (b"\xef\xbb\xbf\n  <HTML lang=en>", "HTML"),
            (b"<!-- cached --><html>", "HTML"),
            (
                b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>",
                "XML",
            ),
            (b"{\"error\": \"Invalid credentials\"}", "JSON"),
            (b"Entry not found", "Entry not found"),
            (b"PK\x03\x04rest of a zip", "zip archive: unpack"),
            (b"PK\x03\x04archive/data.pkl", "PyTorch"),
            (b"\x80\x02}q\0X", "pickle"),
            (&safetensors, "safetensors"),
            (&tar, "tar"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
            (b"tjgg\x03\0\0\0", "older format"),
            (b"lmgg", "older format"),
            (b"\x89HDF\r\n", "HDF5"),
            (b"\0asm\x01\0\0\0", "WebAssembly"),
            (b"\x7fELF", "program"),
            (b"", "empty"),
            (&[0; 100], "zeros"),
            (b"\xff\xfe\0\x01", "ff fe 00 01"),
            (b"\x1c\0\0\0TFL3", "TensorFlow"),
            (b"h\xc3\xa9llo w\xc3", "text file"),
        ];
        for (head, words) in cases {
            let said = said(head);
            assert!(said.contains(words), "{said:?} does not say {words:?}");
        }
    }
}

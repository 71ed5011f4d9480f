//! What a file that was given as a key holds instead of a private key that can sign calls.

/// How to make a key that can.
const MAKE: &str = "use an ed25519, secp256k1 or P-256 key: `openssl genpkey -algorithm ed25519 -out \
                    key.pem` makes one";

/// Object identifiers in DER, and what they stand for: kinds of keys (RFC 8017, RFC 8410, RFC 3279) and
/// curves (SEC 2).
const KINDS: [(&[u8], &str); 8] = [
    (
        &[
            0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
        ],
        "an RSA key",
    ),
    (
        &[
            0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a,
        ],
        "an RSA key",
    ),
    (
        &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        "a key on the curve P-384",
    ),
    (
        &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23],
        "a key on the curve P-521",
    ),
    (&[0x06, 0x03, 0x2b, 0x65, 0x6e], "an X25519 key"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x6f], "an X448 key"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x71], "an Ed448 key"),
    (
        &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01],
        "a DSA key",
    ),
];

/// Returns what a file holds that no private key of a supported kind was found in, and what to do.
pub(crate) fn describe(content: &[u8]) -> String {
    if content.iter().all(u8::is_ascii_whitespace) {
        return format!("the file is empty: {MAKE}");
    }
    let text = String::from_utf8_lossy(content);
    if text.starts_with("ssh-") || text.starts_with("ecdsa-sha2-") {
        return "this is a public SSH key: give the file of a private key in PEM".into();
    }
    if text.contains("-----BEGIN ") && !text.contains("-----END ") {
        return "the file ends within the key (there is no line \"-----END …\"): copy it again"
            .into();
    }
    let blocks = pem::parse_many(content).unwrap_or_default();
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return "the key is encrypted with a password: write it without one to another file, with \
                `openssl pkcs8 -in FILE -out NEW_FILE`"
            .into();
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return "the key is encrypted with a password: write it without one to another file, with \
                `openssl pkey -in FILE -out NEW_FILE`"
            .into();
    }
    let has = |what: &str| text.contains(&format!("-----BEGIN {what}"));
    if has("OPENSSH PRIVATE KEY") {
        return format!("this is a key in OpenSSH's own format, not in PEM: {MAKE}");
    }
    let private = |block: &&pem::Pem| block.tag().ends_with("PRIVATE KEY");
    if let Some(key) = blocks.iter().find(private) {
        let of_tag = match key.tag() {
            "RSA PRIVATE KEY" => Some("an RSA key"),
            "DSA PRIVATE KEY" => Some("a DSA key"),
            _ => None,
        };
        let holds = |oid: &[u8]| key.contents().windows(oid.len()).any(|w| w == oid);
        let kind = of_tag.or_else(|| KINDS.iter().find(|(oid, _)| holds(oid)).map(|k| k.1));
        return match kind {
            Some(kind) => format!("this is {kind}, which cannot sign calls of the IC: {MAKE}"),
            None => format!(
                "the private key in this file is damaged, or of a kind that is not supported: {MAKE}"
            ),
        };
    }
    if has("PUBLIC KEY") || has("RSA PUBLIC KEY") || has("SSH2 PUBLIC KEY") {
        return "this is a public key, which cannot sign: give the file of its private key".into();
    }
    if has("CERTIFICATE") {
        return "this is a certificate, which cannot sign: give the file of its private key".into();
    }
    if text.trim_start().starts_with(['[', '{']) {
        return "this is JSON, not PEM: a key of the chat page can be saved in PEM there".into();
    }
    format!(
        "there is no private key in this file (expected PEM, \"-----BEGIN PRIVATE KEY-----\"): {MAKE}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PEM with these bytes: enough of a key to be told by its label and its object identifiers.
    fn pem(tag: &str, content: &[u8]) -> Vec<u8> {
        pem::encode(&pem::Pem::new(tag, content)).into_bytes()
    }

    #[test]
    fn each_kind_is_named() {
        let mut cases = vec![
            (pem("ENCRYPTED PRIVATE KEY", &[0x30, 0]), "password"),
            (pem("PUBLIC KEY", &[0x30, 0]), "public key"),
            (pem("RSA PRIVATE KEY", &[0x30, 0]), "RSA"),
            (pem("CERTIFICATE", &[0x30, 0]), "certificate"),
            (pem("OPENSSH PRIVATE KEY", b"openssh-key-v1"), "OpenSSH"),
            (pem("PRIVATE KEY", &[0x30, 0]), "damaged"),
            (b"ssh-ed25519 AAAA me@here".to_vec(), "public SSH key"),
            (b"-----BEGIN PRIVATE KEY-----\nMC4C".to_vec(), "ends within"),
            (b" \n".to_vec(), "empty"),
            (b"[\"30\"]".to_vec(), "JSON"),
            (b"no key".to_vec(), "no private key"),
            (
                b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMC4C\n-----END EC PRIVATE KEY-----\n".to_vec(),
                "password",
            ),
        ];
        for (oid, kind) in KINDS {
            cases.push((pem("PRIVATE KEY", &[&[0x30, 0x20], oid].concat()), kind));
            cases.push((pem("EC PRIVATE KEY", &[&[0x30, 0x20], oid].concat()), kind));
        }
        for (content, said) in cases {
            let text = describe(&content);
            assert!(text.contains(said), "{text:?} does not say {said:?}");
        }
    }
}

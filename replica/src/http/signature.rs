//! Signatures of users: the schemes of the interface specification, by their DER public keys.

use ic_certification::{Certificate, HashTree, LookupResult};
use sha2::{Digest, Sha256};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::keys::BLS_DER_PREFIX;

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const COSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.56387.1.1");
const CANISTER_SIGNATURE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.56387.1.2");

/// Why a signature does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    /// The public key is not DER, or not a point of its curve.
    #[error("Invalid public key: {0}")]
    PublicKey(&'static str),
    /// A scheme that is not supported.
    #[error("Unsupported public key algorithm {0}")]
    Algorithm(String),
    /// The signature is malformed or not by this key.
    #[error("Invalid signature: {0}")]
    Signature(&'static str),
}

use SignatureError::{PublicKey, Signature};

/// Checks that `signature` on `message` (which carries its domain separator) is by the key whose
/// DER encoding is `key_der`. Canister signatures must be certified by `root_key_der`.
///
/// # Errors
/// When the key or the signature is malformed, or the signature does not hold.
pub fn verify(
    key_der: &[u8],
    message: &[u8],
    signature: &[u8],
    root_key_der: &[u8],
) -> Result<(), SignatureError> {
    let key = SubjectPublicKeyInfoRef::try_from(key_der)
        .map_err(|_| PublicKey("not a DER-encoded subject public key"))?;
    let point = key
        .subject_public_key
        .as_bytes()
        .ok_or(PublicKey("not a whole number of bytes"))?;
    match key.algorithm.oid {
        ED25519 => ed25519(point, message, signature),
        EC_PUBLIC_KEY => {
            let curve = key
                .algorithm
                .parameters_oid()
                .map_err(|_| PublicKey("no named curve"))?;
            match curve {
                SECP256K1 => secp256k1(point, message, signature),
                P256 => p256(point, message, signature),
                other => Err(SignatureError::Algorithm(other.to_string())),
            }
        }
        COSE => web_authn(point, message, signature),
        CANISTER_SIGNATURE => canister_signature(point, message, signature, root_key_der),
        other => Err(SignatureError::Algorithm(other.to_string())),
    }
}

fn ed25519(point: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    ic_ed25519::PublicKey::deserialize_raw(point)
        .map_err(|_| PublicKey("not an Ed25519 key"))?
        .verify_signature(message, signature)
        .map_err(|_| Signature("Ed25519 verification failed"))
}

fn secp256k1(point: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    use k256::ecdsa::signature::Verifier;
    let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(point)
        .map_err(|_| PublicKey("not a secp256k1 key"))?;
    let signature = k256::ecdsa::Signature::from_slice(signature)
        .map_err(|_| Signature("not a secp256k1 signature"))?;
    // Both forms of a signature are accepted, and this library verifies the lower one only.
    let signature = signature.normalize_s().unwrap_or(signature);
    key.verify(message, &signature)
        .map_err(|_| Signature("secp256k1 verification failed"))
}

fn p256(point: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    use p256::ecdsa::signature::Verifier;
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
        .map_err(|_| PublicKey("not a P-256 key"))?;
    let signature = p256::ecdsa::Signature::from_slice(signature)
        .map_err(|_| Signature("not a P-256 signature"))?;
    key.verify(message, &signature)
        .map_err(|_| Signature("P-256 verification failed"))
}

/// Signature of a passkey or security key (Web Authentication), with a P-256 key.
fn web_authn(cose_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    use p256::ecdsa::signature::Verifier;
    #[derive(serde::Deserialize)]
    struct Assertion {
        #[serde(with = "serde_bytes")]
        authenticator_data: Vec<u8>,
        #[serde(with = "serde_bytes")]
        signature: Vec<u8>,
        client_data_json: String,
    }
    #[derive(serde::Deserialize)]
    struct ClientData {
        challenge: String,
    }
    let assertion: Assertion = serde_cbor::from_slice(signature)
        .map_err(|_| Signature("not a Web Authentication signature"))?;
    let client: ClientData = serde_json::from_str(&assertion.client_data_json)
        .map_err(|_| Signature("malformed client data"))?;
    if client.challenge.trim_end_matches('=') != base64_url(message) {
        return Err(Signature("the challenge is not the signed message"));
    }
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&cose_p256_point(cose_key)?)
        .map_err(|_| PublicKey("not a P-256 key"))?;
    let signature = p256::ecdsa::Signature::from_der(&assertion.signature)
        .map_err(|_| Signature("not a DER-encoded P-256 signature"))?;
    let mut signed = assertion.authenticator_data;
    signed.extend_from_slice(&Sha256::digest(&assertion.client_data_json));
    key.verify(&signed, &signature)
        .map_err(|_| Signature("Web Authentication verification failed"))
}

/// The uncompressed point of a COSE key that is for ES256 on P-256 (RFC 8152).
fn cose_p256_point(cose_key: &[u8]) -> Result<Vec<u8>, SignatureError> {
    use serde_cbor::Value;
    let Ok(Value::Map(map)) = serde_cbor::from_slice(cose_key) else {
        return Err(PublicKey("not a COSE key"));
    };
    let get = |label: i128| map.get(&Value::Integer(label));
    // Key type 2 (elliptic curve), algorithm -7 (ES256), curve 1 (P-256), -2 and -3 coordinates.
    let expected = [(1, 2), (3, -7), (-1, 1)];
    if expected
        .iter()
        .any(|(label, value)| get(*label) != Some(&Value::Integer(*value)))
    {
        return Err(PublicKey("not a COSE key for ES256"));
    }
    match (get(-2), get(-3)) {
        (Some(Value::Bytes(x)), Some(Value::Bytes(y))) => Ok([&[4], &x[..], &y[..]].concat()),
        _ => Err(PublicKey("a COSE key without coordinates")),
    }
}

/// URL-safe base64 without padding (RFC 4648).
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .fold(0u32, |word, byte| (word << 8) | u32::from(*byte))
            << (8 * (3 - group.len()));
        for i in 0..=group.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * i)) as usize & 63]));
        }
    }
    text
}

/// Signature that a canister made by certifying a tree that holds it.
fn canister_signature(
    key: &[u8],
    message: &[u8],
    signature: &[u8],
    root_key_der: &[u8],
) -> Result<(), SignatureError> {
    #[derive(serde::Deserialize)]
    struct CanisterSignature {
        #[serde(with = "serde_bytes")]
        certificate: Vec<u8>,
        tree: HashTree,
    }
    let (canister_id, seed) = key
        .split_first()
        .and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)))
        .ok_or(PublicKey("not a canister signature key"))?;
    let signature: CanisterSignature =
        serde_cbor::from_slice(signature).map_err(|_| Signature("not a canister signature"))?;
    let certificate: Certificate = serde_cbor::from_slice(&signature.certificate)
        .map_err(|_| Signature("not a certificate"))?;
    if certificate.delegation.is_some() {
        return Err(Signature("certified by another subnet"));
    }
    let root_key = root_key_der
        .strip_prefix(BLS_DER_PREFIX)
        .ok_or(PublicKey("not a root key"))?;
    let root = [&b"\x0Dic-state-root"[..], &certificate.tree.digest()].concat();
    ic_verify_bls_signature::verify_bls_signature(&certificate.signature, &root, root_key)
        .map_err(|()| Signature("the certificate is not by the root key"))?;
    let certified = certificate
        .tree
        .lookup_path([b"canister", canister_id, b"certified_data"]);
    if certified != LookupResult::Found(&signature.tree.digest()) {
        return Err(Signature("the canister did not certify this tree"));
    }
    let entry = signature.tree.lookup_path([
        &b"sig"[..],
        &Sha256::digest(seed)[..],
        &Sha256::digest(message)[..],
    ]);
    if entry != LookupResult::Found(b"") {
        return Err(Signature("the canister did not sign this message"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k256::pkcs8::EncodePublicKey;

    #[test]
    fn ecdsa_signatures_of_both_curves() {
        use k256::ecdsa::signature::Signer;
        let message = b"a message";

        let key = k256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a key");
        let der = key.verifying_key().to_public_key_der().expect("DER");
        let signature: k256::ecdsa::Signature = key.sign(message);
        assert_eq!(
            verify(der.as_bytes(), message, &signature.to_bytes(), &[]),
            Ok(())
        );
        let (r, s) = signature.split_scalars();
        let high = k256::ecdsa::Signature::from_scalars(*r, -*s).expect("a signature");
        assert_eq!(
            verify(der.as_bytes(), message, &high.to_bytes(), &[]),
            Ok(())
        );
        assert!(verify(der.as_bytes(), b"other", &signature.to_bytes(), &[]).is_err());

        let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a key");
        let der = key.verifying_key().to_public_key_der().expect("DER");
        let signature: p256::ecdsa::Signature = key.sign(message);
        assert_eq!(
            verify(der.as_bytes(), message, &signature.to_bytes(), &[]),
            Ok(())
        );
        assert!(verify(der.as_bytes(), b"other", &signature.to_bytes(), &[]).is_err());
        assert!(verify(der.as_bytes(), message, &[1; 3], &[]).is_err());
    }

    #[test]
    fn web_authn_signatures() {
        use p256::ecdsa::signature::Signer;
        use serde_cbor::Value;
        let message = b"\x0Aic-request and a hash";
        let key = p256::ecdsa::SigningKey::from_slice(&[9; 32]).expect("a key");
        let point = key.verifying_key().to_encoded_point(false);
        let coordinate = |c: Option<&p256::FieldBytes>| Value::Bytes(c.expect("one").to_vec());
        let cose = serde_cbor::to_vec(&Value::Map(
            [
                (Value::Integer(1), Value::Integer(2)),
                (Value::Integer(3), Value::Integer(-7)),
                (Value::Integer(-1), Value::Integer(1)),
                (Value::Integer(-2), coordinate(point.x())),
                (Value::Integer(-3), coordinate(point.y())),
            ]
            .into(),
        ))
        .expect("CBOR");
        let spki = spki::SubjectPublicKeyInfoOwned {
            algorithm: spki::AlgorithmIdentifierOwned {
                oid: COSE,
                parameters: None,
            },
            subject_public_key: spki::der::asn1::BitString::from_bytes(&cose).expect("bits"),
        };
        let der = spki::der::Encode::to_der(&spki).expect("DER");
        let client = format!(
            r#"{{"type":"webauthn.get","challenge":"{}","origin":"x"}}"#,
            base64_url(message)
        );
        let data = b"authenticator data".to_vec();
        let signed = [&data[..], &Sha256::digest(&client)].concat();
        let signature: p256::ecdsa::Signature = key.sign(&signed);
        let assertion = serde_cbor::to_vec(&Value::Map(
            [
                (Value::Text("authenticator_data".into()), Value::Bytes(data)),
                (Value::Text("client_data_json".into()), Value::Text(client)),
                (
                    Value::Text("signature".into()),
                    Value::Bytes(signature.to_der().as_bytes().to_vec()),
                ),
            ]
            .into(),
        ))
        .expect("CBOR");
        assert_eq!(verify(&der, message, &assertion, &[]), Ok(()));
        assert!(verify(&der, b"another", &assertion, &[]).is_err());
    }

    #[test]
    fn base64_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64_url(bytes.as_bytes()), text);
        }
        assert_eq!(base64_url(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn malformed_keys_are_refused() {
        for key in [
            &[][..],
            &[0; 44],
            b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
        ] {
            assert!(matches!(
                verify(key, b"m", &[0; 64], &[]),
                Err(SignatureError::PublicKey(_))
            ));
        }
    }
}

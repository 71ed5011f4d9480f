//! The keys of the one subnet and its one node, derived from the seed, and their encodings.

use candid::Principal;
use ic_verify_bls_signature as bls;
use sha2::{Digest, Sha256, Sha512};

/// DER prefix of a BLS12-381 public key in the IC's encoding.
pub const BLS_DER_PREFIX: &[u8; 37] = b"\x30\x81\x82\x30\x1d\x06\x0d\x2b\x06\x01\x04\x01\x82\xdc\x7c\x05\x03\x01\x02\x01\x06\x0c\x2b\x06\x01\x04\x01\x82\xdc\x7c\x05\x03\x02\x01\x03\x61\x00";

/// What the subnet certifies with and the node signs query replies with. These keys protect
/// nothing: whoever knows the seed can compute them.
pub struct Keys {
    root: bls::PrivateKey,
    root_der: Vec<u8>,
    node: ic_ed25519::PrivateKey,
    node_der: Vec<u8>,
}

impl Keys {
    /// The keys that belong to `seed`.
    pub fn from_seed(seed: u64) -> Keys {
        let root = bls_key(seed);
        let mut root_der = BLS_DER_PREFIX.to_vec();
        root_der.extend_from_slice(&root.public_key().serialize());
        let node_secret: [u8; 32] = derive("node key", seed, 0)[..32]
            .try_into()
            .unwrap_or_default();
        let node = ic_ed25519::PrivateKey::deserialize_raw_32(&node_secret);
        let node_der = node.public_key().serialize_rfc8410_der();
        Keys {
            root,
            root_der,
            node,
            node_der,
        }
    }

    /// DER encoding of the root public key: what agents trust.
    pub fn root_key_der(&self) -> &[u8] {
        &self.root_der
    }

    /// Id of the subnet, which follows from the root key.
    pub fn subnet_id(&self) -> Principal {
        Principal::self_authenticating(&self.root_der)
    }

    /// DER encoding of the node's public key.
    pub fn node_key_der(&self) -> &[u8] {
        &self.node_der
    }

    /// Id of the node, which follows from its key.
    pub fn node_id(&self) -> Principal {
        Principal::self_authenticating(&self.node_der)
    }

    /// Signature of the subnet on the root hash of its state tree, 48 bytes.
    pub fn sign_state_root(&self, root: &[u8; 32]) -> Vec<u8> {
        let message = [&b"\x0Dic-state-root"[..], root].concat();
        self.root.sign(&message).serialize().to_vec()
    }

    /// Signature of the node on a message that carries its own domain separator, 64 bytes.
    pub fn sign_as_node(&self, message: &[u8]) -> Vec<u8> {
        self.node.sign_message(message).to_vec()
    }
}

fn derive(purpose: &str, seed: u64, attempt: u64) -> [u8; 64] {
    let mut hasher = Sha512::new();
    hasher.update(b"local replica ");
    hasher.update(purpose);
    hasher.update(seed.to_le_bytes());
    hasher.update(attempt.to_le_bytes());
    hasher.finalize().into()
}

fn bls_key(seed: u64) -> bls::PrivateKey {
    let mut attempt = 0;
    loop {
        let mut secret: [u8; 32] = Sha256::digest(derive("root key", seed, attempt)).into();
        // Below 2^254, which is below the group's order.
        secret[0] &= 0x3f;
        if let Ok(key) = bls::PrivateKey::deserialize(&secret) {
            return key;
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_from_the_seed_and_verify() {
        let keys = Keys::from_seed(7);
        assert_eq!(keys.root_key_der(), Keys::from_seed(7).root_key_der());
        assert_ne!(keys.root_key_der(), Keys::from_seed(8).root_key_der());
        assert_eq!(keys.root_key_der().len(), 133);
        assert_eq!(keys.node_key_der().len(), 44);

        let root = [5; 32];
        let message = [&b"\x0Dic-state-root"[..], &root].concat();
        let public = &keys.root_key_der()[BLS_DER_PREFIX.len()..];
        let signature = keys.sign_state_root(&root);
        assert!(bls::verify_bls_signature(&signature, &message, public).is_ok());
        assert!(bls::verify_bls_signature(&signature, b"another", public).is_err());
    }
}

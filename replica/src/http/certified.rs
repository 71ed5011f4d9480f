//! The certified state: the state tree of the interface specification and certificates of it.

use super::keys::Keys;
use super::tree::{Path, Tree};
use crate::{CanisterInfo, IngressStatus};
use candid::Principal;
use ic_certification::Certificate;
use ic_transport_types::SubnetMetrics;
use serde::Serialize;
use std::sync::{Arc, OnceLock};

/// The state tree after some round, with the subnet's signature on it.
pub struct CertifiedState {
    tree: Tree,
    time_ns: u64,
    keys: Arc<Keys>,
    signature: OnceLock<Vec<u8>>,
}

/// The subtrees that a [`CertifiedState`] is made of, besides the time.
#[derive(Clone)]
pub struct Parts {
    /// `/canister`
    pub canisters: Tree,
    /// `/request_status`
    pub requests: Tree,
    /// `/subnet`
    pub subnet: Tree,
    /// `/canister_ranges`
    pub ranges: Tree,
}

impl CertifiedState {
    /// The state at `time_ns` nanoseconds since 1970.
    pub fn new(time_ns: u64, parts: Parts, keys: Arc<Keys>) -> CertifiedState {
        let tree = Tree::map([
            // A stand-in for one subnet has no boundary nodes.
            ("api_boundary_nodes", Tree::empty()),
            ("canister", parts.canisters),
            ("canister_ranges", parts.ranges),
            ("request_status", parts.requests),
            ("subnet", parts.subnet),
            ("time", Tree::leaf(leb128(time_ns))),
        ]);
        CertifiedState {
            tree,
            time_ns,
            keys,
            signature: OnceLock::new(),
        }
    }

    /// The time it certifies, in nanoseconds since 1970.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// A certificate, in self-described CBOR, of `paths` and the time. The signature is computed
    /// when the first certificate is asked for.
    pub fn certificate(&self, paths: &[Path]) -> Vec<u8> {
        let mut paths = paths.to_vec();
        paths.push(vec![b"time".to_vec()]);
        let signature = self
            .signature
            .get_or_init(|| self.keys.sign_state_root(&self.tree.digest()))
            .clone();
        cbor(&Certificate {
            tree: self.tree.witness(&paths),
            signature,
            delegation: None,
        })
    }

    /// A certificate of one canister's certified data, as queries pass it on.
    pub fn data_certificate(&self, canister: &Principal) -> Vec<u8> {
        self.certificate(&[vec![
            b"canister".to_vec(),
            canister.as_slice().to_vec(),
            b"certified_data".to_vec(),
        ]])
    }
}

/// The subtree `/canister/<id>`.
pub fn canister_tree(info: &CanisterInfo) -> Tree {
    let mut entries = vec![("controllers", Tree::leaf(cbor(&info.controllers)))];
    if let Some(hash) = info.module_hash {
        entries.push(("certified_data", Tree::leaf(info.certified_data.clone())));
        entries.push(("module_hash", Tree::leaf(hash)));
        let sections = info.public_metadata.iter().chain(&info.private_metadata);
        entries.push((
            "metadata",
            Tree::map(
                sections.map(|(name, bytes)| (name.as_bytes(), Tree::leaf(bytes.as_slice()))),
            ),
        ));
    }
    Tree::map(entries)
}

/// The subtree `/request_status/<id>`; none for a request that is unknown.
pub fn request_tree(status: &IngressStatus) -> Option<Tree> {
    let name = |name: &str| ("status", Tree::leaf(name));
    Some(match status {
        IngressStatus::Unknown => return None,
        IngressStatus::Received => Tree::map([name("received")]),
        IngressStatus::Processing => Tree::map([name("processing")]),
        IngressStatus::Done => Tree::map([name("done")]),
        IngressStatus::Replied(reply) => {
            Tree::map([name("replied"), ("reply", Tree::leaf(reply.as_slice()))])
        }
        IngressStatus::Rejected(reject) => {
            let mut entries = vec![
                name("rejected"),
                ("reject_code", Tree::leaf(leb128(u64::from(reject.code)))),
                ("reject_message", Tree::leaf(reject.message.as_bytes())),
            ];
            if let Some(code) = &reject.error_code {
                entries.push(("error_code", Tree::leaf(code.as_bytes())));
            }
            Tree::map(entries)
        }
    })
}

/// The subtrees `/subnet` and `/canister_ranges` of the one subnet.
pub fn subnet_trees(
    keys: &Keys,
    range: (Principal, Principal),
    metrics: &SubnetMetrics,
) -> (Tree, Tree) {
    let id = keys.subnet_id();
    let ranges = Tree::leaf(cbor(&[range]));
    let node = Tree::map([("public_key", Tree::leaf(keys.node_key_der()))]);
    let subnet = Tree::map([
        ("canister_ranges", ranges.clone()),
        ("metrics", Tree::leaf(cbor(metrics))),
        ("node", Tree::map([(keys.node_id().as_slice(), node)])),
        ("public_key", Tree::leaf(keys.root_key_der())),
        ("type", Tree::leaf("application")),
    ]);
    let shards = Tree::map([(range.0.as_slice(), ranges)]);
    (
        Tree::map([(id.as_slice(), subnet)]),
        Tree::map([(id.as_slice(), shards)]),
    )
}

/// Self-described CBOR of `value`.
pub fn cbor(value: &impl Serialize) -> Vec<u8> {
    let mut serializer = serde_cbor::Serializer::new(Vec::new());
    let written = serializer
        .self_describe()
        .and_then(|()| value.serialize(&mut serializer));
    // Writing our own types to memory cannot fail.
    debug_assert!(written.is_ok());
    serializer.into_inner()
}

fn leb128(value: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10);
    // Writing to memory cannot fail.
    let written = leb128::write::unsigned(&mut bytes, value);
    debug_assert!(written.is_ok());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reject;
    use ic_certification::LookupResult;

    fn state() -> (CertifiedState, Arc<Keys>, Principal) {
        let keys = Arc::new(Keys::from_seed(1));
        let canister = Principal::from_slice(&[0, 0, 0, 0, 0, 0, 0, 3, 1, 1]);
        let info = CanisterInfo {
            controllers: vec![Principal::anonymous()],
            module_hash: Some([9; 32]),
            certified_data: b"certified".to_vec(),
            public_metadata: vec![("candid:service".into(), b"service : {}".to_vec())],
            private_metadata: vec![("secret".into(), b"hidden".to_vec())],
        };
        let rejected = IngressStatus::Rejected(Reject {
            code: 5,
            message: "no".into(),
            error_code: Some("IC0503".into()),
        });
        let replied = IngressStatus::Replied(b"DIDL\0\0".to_vec());
        let statuses = [([1; 32], rejected), ([2; 32], replied)];
        let (subnet, ranges) = subnet_trees(
            &keys,
            (
                Principal::from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
                Principal::from_slice(&[0, 0, 0, 0, 0, 255, 255, 255, 1, 1]),
            ),
            &SubnetMetrics {
                num_canisters: 1,
                canister_state_bytes: 2,
                consumed_cycles_total: 1 << 70,
                update_transactions_total: 4,
            },
        );
        let parts = Parts {
            canisters: Tree::map([(canister.as_slice(), canister_tree(&info))]),
            requests: Tree::map(
                statuses
                    .iter()
                    .filter_map(|(id, status)| Some((*id, request_tree(status)?))),
            ),
            subnet,
            ranges,
        };
        let state = CertifiedState::new(1_700_000_000_123_456_789, parts, keys.clone());
        (state, keys, canister)
    }

    fn path(labels: &[&[u8]]) -> Path {
        labels.iter().map(|label| label.to_vec()).collect()
    }

    fn verified(certificate: &[u8], keys: &Keys) -> Certificate {
        let certificate: Certificate = serde_cbor::from_slice(certificate).expect("a certificate");
        let message = [&b"\x0Dic-state-root"[..], &certificate.tree.digest()].concat();
        let key = &keys.root_key_der()[37..];
        ic_verify_bls_signature::verify_bls_signature(&certificate.signature, &message, key)
            .expect("a valid signature");
        certificate
    }

    #[test]
    fn certificates_verify_and_hold_what_was_asked_for() {
        let (state, keys, canister) = state();
        let id = canister.as_slice();
        let certificate = verified(
            &state.certificate(&[
                path(&[b"canister", id, b"module_hash"]),
                path(&[b"canister", id, b"metadata", b"candid:service"]),
                path(&[b"request_status", &[1; 32]]),
                path(&[b"request_status", &[3; 32]]),
            ]),
            &keys,
        );
        let found = |labels: &[&[u8]]| certificate.tree.lookup_path(labels.iter());
        assert_eq!(
            found(&[b"canister", id, b"module_hash"]),
            LookupResult::Found(&[9; 32])
        );
        assert_eq!(
            found(&[b"canister", id, b"metadata", b"candid:service"]),
            LookupResult::Found(b"service : {}")
        );
        assert_eq!(
            found(&[b"canister", id, b"metadata", b"secret"]),
            LookupResult::Unknown
        );
        assert_eq!(
            found(&[b"canister", id, b"controllers"]),
            LookupResult::Unknown
        );
        assert_eq!(
            found(&[b"request_status", &[1; 32], b"reject_code"]),
            LookupResult::Found(&[5])
        );
        assert_eq!(
            found(&[b"request_status", &[1; 32], b"error_code"]),
            LookupResult::Found(b"IC0503")
        );
        assert_eq!(
            found(&[b"request_status", &[2; 32], b"reply"]),
            LookupResult::Unknown
        );
        assert_eq!(
            found(&[b"request_status", &[3; 32], b"status"]),
            LookupResult::Absent
        );
        let LookupResult::Found(mut time) = found(&[b"time"]) else {
            panic!("the time is always there");
        };
        assert_eq!(
            leb128::read::unsigned(&mut time).ok(),
            Some(1_700_000_000_123_456_789)
        );
    }

    #[test]
    fn the_subnet_lists_its_ranges_and_node_keys() {
        let (state, keys, _) = state();
        let certificate = verified(&state.certificate(&[path(&[b"subnet"])]), &keys);
        let subnet = keys.subnet_id();
        let node = keys.node_id();
        assert_eq!(
            certificate.tree.lookup_path([
                b"subnet",
                subnet.as_slice(),
                b"node",
                node.as_slice(),
                b"public_key"
            ]),
            LookupResult::Found(keys.node_key_der())
        );
        let LookupResult::Found(ranges) =
            certificate
                .tree
                .lookup_path([b"subnet", subnet.as_slice(), b"canister_ranges"])
        else {
            panic!("canister ranges");
        };
        let ranges: Vec<(Principal, Principal)> = serde_cbor::from_slice(ranges).expect("ranges");
        assert_eq!(ranges.len(), 1);
    }

    #[test]
    fn data_certificates_hold_the_certified_data_only() {
        let (state, keys, canister) = state();
        let certificate = verified(&state.data_certificate(&canister), &keys);
        let id = canister.as_slice();
        assert_eq!(
            certificate
                .tree
                .lookup_path([b"canister", id, b"certified_data"]),
            LookupResult::Found(b"certified")
        );
        assert_eq!(
            certificate
                .tree
                .lookup_path([b"canister", id, b"module_hash"]),
            LookupResult::Unknown
        );
    }
}

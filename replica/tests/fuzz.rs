//! Mutated requests against the decoder: no panic, no request that takes long, and nothing passes
//! that was not signed. Mutated modules against the validator: no panic, none that takes long, and
//! what passes can be metered, compiled and started. Runs for a moment; with `FUZZ_SECONDS=300` for
//! five minutes each.

use ic_agent::Identity;
use ic_agent::agent::{Envelope, EnvelopeContent};
use ic_agent::export::Principal;
use ic_agent::identity::{AnonymousIdentity, BasicIdentity, DelegatedIdentity};
use ic_agent::identity::{Delegation, Secp256k1Identity, SignedDelegation};
use replica::http::validate::{Context, RequestError, request};
use std::borrow::Cow;
use std::time::{Duration, Instant};

const NOW: u64 = 1_700_000_000_000_000_000;
/// The longest that one request may take. A shared machine may pause a thread for a while.
const LONGEST: Duration = Duration::from_secs(2);

/// Numbers that look random and are the same in every run with the same seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn basic(seed: u8) -> BasicIdentity {
    BasicIdentity::from_raw_key(&[seed; 32])
}

fn delegated() -> DelegatedIdentity {
    let chain = (1..4u8)
        .map(|i| {
            let delegation = Delegation {
                pubkey: basic(i + 1).public_key().expect("a key"),
                expiration: NOW + 1,
                targets: Some(vec![Principal::anonymous(); 3]),
                permissions: None,
            };
            let signature = basic(i).sign_delegation(&delegation).expect("signed");
            SignedDelegation {
                delegation,
                signature: signature.signature.expect("a signature"),
            }
        })
        .collect();
    let root = basic(1).public_key().expect("a key");
    DelegatedIdentity::new_unchecked(root, Box::new(basic(4)), chain)
}

/// Good requests of every kind, signed in every way.
fn seeds() -> Vec<Vec<u8>> {
    let key = k256::SecretKey::from_slice(&[3; 32]).expect("a key");
    let identities: Vec<Box<dyn Identity>> = vec![
        Box::new(AnonymousIdentity),
        Box::new(basic(9)),
        Box::new(Secp256k1Identity::from_private_key(key)),
        Box::new(delegated()),
    ];
    let mut seeds = Vec::new();
    for identity in &identities {
        let sender = identity.sender().expect("a sender");
        let canister_id = Principal::anonymous();
        let (method_name, arg) = ("greet".to_string(), b"DIDL\0\0".to_vec());
        let ingress_expiry = NOW + 1;
        let contents = [
            EnvelopeContent::Call {
                nonce: Some(vec![1; 16]),
                ingress_expiry,
                sender,
                canister_id,
                method_name: method_name.clone(),
                arg: arg.clone(),
                sender_info: None,
            },
            EnvelopeContent::Query {
                nonce: None,
                ingress_expiry,
                sender,
                canister_id,
                method_name,
                arg,
                sender_info: None,
            },
            EnvelopeContent::ReadState {
                ingress_expiry,
                sender,
                paths: vec![vec!["time".into()], vec!["canister".into(), "a".into()]],
            },
        ];
        for content in contents {
            let signature = identity.sign(&content).expect("signed");
            let envelope = Envelope {
                content: Cow::Owned(content),
                sender_pubkey: signature.public_key,
                sender_sig: signature.signature,
                sender_delegation: signature.delegations,
            };
            seeds.push(envelope.encode_bytes());
        }
    }
    seeds
}

/// A mutation of one seed, with a piece of another now and then.
fn mutate(seeds: &[Vec<u8>], noise: &mut Noise) -> Vec<u8> {
    /// Heads of CBOR items: lengths that lie, deep nesting, indefinite lengths, tags, floats.
    const HEADS: [&[u8]; 10] = [
        &[0x9b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x7a, 0x7f, 0xff, 0xff, 0xff],
        &[0xbb, 0, 0, 0, 1, 0, 0, 0, 0],
        &[0x9f, 0x9f, 0x9f, 0x9f],
        &[0xbf],
        &[0xff],
        &[0xc2, 0xd9, 0xd9, 0xf7],
        &[0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
        &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    let mut body = seeds[noise.below(seeds.len())].clone();
    for _ in 0..=noise.below(6) {
        let at = noise.below(body.len());
        match noise.below(7) {
            0 if !body.is_empty() => body[at] ^= 1 << noise.below(8),
            1 if !body.is_empty() => body[at] = noise.next() as u8,
            2 => body.truncate(at),
            3 => {
                let end = (at + noise.below(40)).min(body.len());
                body.drain(at..end);
            }
            4 => {
                let head = HEADS[noise.below(HEADS.len())];
                body.splice(at..at, head.iter().copied());
            }
            5 => {
                let other = &seeds[noise.below(seeds.len())];
                let from = noise.below(other.len());
                let to = (from + noise.below(200)).min(other.len());
                body.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let byte = noise.next() as u8;
                let count = noise.below(3_000);
                body.splice(at..at, std::iter::repeat_n(byte, count));
            }
        }
    }
    body
}

fn seconds() -> u64 {
    std::env::var("FUZZ_SECONDS").map_or(2, |text| text.parse().expect("a number"))
}

fn noise() -> Noise {
    let seed = std::env::var("FUZZ_SEED").map_or(1, |text| text.parse().expect("a number"));
    Noise(seed)
}

/// The modules of the measured cases.
fn modules() -> Vec<Vec<u8>> {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let mut modules = Vec::new();
    for folder in ["golden", "semantic"] {
        let entries = std::fs::read_dir(data.join(folder)).expect("the cases");
        for entry in entries {
            let path = entry.expect("a file").path();
            if path.extension().is_some_and(|extension| extension == "wat") {
                modules.extend(wat::parse_file(&path));
            }
        }
    }
    modules.sort();
    assert!(modules.len() > 20, "only {} modules", modules.len());
    modules
}

/// A mutation of one module, with a piece of another now and then.
fn mutate_module(modules: &[Vec<u8>], noise: &mut Noise) -> Vec<u8> {
    let mut module = modules[noise.below(modules.len())].clone();
    for _ in 0..=noise.below(4) {
        // The head stays, or nothing behind it would be looked at.
        let at = 8 + noise.below(module.len().saturating_sub(8));
        match noise.below(8) {
            0 | 1 if at < module.len() => module[at] ^= 1 << noise.below(8),
            2 | 3 if at < module.len() => module[at] = noise.next() as u8,
            // A number of one byte becomes a large one.
            4 if at < module.len() => {
                let large = [module[at] | 0x80, 0xff, 0xff, noise.next() as u8 & 0x0f];
                module.splice(at..=at, large);
            }
            5 => module.truncate(at),
            6 => {
                let end = (at + noise.below(20)).min(module.len());
                module.drain(at.min(end)..end);
            }
            _ => {
                let other = &modules[noise.below(modules.len())];
                let from = noise.below(other.len());
                let to = (from + noise.below(60)).min(other.len());
                let at = at.min(module.len());
                module.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    module
}

#[test]
fn mutated_modules_do_no_harm() {
    let (mut noise, modules) = (noise(), modules());
    let engine = replica::runtime::engine::Engine::get().expect("an engine");
    let store = std::sync::Arc::<replica::storage::FileStore>::default();
    let end = Instant::now() + Duration::from_secs(seconds());
    let (mut tried, mut passed) = (0u64, 0u64);
    while Instant::now() < end {
        let wasm = mutate_module(&modules, &mut noise);
        let start = Instant::now();
        // What the validator accepts is metered and compiled.
        let result = replica::runtime::module::CompiledModule::compile(engine, &wasm, &store);
        assert!(start.elapsed() < LONGEST, "slow: {}", hex::encode(&wasm));
        tried += 1;
        match result {
            Ok(module) => {
                passed += 1;
                let heap = replica::runtime::instance::new_heap(&module, &store);
                let heap = heap.expect("a heap");
                let content = replica::memory::heap::Content::Latest(None);
                let instance =
                    replica::runtime::instance::Instance::new(&module, heap, None, content);
                if let Err(error) = instance {
                    // A table or heap may be larger than the engine allows.
                    let harmless = ["table", "memory", "out of bounds", "exceeds"];
                    assert!(
                        harmless.iter().any(|word| error.contains(word)),
                        "{error}: {}",
                        hex::encode(&wasm)
                    );
                }
            }
            Err(replica::modules::validate::InvalidModule::Compilation(error)) => {
                panic!(
                    "accepted, but not compiled: {error}: {}",
                    hex::encode(&wasm)
                );
            }
            Err(_) => {}
        }
    }
    eprintln!("{tried} modules tried, {passed} passed");
    assert!(tried > 50 && passed > 0);
}

#[test]
fn mutated_requests_neither_pass_nor_harm() {
    let mut noise = noise();
    let seeds = seeds();
    let context = Context {
        now_ns: NOW,
        root_key_der: &[],
    };
    // What the good requests ask for: nothing else may pass but what nobody needs to sign.
    let good: Vec<[u8; 32]> = seeds
        .iter()
        .map(|body| match request(body, &context) {
            Ok(request) => request.id,
            Err(error) => panic!("a seed is refused: {error}"),
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(seconds());
    let (mut tried, mut passed, mut authenticated) = (0u64, 0u64, 0u64);
    while Instant::now() < end {
        let body = mutate(&seeds, &mut noise);
        let start = Instant::now();
        let result = request(&body, &context);
        assert!(start.elapsed() < LONGEST, "slow: {}", hex::encode(&body));
        tried += 1;
        match result {
            Ok(request) => {
                passed += 1;
                let anonymous = *request.content.sender() == Principal::anonymous();
                assert!(
                    anonymous || good.contains(&request.id),
                    "forged: {}",
                    hex::encode(&body)
                );
            }
            Err(RequestError::Authentication { .. }) => authenticated += 1,
            Err(_) => {}
        }
    }
    eprintln!("{tried} requests tried, {passed} passed, {authenticated} refused for who sent them");
    assert!(tried > 100 && authenticated > 0);
}

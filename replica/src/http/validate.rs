//! Checks of a signed request before it reaches the state machine: form, expiry, signature.

use super::signature::{self, SignatureError};
use candid::Principal;
use ic_transport_types::{DelegationPermissions, Envelope, EnvelopeContent, SignedDelegation};
use std::collections::BTreeSet;

/// The longest time a request may be valid, in nanoseconds.
const MAX_INGRESS_TTL_NS: u64 = 300_000_000_000;
/// How far a client's clock may be ahead, in nanoseconds.
const PERMITTED_DRIFT_NS: u64 = 60_000_000_000;
const MAX_DELEGATIONS: usize = 20;
const MAX_TARGETS: usize = 1_000;
const MAX_PATHS: usize = 1_000;
const MAX_PATH_LABELS: usize = 127;
const MAX_NONCE_BYTES: usize = 32;
/// CBOR items in a request: the most paths, with as many labels each as anybody asks for, have far
/// fewer. A decoded item takes many times the one byte that it may have in the body.
const MAX_ITEMS: usize = 200_000;

/// What a request is checked against.
pub struct Context<'a> {
    /// Now, in nanoseconds since 1970.
    pub now_ns: u64,
    /// Root key that certifies canister signatures.
    pub root_key_der: &'a [u8],
}

/// A request whose form and signature are good.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub content: EnvelopeContent,
    /// Hash of the content.
    pub id: [u8; 32],
    /// The canisters that the signer may talk to.
    pub targets: Targets,
}

/// A set of canisters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// Every canister.
    All,
    /// These only.
    Some(BTreeSet<Principal>),
}

impl Targets {
    /// Whether `canister` is in the set.
    pub fn contains(&self, canister: &Principal) -> bool {
        match self {
            Targets::All => true,
            Targets::Some(set) => set.contains(canister),
        }
    }

    fn intersect(self, other: BTreeSet<Principal>) -> Targets {
        Targets::Some(match self {
            Targets::All => other,
            Targets::Some(set) => set.intersection(&other).copied().collect(),
        })
    }
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// Not a request of the interface specification.
    #[error("Could not parse body: {0}")]
    Malformed(String),
    /// Expired, or valid for too long.
    #[error("Invalid request expiry: {0}")]
    Expiry(String),
    /// The sender did not sign this, or may not ask it.
    #[error("Failed to authenticate request {id} due to: {reason}")]
    Authentication {
        /// Request id in hexadecimal.
        id: String,
        /// The reason.
        reason: AuthenticationError,
    },
}

/// Why a request's sender is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthenticationError {
    /// Only the anonymous user sends without a signature.
    #[error("Missing signature from user: {0}")]
    MissingSignature(Principal),
    /// The anonymous user signs nothing.
    #[error("Signature is not allowed for the anonymous user")]
    AnonymousSignature,
    /// The sender is not the self-authenticating id of the public key.
    #[error("The user id {0} does not match the public key")]
    UserId(Principal),
    /// The request's signature.
    #[error("Invalid signature: {0}")]
    Signature(SignatureError),
    /// A delegation's signature.
    #[error("Invalid delegation: {0}")]
    Delegation(SignatureError),
    /// A delegation has expired.
    #[error("Invalid delegation expiry: {expiration} is before {now}")]
    DelegationExpiry {
        /// When the delegation expired, in nanoseconds since 1970.
        expiration: u64,
        /// The time now, in nanoseconds since 1970.
        now: u64,
    },
    /// The chain of delegations is too long, has a loop or too many targets.
    #[error("Invalid delegation: {0}")]
    DelegationChain(&'static str),
    /// The delegations do not cover the callee.
    #[error("Canister {0} is not one of the delegation targets")]
    Target(Principal),
    /// A delegation for queries used for a call.
    #[error("The delegation permits queries only")]
    QueriesOnly,
}

use AuthenticationError as Auth;

/// Decodes and checks the body of a request.
///
/// # Errors
/// When it is malformed, expired, or not signed by its sender.
pub fn request(body: &[u8], context: &Context) -> Result<Request, RequestError> {
    if count_items(body, MAX_ITEMS) == MAX_ITEMS {
        return Err(RequestError::Malformed("too many CBOR items".into()));
    }
    let envelope: Envelope =
        serde_cbor::from_slice(body).map_err(|error| RequestError::Malformed(error.to_string()))?;
    check_form(&envelope.content)?;
    let id: [u8; 32] = *envelope.content.to_request_id();
    check_expiry(&envelope.content, context)?;
    let targets =
        authenticate(&envelope, &id, context).map_err(|reason| RequestError::Authentication {
            id: format!("0x{}", hex::encode(id)),
            reason,
        })?;
    Ok(Request {
        content: envelope.content.into_owned(),
        id,
        targets,
    })
}

/// How many CBOR items a body has, up to `limit`. What is wrong with them is for the decoder to say.
fn count_items(body: &[u8], limit: usize) -> usize {
    let mut rest = body;
    let mut count = 0;
    while let Some((&head, after)) = rest.split_first()
        && count < limit
    {
        count += 1;
        let width = match head & 0x1f {
            info @ 24..=27 => 1 << (info - 24),
            _ => 0,
        };
        let Some((number, after)) = after.split_at_checked(width) else {
            break;
        };
        let value = number
            .iter()
            .fold(0u64, |value, byte| (value << 8) | u64::from(*byte));
        // The bytes of strings are not items; what is in arrays and maps simply follows.
        let bytes = match (head >> 5, head & 0x1f) {
            (2 | 3, short @ ..24) => usize::from(short),
            (2 | 3, 24..=27) => usize::try_from(value).unwrap_or(usize::MAX),
            _ => 0,
        };
        let Some(after) = after.get(bytes..) else {
            break;
        };
        rest = after;
    }
    count
}

fn check_form(content: &EnvelopeContent) -> Result<(), RequestError> {
    let malformed = |text: &str| Err(RequestError::Malformed(text.into()));
    match content {
        EnvelopeContent::Call {
            nonce, sender_info, ..
        }
        | EnvelopeContent::Query {
            nonce, sender_info, ..
        } => {
            if nonce.as_ref().is_some_and(|n| n.len() > MAX_NONCE_BYTES) {
                return malformed("the nonce is longer than 32 bytes");
            }
            if sender_info.is_some() {
                return malformed("sender_info is not supported");
            }
        }
        EnvelopeContent::ReadState { paths, .. } => {
            if paths.len() > MAX_PATHS {
                return malformed("more than 1000 paths");
            }
            if paths.iter().any(|path| path.len() > MAX_PATH_LABELS) {
                return malformed("a path of more than 127 labels");
            }
        }
    }
    Ok(())
}

fn check_expiry(content: &EnvelopeContent, context: &Context) -> Result<(), RequestError> {
    let is_call = matches!(content, EnvelopeContent::Call { .. });
    if !is_call && *content.sender() == Principal::anonymous() {
        return Ok(());
    }
    let (min, expiry) = (context.now_ns, content.ingress_expiry());
    let max = min.saturating_add(MAX_INGRESS_TTL_NS + PERMITTED_DRIFT_NS);
    if (min..=max).contains(&expiry) {
        return Ok(());
    }
    Err(RequestError::Expiry(format!(
        "Specified ingress_expiry not within expected range: Minimum allowed expiry: {min}, \
         Maximum allowed expiry: {max}, Provided expiry: {expiry}"
    )))
}

fn authenticate(envelope: &Envelope, id: &[u8; 32], context: &Context) -> Result<Targets, Auth> {
    let sender = *envelope.content.sender();
    let delegations = envelope.sender_delegation.as_deref().unwrap_or_default();
    if sender == Principal::anonymous() {
        let signed = envelope.sender_pubkey.is_some() || envelope.sender_sig.is_some();
        return match signed || !delegations.is_empty() {
            true => Err(Auth::AnonymousSignature),
            false => Ok(Targets::All),
        };
    }
    let (Some(key), Some(signature)) = (&envelope.sender_pubkey, &envelope.sender_sig) else {
        return Err(Auth::MissingSignature(sender));
    };
    if sender != Principal::self_authenticating(key) {
        return Err(Auth::UserId(sender));
    }
    let (key, targets) = follow(key, delegations, &envelope.content, context)?;
    let message = [&b"\x0Aic-request"[..], id].concat();
    signature::verify(key, &message, signature, context.root_key_der).map_err(Auth::Signature)?;
    let callee = match &*envelope.content {
        EnvelopeContent::Call { canister_id, .. } | EnvelopeContent::Query { canister_id, .. } => {
            canister_id
        }
        EnvelopeContent::ReadState { .. } => return Ok(targets),
    };
    match targets.contains(callee) {
        true => Ok(targets),
        false => Err(Auth::Target(*callee)),
    }
}

/// Follows a chain of delegations to the key that signs the request.
fn follow<'a>(
    key: &'a [u8],
    delegations: &'a [SignedDelegation],
    content: &EnvelopeContent,
    context: &Context,
) -> Result<(&'a [u8], Targets), Auth> {
    if delegations.len() > MAX_DELEGATIONS {
        return Err(Auth::DelegationChain("more than 20 delegations"));
    }
    let mut seen = BTreeSet::from([key]);
    let mut key = key;
    let mut targets = Targets::All;
    for SignedDelegation {
        delegation,
        signature,
    } in delegations
    {
        if delegation.expiration < context.now_ns {
            return Err(Auth::DelegationExpiry {
                expiration: delegation.expiration,
                now: context.now_ns,
            });
        }
        if !seen.insert(&delegation.pubkey) {
            return Err(Auth::DelegationChain("the chain has a loop"));
        }
        let queries_only = delegation.permissions == Some(DelegationPermissions::Queries);
        if queries_only && matches!(content, EnvelopeContent::Call { .. }) {
            return Err(Auth::QueriesOnly);
        }
        signature::verify(key, &delegation.signable(), signature, context.root_key_der)
            .map_err(Auth::Delegation)?;
        if let Some(list) = &delegation.targets {
            if list.len() > MAX_TARGETS {
                return Err(Auth::DelegationChain("more than 1000 targets"));
            }
            targets = targets.intersect(list.iter().copied().collect());
        }
        key = &delegation.pubkey;
    }
    Ok((key, targets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_agent::Identity;
    use ic_agent::identity::{
        AnonymousIdentity, BasicIdentity, DelegatedIdentity, Delegation, Prime256v1Identity,
        Secp256k1Identity,
    };
    use std::borrow::Cow;

    const NOW: u64 = 1_700_000_000_000_000_000;
    const CONTEXT: Context = Context {
        now_ns: NOW,
        root_key_der: &[],
    };

    fn callee() -> Principal {
        Principal::from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 1, 1])
    }

    fn call(sender: &dyn Identity) -> EnvelopeContent {
        EnvelopeContent::Call {
            nonce: Some(vec![1; 16]),
            ingress_expiry: NOW + 60_000_000_000,
            sender: sender.sender().expect("a sender"),
            canister_id: callee(),
            method_name: "greet".into(),
            arg: b"DIDL\0\0".to_vec(),
            sender_info: None,
        }
    }

    fn sign<'a>(content: &'a EnvelopeContent, identity: &dyn Identity) -> Envelope<'a> {
        let signature = identity.sign(content).expect("a signature");
        Envelope {
            content: Cow::Borrowed(content),
            sender_pubkey: signature.public_key,
            sender_sig: signature.signature,
            sender_delegation: signature.delegations,
        }
    }

    fn check(content: &EnvelopeContent, identity: &dyn Identity) -> Result<Request, RequestError> {
        request(&sign(content, identity).encode_bytes(), &CONTEXT)
    }

    fn reason(result: Result<Request, RequestError>) -> AuthenticationError {
        match result {
            Err(RequestError::Authentication { reason, .. }) => reason,
            other => panic!("expected an authentication error, got {other:?}"),
        }
    }

    fn identities() -> Vec<Box<dyn Identity>> {
        let k256 = k256::SecretKey::from_slice(&[3; 32]).expect("a key");
        let p256 = p256::SecretKey::from_slice(&[3; 32]).expect("a key");
        vec![
            Box::new(BasicIdentity::from_raw_key(&[3; 32])),
            Box::new(Secp256k1Identity::from_private_key(k256)),
            Box::new(Prime256v1Identity::from_private_key(p256)),
        ]
    }

    fn basic(seed: u8) -> BasicIdentity {
        BasicIdentity::from_raw_key(&[seed; 32])
    }

    fn delegate(
        from: &dyn Identity,
        to: &dyn Identity,
        change: impl Fn(&mut Delegation),
    ) -> SignedDelegation {
        let mut delegation = Delegation {
            pubkey: to.public_key().expect("a key"),
            expiration: NOW + 1,
            targets: None,
            permissions: None,
        };
        change(&mut delegation);
        let signature = from.sign_delegation(&delegation).expect("signed");
        SignedDelegation {
            delegation,
            signature: signature.signature.expect("a signature"),
        }
    }

    /// `to` acting for `from` through `chain`.
    fn delegated(
        from: &dyn Identity,
        to: BasicIdentity,
        chain: Vec<SignedDelegation>,
    ) -> DelegatedIdentity {
        DelegatedIdentity::new_unchecked(from.public_key().expect("a key"), Box::new(to), chain)
    }

    #[test]
    fn every_scheme_signs_and_forgeries_are_refused() {
        for identity in identities() {
            let content = call(&*identity);
            let request_ = check(&content, &*identity).expect("a good request");
            assert_eq!(request_.id, *content.to_request_id());
            assert_eq!(request_.targets, Targets::All);

            let mut forged = sign(&content, &*identity);
            if let Some(signature) = &mut forged.sender_sig {
                signature[5] ^= 1;
            }
            let result = request(&forged.encode_bytes(), &CONTEXT);
            assert!(matches!(reason(result), Auth::Signature(_)));

            let mut other = content.clone();
            if let EnvelopeContent::Call { arg, .. } = &mut other {
                arg.push(0);
            }
            let mut moved = sign(&content, &*identity);
            moved.content = Cow::Owned(other);
            let result = request(&moved.encode_bytes(), &CONTEXT);
            assert!(matches!(reason(result), Auth::Signature(_)));
        }
    }

    #[test]
    fn the_sender_is_the_keys_owner() {
        let content = call(&basic(1));
        let result = check(&content, &basic(2));
        assert!(matches!(reason(result), Auth::UserId(_)));

        let content = call(&basic(1));
        let unsigned = Envelope {
            content: Cow::Borrowed(&content),
            sender_pubkey: None,
            sender_sig: None,
            sender_delegation: None,
        };
        let result = request(&unsigned.encode_bytes(), &CONTEXT);
        assert!(matches!(reason(result), Auth::MissingSignature(_)));

        let content = call(&AnonymousIdentity);
        assert!(check(&content, &AnonymousIdentity).is_ok());
        let result = check(&content, &basic(1));
        assert_eq!(reason(result), Auth::AnonymousSignature);
    }

    #[test]
    fn expiry_window() {
        let identity = basic(1);
        let at = |expiry: u64| {
            let mut content = call(&identity);
            if let EnvelopeContent::Call { ingress_expiry, .. } = &mut content {
                *ingress_expiry = expiry;
            }
            check(&content, &identity)
        };
        assert!(at(NOW).is_ok());
        assert!(at(NOW + MAX_INGRESS_TTL_NS).is_ok());
        for expiry in [
            0,
            NOW - 1,
            NOW + MAX_INGRESS_TTL_NS + PERMITTED_DRIFT_NS + 1,
            u64::MAX,
        ] {
            assert!(matches!(at(expiry), Err(RequestError::Expiry(_))));
        }
        let read = |identity: &dyn Identity| EnvelopeContent::ReadState {
            ingress_expiry: 0,
            sender: identity.sender().expect("a sender"),
            paths: vec![vec!["time".into()]],
        };
        assert!(check(&read(&AnonymousIdentity), &AnonymousIdentity).is_ok());
        assert!(matches!(
            check(&read(&identity), &identity),
            Err(RequestError::Expiry(_))
        ));
    }

    #[test]
    fn delegations() {
        let (root, middle) = (basic(1), basic(2));
        let last = || basic(3);
        let send = |chain: Vec<SignedDelegation>, signer: BasicIdentity| {
            let identity = delegated(&root, signer, chain);
            check(&call(&identity), &identity)
        };
        let no_change = |_: &mut Delegation| {};
        let other = Principal::from_slice(&[9]);
        let target =
            |list: Vec<Principal>| move |d: &mut Delegation| d.targets = Some(list.clone());

        let chain = vec![
            delegate(&root, &middle, target(vec![callee(), other])),
            delegate(&middle, &last(), target(vec![callee()])),
        ];
        let good = send(chain, last()).expect("a good chain");
        assert_eq!(good.targets, Targets::Some([callee()].into()));

        let disjoint = vec![
            delegate(&root, &middle, target(vec![other])),
            delegate(&middle, &last(), target(vec![callee()])),
        ];
        assert_eq!(reason(send(disjoint, last())), Auth::Target(callee()));

        let expired = vec![delegate(&root, &last(), |d| d.expiration = NOW - 1)];
        assert!(matches!(
            reason(send(expired, last())),
            Auth::DelegationExpiry { .. }
        ));

        let by_another = vec![delegate(&middle, &last(), no_change)];
        assert!(matches!(
            reason(send(by_another, last())),
            Auth::Delegation(_)
        ));

        let mut widened = delegate(&root, &last(), target(vec![other]));
        widened.delegation.targets = None;
        assert!(matches!(
            reason(send(vec![widened], last())),
            Auth::Delegation(_)
        ));

        let wrong_signer = vec![delegate(&root, &last(), no_change)];
        assert!(matches!(
            reason(send(wrong_signer, basic(4))),
            Auth::Signature(_)
        ));

        let round_trip = vec![
            delegate(&root, &middle, no_change),
            delegate(&middle, &root, no_change),
        ];
        assert!(matches!(
            reason(send(round_trip, basic(1))),
            Auth::DelegationChain(_)
        ));

        let queries = vec![delegate(&root, &last(), |d| {
            d.permissions = Some(DelegationPermissions::Queries)
        })];
        assert_eq!(reason(send(queries, last())), Auth::QueriesOnly);

        let chain_of = |n: u8| -> Vec<SignedDelegation> {
            (0..n)
                .map(|i| delegate(&basic(100 + i), &basic(101 + i), no_change))
                .collect()
        };
        for (n, good) in [(20, true), (21, false)] {
            let identity = delegated(&basic(100), basic(100 + n), chain_of(n));
            assert_eq!(check(&call(&identity), &identity).is_ok(), good);
        }
    }

    #[test]
    fn malformed_bodies() {
        let good = {
            let identity = basic(1);
            sign(&call(&identity), &identity).encode_bytes()
        };
        for length in 0..good.len() {
            assert!(matches!(
                request(&good[..length], &CONTEXT),
                Err(RequestError::Malformed(_))
            ));
        }
        // An array of a million numbers of one byte each, where the content should be.
        let mut many = b"\xa1\x67content\x9a\x00\x0f\x42\x40".to_vec();
        many.resize(many.len() + 1_000_000, 0);
        assert!(matches!(
            request(&many, &CONTEXT),
            Err(RequestError::Malformed(text)) if text.contains("too many")
        ));
        assert_eq!(count_items(b"\x82\x42\x00\x00\x18\x2a", 10), 3);
        let nested = [vec![0x81; 100_000], vec![0]].concat();
        assert!(request(&nested, &CONTEXT).is_err());
        let long = {
            let identity = basic(1);
            let mut content = call(&identity);
            if let EnvelopeContent::Call { nonce, .. } = &mut content {
                *nonce = Some(vec![0; 33]);
            }
            check(&content, &identity)
        };
        assert!(matches!(long, Err(RequestError::Malformed(_))));
    }
}

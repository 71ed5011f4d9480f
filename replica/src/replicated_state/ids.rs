//! Canister ids: a counter in a principal.

use candid::Principal;

/// The id of the canister number `index`.
pub fn canister_id(index: u64) -> Principal {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&index.to_be_bytes());
    bytes[8..].copy_from_slice(&[1, 1]);
    Principal::from_slice(&bytes)
}

/// The number in a canister id, if it is one.
pub fn canister_index(id: &Principal) -> Option<u64> {
    let (number, end) = id.as_slice().split_first_chunk::<8>()?;
    (end == [1, 1]).then(|| u64::from_be_bytes(*number))
}

//! Which paths of the state tree a `read_state` request may ask for.

use super::state_thread::{Access, Published};
use super::tree::Path;
use super::validate::Targets;
use candid::Principal;
use std::collections::BTreeMap;

/// Whose paths are asked for, in the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `/api/../canister/<id>/..`
    Canister(Principal),
    /// `/api/../subnet/<id>/..`
    Subnet(Principal),
}

/// Who asks.
pub struct Reader<'a> {
    /// The signer.
    pub sender: Principal,
    /// The canisters that the signer's delegations cover.
    pub targets: &'a Targets,
}

/// Why paths are refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// Status 400.
    #[error("{0}")]
    Invalid(String),
    /// Status 403.
    #[error("{0}")]
    Forbidden(String),
    /// Status 404.
    #[error("Invalid path requested.")]
    Unknown,
}

/// Checks every path of a request.
///
/// # Errors
/// The first path that does not exist, does not belong to `scope`, or is not for `reader`.
pub fn check(
    paths: &[Path],
    scope: Scope,
    reader: &Reader,
    published: &Published,
    canisters: &BTreeMap<Principal, Access>,
) -> Result<(), PathError> {
    let mut request: Option<&[u8]> = None;
    for path in paths {
        let labels: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
        match labels.as_slice() {
            [b"time"] | [b"subnet"] | [b"api_boundary_nodes", ..] => {}
            [b"subnet", _]
            | [
                b"subnet",
                _,
                b"public_key" | b"canister_ranges" | b"node" | b"type",
            ]
            | [b"subnet", _, b"node", _]
            | [b"subnet", _, b"node", _, b"public_key"]
            | [b"canister_ranges", _] => {}
            [b"subnet", id, b"metrics"] if scope == Scope::Subnet(principal(id)?) => {}
            [b"canister", id, b"controllers" | b"module_hash"] => effective(id, scope)?,
            [b"canister", id, b"metadata", name] => {
                effective(id, scope)?;
                metadata(&principal(id)?, name, reader, canisters)?;
            }
            [b"request_status", id]
            | [
                b"request_status",
                id,
                b"status" | b"reply" | b"reject_code" | b"reject_message" | b"error_code",
            ] => {
                if request.is_some_and(|other| other != *id) {
                    return Err(PathError::Invalid(
                        "More than one request ID in request_status paths.".into(),
                    ));
                }
                request = Some(id);
                request_status(id, reader, published)?;
            }
            _ => return Err(PathError::Unknown),
        }
    }
    Ok(())
}

fn principal(bytes: &[u8]) -> Result<Principal, PathError> {
    Principal::try_from_slice(bytes)
        .map_err(|error| PathError::Invalid(format!("Could not parse principal: {error}")))
}

fn effective(id: &[u8], scope: Scope) -> Result<(), PathError> {
    let id = principal(id)?;
    if scope == Scope::Canister(id) {
        return Ok(());
    }
    Err(PathError::Invalid(format!(
        "Effective principal id in URL does not match requested principal id: {id}."
    )))
}

fn metadata(
    canister: &Principal,
    name: &[u8],
    reader: &Reader,
    canisters: &BTreeMap<Principal, Access>,
) -> Result<(), PathError> {
    let name = std::str::from_utf8(name).map_err(|error| {
        PathError::Invalid(format!("Could not parse the custom section name: {error}."))
    })?;
    let Some(access) = canisters.get(canister) else {
        return Ok(());
    };
    let private = access.private_metadata.iter().any(|known| known == name);
    if private && !access.controllers.contains(&reader.sender) {
        return Err(PathError::Forbidden(format!(
            "Custom section {name:.100} can only be requested by the controllers of the canister."
        )));
    }
    Ok(())
}

fn request_status(id: &[u8], reader: &Reader, published: &Published) -> Result<(), PathError> {
    let id = id.try_into().map_err(|_| {
        PathError::Invalid("Invalid request id in paths: it must have 32 bytes.".into())
    })?;
    let Some(owner) = published.owner(&id) else {
        return Ok(());
    };
    if owner.sender != reader.sender {
        return Err(PathError::Forbidden(
            "The user tries to access Request ID not signed by the caller.".into(),
        ));
    }
    if !reader.targets.contains(&owner.receiver) {
        return Err(PathError::Forbidden(
            "The user tries to access request IDs for canisters not belonging to sender \
             delegation targets."
                .into(),
        ));
    }
    Ok(())
}

//! Creating canisters and installing code, through the management canister.

use crate::client::{decode, encode};
use crate::{Error, Network, Result};
use candid::utils::ArgumentEncoder;
use candid::{CandidType, Nat, Principal};
use ic_agent::AgentError;
pub use ic_management_canister_types::CanisterInstallMode;
use ic_management_canister_types::{
    CanisterIdRecord, CanisterSettings, ChunkHash, InstallChunkedCodeArgs,
    ProvisionalCreateCanisterWithCyclesArgs, StoredChunksResult, UploadChunkArgs,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// Size of one piece of code in a canister's chunk store (bytes).
const CODE_CHUNK: usize = 1 << 20;

/// The first canister id of a network: calls that create canisters are routed by it.
const FIRST_CANISTER: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1];

/// Creates a canister with the given cycles, controlled by the caller. Local replicas only.
///
/// # Errors
/// [`Error::Unsupported`] on other networks.
pub async fn create_canister(network: &Network, cycles: u128) -> Result<Principal> {
    if !network.local {
        return Err(Error::Unsupported(format!(
            "canisters of {} are not free: create one with dfx or icp, then name it with --canister",
            network.url
        )));
    }
    let arguments = ProvisionalCreateCanisterWithCyclesArgs {
        amount: Some(Nat::from(cycles)),
        settings: Some(CanisterSettings::default()),
        ..Default::default()
    };
    let effective = Principal::from_slice(&FIRST_CANISTER);
    let method = "provisional_create_canister_with_cycles";
    let record: CanisterIdRecord = call(network, effective, method, (arguments,)).await?;
    Ok(record.canister_id)
}

/// What [`install`] does to a canister.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Upgrades a canister that has code, installs in one that has none.
    Auto,
    /// Installs in a canister without code.
    Install,
    /// Replaces the code and keeps what is stored.
    Upgrade,
    /// Replaces the code and deletes what is stored.
    Reinstall,
}

/// Installs or upgrades a canister's code (Wasm, plain or gzip) through its chunk store, because a module
/// may be larger than a message. Returns the mode that was used.
///
/// # Errors
/// [`Error::Call`] if the network refuses, for example if the caller is no controller.
pub async fn install(
    network: &Network,
    canister: Principal,
    wasm: &[u8],
    mode: Mode,
) -> Result<CanisterInstallMode> {
    let mode = match mode {
        Mode::Auto if module_hash(network, canister).await?.is_some() => {
            CanisterInstallMode::Upgrade(None)
        }
        Mode::Auto | Mode::Install => CanisterInstallMode::Install,
        Mode::Upgrade => CanisterInstallMode::Upgrade(None),
        Mode::Reinstall => CanisterInstallMode::Reinstall,
    };
    let id = CanisterIdRecord {
        canister_id: canister,
    };
    let stored: StoredChunksResult = call(network, canister, "stored_chunks", (&id,)).await?;
    let mut chunk_hashes_list = Vec::new();
    for chunk in wasm.chunks(CODE_CHUNK) {
        let hash = ChunkHash {
            hash: Sha256::digest(chunk).to_vec(),
        };
        if !stored.contains(&hash) {
            let arguments = UploadChunkArgs {
                canister_id: canister,
                chunk: chunk.to_vec(),
            };
            call::<ChunkHash>(network, canister, "upload_chunk", (arguments,)).await?;
        }
        chunk_hashes_list.push(hash);
    }
    let arguments = InstallChunkedCodeArgs {
        mode,
        target_canister: canister,
        store_canister: None,
        chunk_hashes_list,
        wasm_module_hash: Sha256::digest(wasm).to_vec(),
        arg: encode("install_chunked_code", ())?,
        sender_canister_version: None,
    };
    call_unit(network, canister, "install_chunked_code", (arguments,)).await?;
    call_unit(network, canister, "clear_chunk_store", (id,)).await?;
    Ok(mode)
}

/// Starts a stopped canister.
///
/// # Errors
/// [`Error::Call`] if the network refuses.
pub async fn start(network: &Network, canister: Principal) -> Result<()> {
    call_unit(
        network,
        canister,
        "start_canister",
        (CanisterIdRecord {
            canister_id: canister,
        },),
    )
    .await
}

/// Stops a canister: it finishes what it has begun and accepts nothing new.
///
/// # Errors
/// [`Error::Call`] if the network refuses.
pub async fn stop(network: &Network, canister: Principal) -> Result<()> {
    call_unit(
        network,
        canister,
        "stop_canister",
        (CanisterIdRecord {
            canister_id: canister,
        },),
    )
    .await
}

/// Returns the certified SHA-256 of a canister's code; `None` if it has none.
///
/// # Errors
/// [`Error::Call`] if the network refuses.
pub async fn module_hash(network: &Network, canister: Principal) -> Result<Option<Vec<u8>>> {
    match network
        .agent
        .read_state_canister_module_hash(canister)
        .await
    {
        Ok(hash) => Ok(Some(hash)),
        Err(AgentError::LookupPathAbsent(_)) => Ok(None),
        Err(error) => Err(Error::call("read the module's hash")(error)),
    }
}

/// The part of `canister_status` that is needed here.
#[derive(CandidType, Deserialize)]
struct StatusReply {
    settings: Settings,
}

#[derive(CandidType, Deserialize)]
struct Settings {
    wasm_memory_limit: Nat,
}

/// Returns the limit of a canister's heap (bytes; 0: none); `None` if it does not fit 64 bits.
///
/// # Errors
/// [`Error::Call`] if the caller is no controller of the canister.
pub async fn heap_limit(network: &Network, canister: Principal) -> Result<Option<u64>> {
    let id = CanisterIdRecord {
        canister_id: canister,
    };
    let status: StatusReply = call(network, canister, "canister_status", (id,)).await?;
    Ok(status.settings.wasm_memory_limit.0.try_into().ok())
}

async fn call<T: CandidType + DeserializeOwned>(
    network: &Network,
    effective: Principal,
    method: &str,
    arguments: impl ArgumentEncoder,
) -> Result<T> {
    decode(method, &raw(network, effective, method, arguments).await?)
}

async fn call_unit(
    network: &Network,
    effective: Principal,
    method: &str,
    arguments: impl ArgumentEncoder,
) -> Result<()> {
    let reply = raw(network, effective, method, arguments).await?;
    candid::decode_args(&reply).map_err(|source| Error::Candid {
        method: method.into(),
        source,
    })
}

async fn raw(
    network: &Network,
    effective: Principal,
    method: &str,
    arguments: impl ArgumentEncoder,
) -> Result<Vec<u8>> {
    let arguments = encode(method, arguments)?;
    network
        .agent
        .update(&Principal::management_canister(), method)
        .with_effective_canister_id(effective)
        .with_arg(arguments)
        .call_and_wait()
        .await
        .map_err(Error::call(method))
}

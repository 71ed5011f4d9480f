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
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// Bytes of one piece of code in a canister's chunk store.
const CODE_CHUNK: usize = 1 << 20;

/// The first canister id of a network: calls that create canisters are routed by it.
const FIRST_CANISTER: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1];

/// Creates a canister with the given cycles, controlled by the caller. Local replicas only.
pub async fn create_canister(network: &Network, cycles: u128) -> Result<Principal> {
    if !network.local {
        return Err(Error::Unsupported(format!(
            "{} gives no canisters away: create one with dfx or icp, then name it with --canister",
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

/// What [`install`] shall do to a canister.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Upgrade where there is code, install where there is none.
    Auto,
    Install,
    Upgrade,
    Reinstall,
}

/// Installs or upgrades a canister's code (Wasm, plain or gzip), through its chunk store: a module
/// may be larger than a message. Gives the mode that was used.
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

/// Stops a canister: it finishes what it has begun and takes nothing new.
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

/// The sha256 of the code a canister runs, certified; `None` without code.
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

//! The management canister, `aaaaa-aa`.

pub(crate) mod answers;
pub(crate) mod call;
pub(crate) mod lifecycle;
mod settings;
mod snapshot_data;
mod snapshots;
#[expect(
    missing_docs,
    reason = "fields and variants are named and described in the interface specification"
)]
pub mod types;

use crate::Replica;
use crate::cycles::Amount;
use crate::messages::execution::Effects;
use crate::replicated_state::calls::Origin;
use crate::replicated_state::canister::Canister;
use crate::runtime::failure::{ErrorCode, UserError};
use answers::{
    MAX_CHUNK, MAX_CHUNKS, amount, arg_is_empty, canister_logs, check_controller,
    check_controller_ingress, chunk_store, decode, empty, encode, module_hash, not_found, payload,
};
use call::{Call, Ended, FROM_USERS, routable, target};
use candid::Principal;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use types::*;

/// Instructions that storing a chunk counts.
const CHUNK_INSTRUCTIONS: u64 = 200_000_000;

/// Methods that any user may call.
const FROM_ANYBODY: [&str; 2] = [
    "provisional_create_canister_with_cycles",
    "provisional_top_up_canister",
];

/// Methods that whoever may see the snapshots may call.
const OF_SNAPSHOTS: [&str; 3] = [
    "list_canister_snapshots",
    "read_canister_snapshot_data",
    "read_canister_snapshot_metadata",
];

impl Replica {
    /// Whether a user's call of the management canister is let in.
    pub(crate) fn check_management_ingress(
        &self,
        sender: Principal,
        method: &str,
        arg: &[u8],
    ) -> Result<(), UserError> {
        if method == "raw_rand" || method == "create_canister" || method == "deposit_cycles" {
            return Err(UserError::new(
                ErrorCode::CanisterRejectedMessage,
                format!("Only canisters can call ic00 method {method}"),
            ));
        }
        if !FROM_USERS.contains(&method) {
            return Err(UserError::new(
                ErrorCode::CanisterMethodNotFound,
                format!("Management canister has no method '{method}'"),
            ));
        }
        let Some(id) = target(method, arg)? else {
            return Ok(());
        };
        let canister = self.find(&id)?;
        let reads = OF_SNAPSHOTS.contains(&method);
        if FROM_ANYBODY.contains(&method)
            || (reads && canister.settings.snapshot_visibility.include(&sender))
        {
            return Ok(());
        }
        check_controller_ingress(canister, &sender, method)
    }

    pub(crate) fn find(&self, id: &Principal) -> Result<&Canister, UserError> {
        self.canisters.get(id).ok_or_else(|| not_found(id))
    }

    fn find_mut(&mut self, id: &Principal) -> Result<&mut Canister, UserError> {
        self.canisters.get_mut(id).ok_or_else(|| not_found(id))
    }

    /// A canister that the caller controls.
    fn controlled(
        &mut self,
        id: &Principal,
        caller: &Principal,
    ) -> Result<&mut Canister, UserError> {
        let canister = self.find_mut(id)?;
        check_controller(canister, caller)?;
        Ok(canister)
    }

    /// Executes one call of the management canister.
    pub(crate) fn manage(&mut self, call: &Call, effects: &mut Effects) -> Ended {
        let caller = call.origin.caller();
        let method = call.method.as_str();
        let arg = call.arg.as_slice();
        if let (Origin::Canister { .. }, Err(text)) = (&call.origin, routable(method, arg)) {
            let error = UserError::new(ErrorCode::CanisterNotFound, text);
            return Ended::Now(Err(error), call.cycles);
        }
        match method {
            "create_canister" => self.create(call),
            "raw_rand" => match arg_is_empty(arg) {
                Ok(()) => {
                    self.random_requests.push(call.origin.clone());
                    Ended::Later
                }
                Err(error) => Err(error).into(),
            },
            "deposit_cycles" => match self.deposit(arg, call.cycles) {
                Ok(()) => empty().into(),
                Err(error) => Ended::Now(Err(error), call.cycles),
            },
            "stop_canister" => self.stop(call, effects),
            "install_code" | "install_chunked_code" => self.install(call),
            _ => Ended::Now(self.simple(method, caller, arg, effects), call.cycles),
        }
    }

    fn simple(
        &mut self,
        method: &str,
        caller: Principal,
        arg: &[u8],
        effects: &mut Effects,
    ) -> Result<Vec<u8>, UserError> {
        match method {
            "provisional_create_canister_with_cycles" => self.provisional_create(caller, arg),
            "provisional_top_up_canister" => {
                let args: ProvisionalTopUp = decode(arg)?;
                let cycles = amount(&args.amount, "amount")?;
                self.find_mut(&args.canister_id)?.cycles += cycles;
                empty()
            }
            "update_settings" => {
                let args: UpdateSettings = decode(arg)?;
                self.update_settings(caller, &args)
            }
            "canister_status" => {
                let args: CanisterIdRecord = decode(arg)?;
                self.canister_status(caller, &args.canister_id)
            }
            "canister_info" => {
                let args: CanisterInfoArgs = decode(arg)?;
                let canister = self.find(&args.canister_id)?;
                encode(&CanisterInfoResult {
                    total_num_changes: canister.history.total(),
                    recent_changes: canister
                        .history
                        .latest(args.num_requested_changes.unwrap_or(0) as usize),
                    module_hash: module_hash(canister),
                    controllers: canister.settings.controllers.clone(),
                })
            }
            "start_canister" => self.start(caller, arg, effects),
            "uninstall_code" => self.uninstall(caller, arg, effects),
            "delete_canister" => self.delete(caller, arg),
            "take_canister_snapshot" => self.take_snapshot(caller, arg, effects),
            "load_canister_snapshot" => self.load_snapshot(caller, arg),
            "list_canister_snapshots" => self.list_snapshots(caller, arg),
            "delete_canister_snapshot" => self.delete_snapshot(caller, arg),
            "read_canister_snapshot_metadata" => self.read_snapshot_metadata(caller, arg),
            "read_canister_snapshot_data" => self.read_snapshot_data(caller, arg),
            "upload_canister_snapshot_metadata" => self.upload_snapshot_metadata(caller, arg),
            "upload_canister_snapshot_data" => self.upload_snapshot_data(caller, arg),
            "upload_chunk" => self.upload_chunk(caller, arg),
            "clear_chunk_store" => {
                let args: CanisterIdRecord = decode(arg)?;
                let canister = self.controlled(&args.canister_id, &caller)?;
                canister.chunks.clear();
                empty()
            }
            "stored_chunks" => {
                let args: CanisterIdRecord = decode(arg)?;
                let canister = self.controlled(&args.canister_id, &caller)?;
                let chunks: Vec<ChunkHash> = canister
                    .chunks
                    .keys()
                    .map(|hash| ChunkHash {
                        hash: hash.to_vec(),
                    })
                    .collect();
                encode(&chunks)
            }
            "fetch_canister_logs" => canister_logs(caller, arg, |id| {
                let canister = self.find(id)?;
                Ok((canister.may_read_log(&caller), &canister.log))
            }),
            "ecdsa_public_key" | "sign_with_ecdsa" | "schnorr_public_key" | "sign_with_schnorr"
            | "vetkd_public_key" | "vetkd_derive_key" => Err(payload(format!(
                "{method}: this subnet holds no threshold keys"
            ))),
            "http_request" => Err(UserError::new(
                ErrorCode::CanisterRejectedMessage,
                "This API is not enabled on this subnet",
            )),
            "bitcoin_get_balance"
            | "bitcoin_get_utxos"
            | "bitcoin_send_transaction"
            | "bitcoin_get_current_fee_percentiles"
            | "node_metrics_history"
            | "subnet_info" => Err(UserError::new(
                ErrorCode::CanisterRejectedMessage,
                format!("{method} is not available on this subnet"),
            )),
            _ => Err(UserError::new(
                ErrorCode::CanisterMethodNotFound,
                format!("Management canister has no method '{method}'"),
            )),
        }
    }

    fn deposit(&mut self, arg: &[u8], cycles: u128) -> Result<(), UserError> {
        let args: CanisterIdRecord = decode(arg)?;
        self.find_mut(&args.canister_id)?.cycles += cycles;
        Ok(())
    }

    fn upload_chunk(&mut self, caller: Principal, arg: &[u8]) -> Result<Vec<u8>, UserError> {
        let args: UploadChunk = decode(arg)?;
        let fees = self.fees();
        let canister = self.find_mut(&args.canister_id)?;
        if !canister.is_controller(&caller) && caller != canister.id {
            check_controller(canister, &caller)?;
        }
        if args.chunk.len() > MAX_CHUNK {
            return Err(chunk_store(format!(
                "Wasm chunk size {} exceeds the maximum chunk size of {MAX_CHUNK}",
                args.chunk.len()
            )));
        }
        let hash: [u8; 32] = Sha256::digest(&args.chunk).into();
        if !canister.chunks.contains_key(&hash) {
            if canister.chunks.len() >= MAX_CHUNKS {
                return Err(chunk_store(format!(
                    "Wasm chunk store has already reached maximum capacity of {MAX_CHUNKS} chunks"
                )));
            }
            let cost = fees.execution(CHUNK_INSTRUCTIONS, false);
            canister.withdraw(cost, fees).map_err(|missing| {
                let missing = Amount(missing);
                UserError::new(
                    ErrorCode::CanisterOutOfCycles,
                    format!(
                        "Canister {} is out of cycles: please top up the canister with at least \
                         {missing} additional cycles",
                        canister.id
                    ),
                )
            })?;
            canister.consumed.instructions += cost as i128;
            canister.chunks.insert(hash, Arc::new(args.chunk));
        }
        encode(&ChunkHash {
            hash: hash.to_vec(),
        })
    }
}

//! Creating, installing, starting, stopping and deleting canisters.

use super::answers::{
    DEFAULT_PROVISIONAL, amount, check_controller, chunk_store, decode, empty, encode,
};
use super::call::{Call, Ended};
use super::settings;
use super::types::*;
use crate::Replica;
use crate::cycles::{Amount, INSTALL_LIMIT, SLICE};
use crate::messages::execution::Effects;
use crate::messages::install::{Install, Kind, check_initial_heap, install};
use crate::replicated_state::calls::DelayedAnswer;
use crate::replicated_state::history::{ChangeDetails, DeploymentMode};
use crate::replicated_state::ids::{canister_id, canister_index};
use crate::replicated_state::queues::Letter;
use crate::replicated_state::{Canister, Origin, Response, Settings, Status, StopRequest};
use crate::runtime::engine::Engine;
use crate::runtime::failure::{ErrorCode, UserError};
use crate::runtime::module::CompiledModule;
use crate::runtime::system_api::state::Answer;
use crate::storage::FileStore;
use candid::Principal;
use sha2::{Digest, Sha256};
use std::sync::Arc;

impl Replica {
    pub(super) fn create(&mut self, call: &Call) -> Ended {
        let fee = self.fees().create();
        let args: CreateCanister = if call.arg.is_empty() {
            CreateCanister {
                settings: None,
                sender_canister_version: None,
            }
        } else {
            match decode(&call.arg) {
                Ok(args) => args,
                Err(error) => return Ended::Now(Err(error), call.cycles),
            }
        };
        if call.cycles < fee {
            let error = UserError::new(
                ErrorCode::InsufficientCyclesForCreate,
                format!(
                    "Creating a canister requires a fee of {} that is deducted from the \
                     canister's initial balance but only {} cycles were received with the \
                     create_canister request.",
                    Amount(fee),
                    Amount(call.cycles)
                ),
            );
            return Ended::Now(Err(error), call.cycles);
        }
        let caller = call.origin.caller();
        let version = args.sender_canister_version;
        let settings = args.settings.as_ref();
        match self.new_canister(caller, call.cycles - fee, settings, None, version) {
            Ok(id) => Ended::Now(encode(&CanisterIdRecord { canister_id: id }), 0),
            Err(error) => Ended::Now(Err(error), call.cycles),
        }
    }

    pub(super) fn provisional_create(
        &mut self,
        caller: Principal,
        arg: &[u8],
    ) -> Result<Vec<u8>, UserError> {
        let args: ProvisionalCreate = decode(arg)?;
        let cycles = match &args.amount {
            Some(nat) => amount(nat, "amount")?,
            None => DEFAULT_PROVISIONAL,
        };
        let version = args.sender_canister_version;
        let settings = args.settings.as_ref();
        let id = self.new_canister(caller, cycles, settings, args.specified_id, version)?;
        encode(&CanisterIdRecord { canister_id: id })
    }

    fn new_canister(
        &mut self,
        controller: Principal,
        cycles: u128,
        wanted: Option<&CanisterSettings>,
        id: Option<Principal>,
        version: Option<u64>,
    ) -> Result<Principal, UserError> {
        let mut settings = Settings::new(controller);
        if let Some(wanted) = wanted {
            settings::apply(&mut settings, wanted)?;
        }
        let free = self.free_compute(0);
        let id = match id {
            Some(id) if self.canisters.contains_key(&id) => {
                return Err(UserError::new(
                    ErrorCode::CanisterAlreadyInstalled,
                    format!("Canister {id} is already installed."),
                ));
            }
            Some(id) => {
                let (first, last) = self.effective_range();
                let inside = canister_index(&id).is_some() && first <= id && id <= last;
                if !inside {
                    return Err(UserError::new(
                        ErrorCode::CanisterNotHostedBySubnet,
                        format!(
                            "The `specified_id` {id} is invalid because it does not belong to the canister allocation ranges of the current subnet."
                        ),
                    ));
                }
                id
            }
            None => loop {
                let id = canister_id(self.next_canister);
                self.next_canister += 1;
                if !self.canisters.contains_key(&id) {
                    break id;
                }
            },
        };
        let mut canister = Canister::new(id, controller, cycles, self.time_ns, &self.store)
            .map_err(|error| UserError::new(ErrorCode::SubnetOversubscribed, error.to_string()))?;
        let controllers = settings.controllers.clone();
        let at = self.saturation();
        settings::check_cycles(&mut canister, &settings, self.fees(), at, free)?;
        canister.settings = settings;
        let details = ChangeDetails::creation { controllers };
        canister.note_change(self.time_ns, controller, version, details);
        self.canisters.insert(id, canister);
        Ok(id)
    }

    pub(super) fn install(&mut self, call: &Call) -> Ended {
        match self.try_install(call) {
            Ok((target, rounds)) if rounds > 1 => {
                if let Some(canister) = self.canisters.get_mut(&target) {
                    canister.installing_rounds = rounds - 1;
                }
                self.delayed.push(DelayedAnswer {
                    rounds: rounds - 1,
                    origin: call.origin.clone(),
                    cycles: call.cycles,
                    result: empty(),
                });
                Ended::Later
            }
            Ok(_) => Ended::Now(empty(), call.cycles),
            Err(error) => Ended::Now(Err(error), call.cycles),
        }
    }

    /// Installs code; gives the canister and the rounds that it takes.
    fn try_install(&mut self, call: &Call) -> Result<(Principal, u64), UserError> {
        let caller = call.origin.caller();
        let args = if call.method == "install_code" {
            decode::<InstallCode>(&call.arg)?
        } else {
            self.assemble(caller, decode(&call.arg)?)?
        };
        let (fees, now) = (self.fees(), self.time_ns);
        let id = args.canister_id;
        let canister = self.controlled(&id, &caller)?;
        if canister.install_debit > 0 {
            return Err(UserError::new(
                ErrorCode::InstallCodeRateLimited,
                format!(
                    "Canister {id} is rate limited because it executed too many instructions in \
                     the previous install_code messages. Please retry installation after several \
                     minutes."
                ),
            ));
        }
        let (mode, version) = (args.mode, args.sender_canister_version);
        let prepaid = fees.execution(INSTALL_LIMIT, false);
        canister.withdraw(prepaid, fees).map_err(|missing| {
            let missing = Amount(missing);
            UserError::new(
                ErrorCode::CanisterOutOfCycles,
                format!(
                    "Canister installation failed with `Canister {id} is out of cycles: please top \
                     up the canister with at least {missing} additional cycles`."
                ),
            )
        })?;
        let result = self.run_install(id, args, caller, prepaid);
        let round = self.round_context();
        let (result, instructions, heap_delta) = match result {
            Ok(installed) => (
                installed.result,
                installed.instructions,
                installed.heap_delta,
            ),
            Err(error) => (Err(error), 0, 0),
        };
        let canister = self.controlled(&id, &caller)?;
        let cost = round.fees.execution(instructions, false).min(prepaid);
        canister.cycles += prepaid - cost;
        canister.consumed.instructions += cost as i128;
        canister.install_debit += instructions;
        canister.heap_delta_debit += heap_delta;
        if result.is_ok()
            && let Some(code) = &canister.code
        {
            let details = ChangeDetails::code_deployment {
                mode: match mode {
                    InstallMode::install => DeploymentMode::install,
                    InstallMode::reinstall => DeploymentMode::reinstall,
                    InstallMode::upgrade(_) => DeploymentMode::upgrade,
                },
                module_hash: code.module.hash.to_vec(),
            };
            canister.note_change(now, caller, version, details);
        }
        self.install_instructions += instructions;
        result.map(|()| (id, instructions.div_ceil(SLICE).max(1)))
    }

    fn run_install(
        &mut self,
        id: Principal,
        args: InstallCode,
        sender: Principal,
        prepaid: u128,
    ) -> Result<crate::messages::install::Installed, UserError> {
        let engine =
            Engine::get().map_err(|text| UserError::new(ErrorCode::CanisterInvalidWasm, text))?;
        let module = CompiledModule::compile(engine, &args.wasm_module, &self.store)
            .map_err(|error| {
                UserError::new(
                    ErrorCode::CanisterInvalidWasm,
                    format!("Error from Canister {id}: {error}.\nIf you are running this canister in a test environment (e.g., dfx), make sure the test environment is up to date."),
                )
            })?;
        let compiled_before = !self.compiled.insert(module.hash);
        let round = self.round_context();
        let canister = self.canisters.get_mut(&id).ok_or_else(|| {
            UserError::new(
                ErrorCode::CanisterNotFound,
                format!("Canister {id} not found"),
            )
        })?;
        check_initial_heap(canister, &module)?;
        let request = Install {
            mode: match args.mode {
                InstallMode::install => Kind::Install,
                InstallMode::reinstall => Kind::Reinstall,
                InstallMode::upgrade(options) => Kind::Upgrade {
                    skip_pre_upgrade: options
                        .and_then(|options| options.skip_pre_upgrade)
                        .unwrap_or(false),
                    keep_memory: options
                        .and_then(|options| options.wasm_memory_persistence)
                        .map(|kind| kind == MemoryPersistence::keep),
                },
            },
            module,
            compiled_before,
            arg: args.arg,
            sender,
            prepaid,
        };
        Ok(crate::runtime::stack::on_big_stack(|| {
            install(canister, &request, &round)
        }))
    }

    /// The module that chunks make up.
    fn assemble(
        &self,
        caller: Principal,
        args: InstallChunkedCode,
    ) -> Result<InstallCode, UserError> {
        let store_id = args.store_canister.unwrap_or(args.target_canister);
        let store = self.find(&store_id)?;
        if caller != store_id {
            check_controller(store, &caller)?;
        }
        let mut module = Vec::new();
        for chunk in &args.chunk_hashes_list {
            let found = <[u8; 32]>::try_from(chunk.hash.as_slice())
                .ok()
                .and_then(|hash| store.chunks.get(&hash));
            let chunk = found.ok_or_else(|| {
                chunk_store(format!(
                    "Chunk hash {} was not found",
                    hex::encode(&chunk.hash)
                ))
            })?;
            module.extend_from_slice(chunk);
        }
        let hash: [u8; 32] = Sha256::digest(&module).into();
        if args.wasm_module_hash != hash {
            return Err(chunk_store(format!(
                "Wasm module hash {} does not match given hash {}",
                hex::encode(hash),
                hex::encode(&args.wasm_module_hash)
            )));
        }
        Ok(InstallCode {
            mode: args.mode,
            canister_id: args.target_canister,
            wasm_module: module,
            arg: args.arg,
            sender_canister_version: args.sender_canister_version,
        })
    }

    pub(super) fn start(
        &mut self,
        caller: Principal,
        arg: &[u8],
        effects: &mut Effects,
    ) -> Result<Vec<u8>, UserError> {
        let args: CanisterIdRecord = decode(arg)?;
        let canister = self.controlled(&args.canister_id, &caller)?;
        let id = canister.id;
        canister.version += 1;
        if let Status::Stopping(requests) = std::mem::replace(&mut canister.status, Status::Running)
        {
            for request in requests {
                let error = UserError::new(
                    ErrorCode::CanisterStoppingCancelled,
                    format!("Canister {id}'s stop request was cancelled."),
                );
                self.answer(&request.origin, Err(error), request.cycles, effects);
            }
        }
        empty()
    }

    pub(super) fn stop(&mut self, call: &Call, effects: &mut Effects) -> Ended {
        let caller = call.origin.caller();
        let now = self.time_ns;
        let request = StopRequest {
            origin: call.origin.clone(),
            cycles: call.cycles,
            since_ns: now,
        };
        let result = decode::<CanisterIdRecord>(&call.arg)
            .and_then(|args| self.controlled(&args.canister_id, &caller));
        let canister = match result {
            Ok(canister) => canister,
            Err(error) => return Ended::Now(Err(error), call.cycles),
        };
        let _ = effects;
        match &mut canister.status {
            Status::Stopped => {
                canister.version += 1;
                Ended::Now(empty(), call.cycles)
            }
            Status::Stopping(requests) => {
                requests.push(request);
                Ended::Later
            }
            Status::Running => {
                canister.version += 1;
                canister.status = Status::Stopping(vec![request]);
                Ended::Later
            }
        }
    }

    /// Answers stop requests of canisters that have nothing open, or that waited too long.
    pub(crate) fn process_stopping(&mut self, effects: &mut Effects) {
        const TIMEOUT_NS: u64 = 300_000_000_000;
        let now = self.time_ns;
        let mut answers = Vec::new();
        for canister in self.canisters.values_mut() {
            let ready = canister.callbacks.is_empty()
                && canister.contexts.is_empty()
                && canister.paused.is_none();
            let Status::Stopping(requests) = &mut canister.status else {
                continue;
            };
            if ready {
                let requests = std::mem::take(requests);
                canister.status = Status::Stopped;
                canister.version += 1;
                answers.extend(requests.into_iter().map(|request| (request, empty())));
            } else {
                let (late, waiting) = std::mem::take(requests)
                    .into_iter()
                    .partition(|request| now >= request.since_ns + TIMEOUT_NS);
                *requests = waiting;
                answers.extend(Vec::into_iter(late).map(|request| {
                    let error = UserError::new(
                        ErrorCode::StopCanisterRequestTimeout,
                        "Stop canister request timed out",
                    );
                    (request, Err(error))
                }));
            }
        }
        for (request, result) in answers {
            self.answer(&request.origin, result, request.cycles, effects);
        }
    }

    pub(super) fn uninstall(
        &mut self,
        caller: Principal,
        arg: &[u8],
        effects: &mut Effects,
    ) -> Result<Vec<u8>, UserError> {
        let args: UninstallCode = decode(arg)?;
        let (now, store) = (self.time_ns, self.store.clone());
        let canister = self.controlled(&args.canister_id, &caller)?;
        uninstall(canister, &store, effects);
        let version = args.sender_canister_version;
        canister.note_change(now, caller, version, ChangeDetails::code_uninstall);
        empty()
    }

    pub(super) fn delete(&mut self, caller: Principal, arg: &[u8]) -> Result<Vec<u8>, UserError> {
        let args: CanisterIdRecord = decode(arg)?;
        let canister = self.controlled(&args.canister_id, &caller)?;
        let id = canister.id;
        if !matches!(canister.status, Status::Stopped) {
            return Err(UserError::new(
                ErrorCode::CanisterNotStopped,
                format!("Canister {id} must be stopped before it is deleted."),
            ));
        }
        if caller == id {
            return Err(UserError::new(
                ErrorCode::CanisterInvalidController,
                format!("Canister {id} cannot delete itself."),
            ));
        }
        self.canisters.remove(&id);
        empty()
    }

    /// Answers a call of the management canister.
    pub(crate) fn answer(
        &mut self,
        origin: &Origin,
        result: Result<Vec<u8>, UserError>,
        refund: u128,
        effects: &mut Effects,
    ) {
        match origin {
            Origin::Ingress { id, .. } => {
                let status = match result {
                    Ok(reply) => crate::IngressStatus::Replied(reply),
                    Err(error) => crate::IngressStatus::Rejected(error.into()),
                };
                effects.ingress.push((*id, status));
            }
            Origin::Canister {
                sender, callback, ..
            } => {
                let answer = match result {
                    Ok(reply) => Answer::Reply(reply),
                    Err(error) => reject_for_canister(error),
                };
                let response = Response {
                    receiver: *sender,
                    respondent: Principal::management_canister(),
                    callback: *callback,
                    answer,
                    refund,
                };
                if let Some(canister) = self.canisters.get_mut(sender) {
                    canister.queues.push_input(Letter::Response(response));
                }
            }
            Origin::Task => {}
        }
    }
}

/// An error of the management canister as a calling canister sees it.
fn reject_for_canister(error: UserError) -> Answer {
    let code = error.code.reject_code();
    match error.code {
        ErrorCode::CanisterMethodNotFound => {
            Answer::Reject(code, format!("{}: {}", error.code.text(), error.text))
        }
        _ => Answer::Reject(code, error.text),
    }
}

/// Takes a canister's code and memories, and closes its open calls.
pub(crate) fn uninstall(canister: &mut Canister, store: &Arc<FileStore>, effects: &mut Effects) {
    use crate::messages::respond::Verdict;
    canister.code = None;
    if let Ok(stable) = crate::memory::stable::Stable::new(store) {
        canister.stable = stable;
    }
    canister.timer = None;
    canister.certified_data.clear();
    canister.chunks.clear();
    canister.log.clear();
    canister.tasks.clear();
    canister.paused = None;
    canister.version += 1;
    let mut waiting = Vec::new();
    for context in canister.contexts.values_mut() {
        context.deleted = true;
        if !context.responded {
            context.responded = true;
            waiting.push((context.origin.clone(), std::mem::take(&mut context.cycles)));
        }
    }
    for (origin, refund) in waiting {
        let verdict = Verdict::Reject("Canister has been uninstalled.".into());
        crate::messages::respond::respond(canister, &origin, refund, verdict, effects);
    }
    let open: std::collections::BTreeSet<u64> = canister
        .callbacks
        .values()
        .map(|callback| callback.context)
        .collect();
    canister.contexts.retain(|id, _| open.contains(id));
}

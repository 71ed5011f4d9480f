//! Settings and status of canisters.

use super::answers::{check_controller, empty, encode, module_hash, payload};
use super::types::*;
use crate::Replica;
use crate::cycles::{Amount, Fees, Saturation};
use crate::limits::THREADS;
use crate::log::CAPACITY;
use crate::messages::execution::update_low_memory_hook;
use crate::replicated_state::canister::NotReserved;
use crate::replicated_state::history::ChangeDetails;
use crate::replicated_state::settings::Readers;
use crate::replicated_state::{Canister, Settings, Status};
use crate::runtime::failure::{ErrorCode, UserError};
use candid::{Nat, Principal};

const MAX_CONTROLLERS: usize = 10;

fn readers(visibility: &LogVisibility) -> Readers {
    match visibility {
        LogVisibility::controllers => Readers::Controllers,
        LogVisibility::public => Readers::Public,
        LogVisibility::allowed_viewers(viewers) => Readers::Allowed(viewers.clone()),
    }
}

fn visibility(readers: &Readers) -> LogVisibility {
    match readers {
        Readers::Controllers => LogVisibility::controllers,
        Readers::Public => LogVisibility::public,
        Readers::Allowed(viewers) => LogVisibility::allowed_viewers(viewers.clone()),
    }
}

fn invalid(text: impl Into<String>) -> UserError {
    UserError::new(ErrorCode::CanisterContractViolation, text)
}

/// A number of at most `most`; `range` says in the IC's words what is allowed.
fn within(nat: &Nat, range: &str, most: u128) -> Result<u128, UserError> {
    match u128::try_from(nat.0.clone()) {
        Ok(value) if value <= most => Ok(value),
        _ => Err(invalid(format!(
            "{range}, got {}",
            nat.to_string().replace('_', "")
        ))),
    }
}

/// Environment variables of a canister, and bytes of the name and of the value of one.
const MAX_VARIABLES: usize = 20;
const MAX_VARIABLE_NAME: usize = 128;
const MAX_VARIABLE_VALUE: usize = 128;

fn check_variables(variables: &[(String, String)]) -> Result<(), UserError> {
    let count = variables.len();
    if count > MAX_VARIABLES {
        return Err(invalid(format!(
            "Too many environment variables: {count} (max: {MAX_VARIABLES})"
        )));
    }
    for (name, value) in variables {
        if name.len() > MAX_VARIABLE_NAME {
            return Err(invalid(format!(
                "Environment variable name too long: {name} (max: {MAX_VARIABLE_NAME})"
            )));
        }
        if value.len() > MAX_VARIABLE_VALUE {
            return Err(invalid(format!(
                "Environment variable value too long: {value} (max: {MAX_VARIABLE_VALUE})"
            )));
        }
    }
    Ok(())
}

/// Changes what `new` names.
pub(super) fn apply(settings: &mut Settings, new: &CanisterSettings) -> Result<(), UserError> {
    let u64_max = u128::from(u64::MAX);
    let mut changed = settings.clone();
    if let Some(controllers) = &new.controllers {
        if controllers.len() > MAX_CONTROLLERS {
            return Err(payload(format!(
                "Invalid settings: 'controllers' length exceeds maximum size allowed of \
                 {MAX_CONTROLLERS}."
            )));
        }
        changed.controllers = controllers.clone();
        changed.controllers.sort();
        changed.controllers.dedup();
    }
    if let Some(percent) = &new.compute_allocation {
        changed.compute_allocation = within(
            percent,
            "ComputeAllocation expected to be in the range [0..100]",
            100,
        )? as u64;
    }
    if let Some(bytes) = &new.memory_allocation {
        changed.memory_allocation = within(
            bytes,
            "MemoryAllocation expected to be in the range [0..2^48]",
            1 << 48,
        )? as u64;
    }
    if let Some(seconds) = &new.freezing_threshold {
        changed.freezing_threshold = within(
            seconds,
            "Freezing threshold expected to be in the range of [0..2^64-1]",
            u64_max,
        )? as u64;
    }
    if let Some(cycles) = &new.reserved_cycles_limit {
        changed.reserved_cycles_limit = within(
            cycles,
            "Reserved cycles limit expected to be in the range of [0..2^128-1]",
            u128::MAX,
        )?;
    }
    if let Some(visibility) = &new.log_visibility {
        changed.log_visibility = readers(visibility);
    }
    if let Some(visibility) = &new.snapshot_visibility {
        changed.snapshot_visibility = readers(visibility);
    }
    // Newer settings that are fixed here: asking for anything else fails.
    let only_controllers = |v: &LogVisibility| matches!(v, LogVisibility::controllers);
    if new
        .status_visibility
        .as_ref()
        .is_some_and(|v| !only_controllers(v))
    {
        return Err(payload("status_visibility can only be controllers"));
    }
    if new
        .log_memory_limit
        .as_ref()
        .is_some_and(|n| *n != CAPACITY)
    {
        return Err(payload(format!("log_memory_limit can only be {CAPACITY}")));
    }
    let minimum = new.minimum_incoming_canister_call_cycles.as_ref();
    if minimum.is_some_and(|n| *n != 0u8) {
        return Err(payload(
            "minimum_incoming_canister_call_cycles can only be 0",
        ));
    }
    if let Some(bytes) = &new.wasm_memory_limit {
        changed.wasm_memory_limit = Some(within(
            bytes,
            "Wasm memory limit expected to be in the range of [0..2^48-1]",
            (1 << 48) - 1,
        )? as u64);
    }
    if let Some(bytes) = &new.wasm_memory_threshold {
        changed.wasm_memory_threshold = within(
            bytes,
            "Wasm memory threshold expected to be in the range of [0..2^64-1]",
            u64_max,
        )? as u64;
    }
    if let Some(variables) = &new.environment_variables {
        changed.environment_variables = variables
            .iter()
            .map(|variable| (variable.name.clone(), variable.value.clone()))
            .collect();
        check_variables(&changed.environment_variables)?;
        changed.environment_variables.sort();
        let names = changed.environment_variables.windows(2);
        if names.clone().any(|pair| pair[0].0 == pair[1].0) {
            return Err(invalid("Duplicate environment variables are not allowed"));
        }
    }
    *settings = changed;
    Ok(())
}

/// Checks that a canister can have the new settings, and puts cycles aside for what they reserve.
/// `free` percents of compute are not reserved by other canisters.
pub(super) fn check_cycles(
    canister: &mut Canister,
    new: &Settings,
    fees: Fees,
    at: Saturation,
    free: u64,
) -> Result<(), UserError> {
    let old = &canister.settings;
    let used = canister.memory_usage();
    let bytes = new.memory_allocation;
    if bytes != old.memory_allocation && bytes > 0 && bytes < used {
        return Err(UserError::new(
            ErrorCode::InsufficientMemoryAllocation,
            format!(
                "Canister was given {bytes} bytes memory allocation but at least {used} of memory is \
                 needed."
            ),
        ));
    }
    let percent = new.compute_allocation;
    if percent != old.compute_allocation && percent > free {
        return Err(UserError::new(
            ErrorCode::SubnetOversubscribed,
            format!(
                "Canister requested a compute allocation of {percent}% which cannot be satisfied \
                 because the Subnet's remaining compute capacity is {free}%."
            ),
        ));
    }
    let limit = fees
        .freezing(used.max(bytes), percent, new.freezing_threshold)
        .saturating_sub(canister.reserved);
    let too_few = |what: &str, code, missing: u128| {
        let missing = Amount(missing);
        UserError::new(
            code,
            format!(
                "Cannot increase {what} due to insufficient cycles. At least {missing} additional \
                 cycles are required."
            ),
        )
    };
    let memory = format!("memory allocation to {bytes} bytes");
    // A freezing threshold that freezes the canister is allowed.
    if canister.cycles < limit {
        let missing = limit - canister.cycles;
        if percent > old.compute_allocation {
            let code = ErrorCode::InsufficientCyclesInComputeAllocation;
            let what = format!("compute allocation to {percent}%");
            return Err(too_few(&what, code, missing));
        }
        if bytes > old.memory_allocation {
            let code = ErrorCode::InsufficientCyclesInMemoryAllocation;
            return Err(too_few(&memory, code, missing));
        }
    }
    if canister.reserved > new.reserved_cycles_limit {
        return Err(UserError::new(
            ErrorCode::ReservedCyclesLimitIsTooLow,
            format!(
                "Cannot set the reserved cycles limit {} below the reserved cycles balance of the \
                 canister {}.",
                Amount(new.reserved_cycles_limit),
                Amount(canister.reserved)
            ),
        ));
    }
    let more = bytes.max(used).saturating_sub(canister.paid_bytes());
    let cycles = fees.reservation(at, more);
    let old_limit = std::mem::replace(
        &mut canister.settings.reserved_cycles_limit,
        new.reserved_cycles_limit,
    );
    canister.reserve(cycles).map_err(|why| {
        canister.settings.reserved_cycles_limit = old_limit;
        match why {
            NotReserved::Cycles(missing) => {
                let code = ErrorCode::InsufficientCyclesInMemoryAllocation;
                too_few(&memory, code, missing)
            }
            NotReserved::Limit { limit, over } => UserError::new(
                ErrorCode::ReservedCyclesLimitExceededInMemoryAllocation,
                format!(
                    "Cannot increase {memory} due to its reserved cycles limit. The current limit \
                     ({}) would be exceeded by {}.",
                    Amount(limit),
                    Amount(over)
                ),
            ),
        }
    })
}

impl Replica {
    /// Percents of compute that canisters other than one that has `own` have left: half of what the
    /// threads can do may be reserved, but for one percent.
    pub(super) fn free_compute(&self, own: u64) -> u64 {
        let reserved: u64 = self
            .canisters
            .values()
            .map(|canister| canister.settings.compute_allocation)
            .sum();
        (THREADS as u64 * 50)
            .saturating_sub(reserved)
            .saturating_sub(1)
            + own
    }

    pub(super) fn update_settings(
        &mut self,
        caller: Principal,
        args: &UpdateSettings,
    ) -> Result<Vec<u8>, UserError> {
        let (now, fees, at) = (self.time_ns, self.fees(), self.saturation());
        let canister = self.controlled(&args.canister_id, &caller)?;
        let mut settings = canister.settings.clone();
        apply(&mut settings, &args.settings)?;
        let own = canister.settings.compute_allocation;
        let free = self.free_compute(own);
        let canister = self.controlled(&args.canister_id, &caller)?;
        check_cycles(canister, &settings, fees, at, free)?;
        canister.settings = settings;
        canister.version += 1;
        if args.settings.controllers.is_some() {
            let controllers = canister.settings.controllers.clone();
            let details = ChangeDetails::controllers_change { controllers };
            canister.note_change(now, caller, args.sender_canister_version, details);
        }
        update_low_memory_hook(canister);
        empty()
    }

    pub(super) fn canister_status(
        &self,
        caller: Principal,
        id: &Principal,
    ) -> Result<Vec<u8>, UserError> {
        let canister = self.find(id)?;
        if caller != *id {
            check_controller(canister, &caller)?;
        }
        encode(&self.status(canister))
    }

    /// What `canister_status` tells.
    pub(crate) fn status(&self, canister: &Canister) -> CanisterStatus {
        let settings = &canister.settings;
        let code = canister.code.as_ref();
        let memory = canister.memory_usage();
        let per_day = self
            .fees()
            .idle_day(canister.paid_bytes(), settings.compute_allocation);
        let sections = code.map_or(0, |code| {
            let sizes = code.module.metadata.iter();
            sizes.map(|(name, (_, data))| name.len() + data.len()).sum()
        });
        let [calls, instructions, request_bytes, response_bytes] = canister.counters.values();
        CanisterStatus {
            status: match canister.status {
                Status::Running => StatusKind::running,
                Status::Stopping(_) => StatusKind::stopping,
                Status::Stopped => StatusKind::stopped,
            },
            ready_for_migration: false,
            version: canister.version,
            settings: DefiniteSettings {
                controllers: settings.controllers.clone(),
                compute_allocation: settings.compute_allocation.into(),
                memory_allocation: settings.memory_allocation.into(),
                freezing_threshold: settings.freezing_threshold.into(),
                reserved_cycles_limit: settings.reserved_cycles_limit.into(),
                log_visibility: visibility(&settings.log_visibility),
                snapshot_visibility: visibility(&settings.snapshot_visibility),
                status_visibility: LogVisibility::controllers,
                log_memory_limit: CAPACITY.into(),
                minimum_incoming_canister_call_cycles: Nat::from(0u8),
                wasm_memory_limit: settings.wasm_memory_limit.unwrap_or(0).into(),
                wasm_memory_threshold: settings.wasm_memory_threshold.into(),
                environment_variables: settings
                    .environment_variables
                    .iter()
                    .map(|(name, value)| EnvironmentVariable {
                        name: name.clone(),
                        value: value.clone(),
                    })
                    .collect(),
            },
            module_hash: module_hash(canister),
            memory_size: memory.into(),
            memory_metrics: MemoryMetrics {
                wasm_memory_size: canister.heap_bytes().into(),
                stable_memory_size: (canister.stable_pages() * 65_536).into(),
                global_memory_size: code.map_or(0, |code| 8 * (code.globals.len() + 1)).into(),
                wasm_binary_size: code.map_or(0, |code| code.module.wasm.len()).into(),
                custom_sections_size: Nat::from(sections),
                canister_history_size: canister.history.bytes().into(),
                wasm_chunk_store_size: (canister.chunks.len() << 20).into(),
                log_memory_store_size: Nat::from(0u8),
                snapshots_size: canister.snapshot_bytes().into(),
            },
            cycles: canister.cycles.into(),
            reserved_cycles: canister.reserved.into(),
            idle_cycles_burned_per_day: per_day.into(),
            query_stats: QueryStats {
                num_calls_total: calls.into(),
                num_instructions_total: instructions.into(),
                request_payload_bytes_total: request_bytes.into(),
                response_payload_bytes_total: response_bytes.into(),
            },
        }
    }
}

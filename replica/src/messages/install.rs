//! Installing, reinstalling and upgrading code.

use crate::cycles::{Amount, COMPILE_COST, INSTALL_LIMIT};
use crate::memory::heap::Content;
use crate::memory::stable::{STABLE_PAGE, Stable};
use crate::messages::execution::{PAGE, dirty_pages_cost, new_api, update_low_memory_hook};
use crate::replicated_state::paused::RoundContext;
use crate::replicated_state::status::LowMemoryHook;
use crate::replicated_state::{Canister, Code};
use crate::runtime::failure::{ErrorCode, Failure, UserError};
use crate::runtime::instance::new_heap;
use crate::runtime::instance::{Entry, Instance};
use crate::runtime::mode::Mode;
use crate::runtime::module::{CompiledModule, Export};
use crate::runtime::system_api::state::Api;
use candid::Principal;
use std::sync::Arc;

/// What is done with the code that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Install,
    Reinstall,
    Upgrade {
        skip_pre_upgrade: bool,
        /// Whether the heap stays; none when the caller did not say.
        keep_memory: Option<bool>,
    },
}

/// An installation.
pub(crate) struct Install {
    pub mode: Kind,
    pub module: Arc<CompiledModule>,
    /// The engine has compiled the module before.
    pub compiled_before: bool,
    pub arg: Vec<u8>,
    pub sender: Principal,
    /// Cycles taken for its execution.
    pub prepaid: u128,
}

/// What came of it.
pub(crate) struct Installed {
    pub result: Result<(), UserError>,
    /// Instructions executed, compilation included.
    pub instructions: u64,
    pub heap_delta: u64,
}

struct Progress<'a> {
    round: &'a RoundContext,
    install: &'a Install,
    /// The System API's state that goes from one part to the next.
    stable: Stable,
    timer: Option<Option<u64>>,
    certified_data: Option<Vec<u8>>,
    balance: u128,
    instructions: u64,
    heap_delta: u64,
}

impl Progress<'_> {
    /// Runs one entry point on an instance.
    fn run(
        &mut self,
        canister: &mut Canister,
        instance: &mut Instance,
        entry: &Entry,
        mode: Mode,
        wide: bool,
    ) -> Result<(), Failure> {
        let mut api: Api = new_api(canister, self.round, mode, INSTALL_LIMIT);
        api.wide = wide;
        api.caller = self.install.sender.as_slice().to_vec();
        api.balance = self.balance;
        if mode == Mode::Init {
            api.arg = self.install.arg.clone();
            api.env.global_timer = None;
            api.env.version += 1;
        }
        self.stable.restart_counting();
        std::mem::swap(&mut api.stable, &mut self.stable);
        let left = INSTALL_LIMIT.saturating_sub(self.instructions);
        let outcome = instance.run_within(entry, api, left);
        self.instructions += outcome.instructions;
        let mut api = outcome.api;
        canister.log.append(std::mem::take(&mut api.log));
        std::mem::swap(&mut api.stable, &mut self.stable);
        let pages = instance.view().changed_pages();
        self.instructions = (self.instructions + dirty_pages_cost(pages, wide)).min(INSTALL_LIMIT);
        outcome.result?;
        self.heap_delta += (pages + self.stable.dirty_pages()) * PAGE;
        self.balance = api.balance;
        if api.new_timer.is_some() {
            self.timer = api.new_timer;
        }
        if api.new_certified_data.is_some() {
            self.certified_data = api.new_certified_data;
        }
        Ok(())
    }
}

/// Installs code on a canister whose controller and cycles have been checked; nothing changes when
/// it is refused.
pub(crate) fn install(
    canister: &mut Canister,
    install: &Install,
    round: &RoundContext,
) -> Installed {
    let compile = COMPILE_COST * install.module.instructions;
    let mut progress = Progress {
        round,
        install,
        stable: canister.stable.fork(),
        timer: None,
        certified_data: None,
        balance: canister.cycles,
        instructions: if install.compiled_before {
            compile / 100
        } else {
            compile
        },
        heap_delta: 0,
    };
    let result = attempt(canister, install, &mut progress);
    let backtraces = canister.may_read_log(&install.sender);
    Installed {
        result: result.map_err(|failure| match failure {
            Refusal::Failure(failure) => failure.user_error(&canister.id, backtraces),
            Refusal::Error(error) => error,
        }),
        instructions: progress.instructions,
        heap_delta: progress.heap_delta,
    }
}

enum Refusal {
    Failure(Failure),
    Error(UserError),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal::Failure(failure)
    }
}

fn attempt(
    canister: &mut Canister,
    install: &Install,
    progress: &mut Progress<'_>,
) -> Result<(), Refusal> {
    let module = &install.module;
    let wide = module.memory64;
    let mut keep = false;
    match install.mode {
        Kind::Install if canister.code.is_some() => {
            return Err(Refusal::Error(UserError::new(
                ErrorCode::CanisterNonEmpty,
                format!(
                    "Canister {} cannot be installed because the canister is not empty. Try \
                     installing with mode='reinstall' instead.",
                    canister.id
                ),
            )));
        }
        Kind::Install | Kind::Reinstall => progress.stable = new_stable(progress.round)?,
        Kind::Upgrade {
            skip_pre_upgrade,
            keep_memory,
        } => {
            let Some(mut code) = canister.code.take() else {
                return Err(Failure::NoModule.into());
            };
            let result = check_keep(&code, module, keep_memory).and_then(|keeps| {
                keep = keeps;
                let runs = code.module.exports(Export::PreUpgrade) && !skip_pre_upgrade;
                if runs {
                    pre_upgrade(canister, &mut code, progress)?;
                }
                Ok(())
            });
            // Whatever pre_upgrade did to the old heap goes, unless the heap is kept.
            if let Some(instance) = code.instance.as_mut()
                && (result.is_err() || !keep)
            {
                instance.roll_back();
            }
            canister.code = Some(code);
            result?;
            // A timer that pre_upgrade sets does not outlive the upgrade.
            progress.timer = None;
        }
    }
    let used = canister.memory_usage();
    let old = canister.code.take();
    let new = new_code(canister, module, keep, old.as_ref(), progress, install);
    let checked = new.and_then(|code| {
        canister.code = Some(code);
        let reserved = check_memory(canister, used, progress, install)?;
        let code = canister.code.take().ok_or(Failure::NoModule)?;
        Ok((code, reserved))
    });
    let (mut code, reserved) = match checked {
        Ok(checked) => checked,
        Err(refusal) => {
            canister.code = old;
            if let Some(instance) = canister.code.as_mut().and_then(|c| c.instance.as_mut()) {
                instance.roll_back();
            }
            return Err(refusal);
        }
    };
    if let Some(instance) = code.instance.as_mut() {
        instance.commit();
        instance.set_memory64(wide);
        code.globals = instance.globals().to_vec();
        if module.single_use {
            instance.set_spent();
        }
    }
    drop(old);
    canister.code = Some(code);
    let mut stable = progress.stable.fork();
    std::mem::swap(&mut stable, &mut progress.stable);
    stable.commit();
    canister.stable = stable;
    canister.timer = progress.timer.flatten();
    match progress.certified_data.take() {
        Some(data) => canister.certified_data = data,
        None if !matches!(install.mode, Kind::Upgrade { .. }) => canister.certified_data.clear(),
        None => {}
    }
    canister.cycles = progress.balance - reserved;
    canister.reserved += reserved;
    canister.version += 1;
    canister.low_memory = LowMemoryHook::default();
    update_low_memory_hook(canister);
    Ok(())
}

/// Checks that the canister, with its new code in it, can pay for more memory than the bytes that it
/// used before; gives the cycles to put aside for it.
fn check_memory(
    canister: &Canister,
    before: u64,
    progress: &Progress<'_>,
    install: &Install,
) -> Result<u128, Refusal> {
    let fees = progress.round.fees;
    let stable = progress.stable.pages() * STABLE_PAGE;
    let now = (canister.memory_usage() + stable) - canister.stable_pages() * STABLE_PAGE;
    let bytes = now.saturating_sub(before);
    if bytes == 0 || canister.settings.memory_allocation > 0 {
        return Ok(0);
    }
    let wide = install.module.memory64;
    let cost = fees.execution(progress.instructions, wide);
    let balance = progress.balance + install.prepaid.saturating_sub(cost);
    let refuse = |code, reason: String| {
        let text = format!("Canister cannot grow memory by {bytes} bytes due to {reason}");
        Refusal::Error(UserError::new(code, text))
    };
    let missing = |cycles| {
        let cycles = Amount(cycles);
        let reason =
            format!("insufficient cycles. At least {cycles} additional cycles are required.");
        refuse(ErrorCode::InsufficientCyclesInMemoryGrow, reason)
    };
    let reserved = fees.reservation(progress.round.saturation, bytes);
    let all = canister.reserved + reserved;
    let limit = canister.settings.reserved_cycles_limit;
    if all > limit {
        let (limit, over) = (Amount(limit), Amount(all - limit));
        return Err(refuse(
            ErrorCode::ReservedCyclesLimitExceededInMemoryGrow,
            format!(
                "its reserved cycles limit. The current limit ({limit}) would be exceeded by {over}."
            ),
        ));
    }
    if balance < reserved {
        return Err(missing(reserved - balance));
    }
    let settings = &canister.settings;
    let frozen = fees
        .freezing(
            now,
            settings.compute_allocation,
            settings.freezing_threshold,
        )
        .saturating_sub(all);
    if balance - reserved < frozen {
        return Err(missing(frozen - (balance - reserved)));
    }
    // What was prepaid comes back after the installation: until then the balance may be too low.
    if progress.balance < reserved {
        return Err(missing(reserved - progress.balance));
    }
    Ok(reserved)
}

fn new_stable(round: &RoundContext) -> Result<Stable, Refusal> {
    Stable::new(&round.store).map_err(|_| Failure::OutOfMemory.into())
}

/// Whether the heap stays, if that is allowed.
fn check_keep(
    old: &Code,
    new: &CompiledModule,
    keep_memory: Option<bool>,
) -> Result<bool, Refusal> {
    match keep_memory {
        None if old.module.keeps_memory => Err(Failure::ContractViolation(
            "Missing upgrade option: Enhanced orthogonal persistence requires the \
             `wasm_memory_persistence` upgrade option."
                .into(),
        )
        .into()),
        Some(true) if !new.keeps_memory => Err(Failure::ContractViolation(
            "Invalid upgrade option: The `wasm_memory_persistence: opt Keep` upgrade option \
             requires that the new canister module supports enhanced orthogonal persistence."
                .into(),
        )
        .into()),
        keep => Ok(keep == Some(true)),
    }
}

fn pre_upgrade(
    canister: &mut Canister,
    code: &mut Code,
    progress: &mut Progress<'_>,
) -> Result<(), Refusal> {
    let wide = code.module.memory64;
    let entry = Entry::Export(Export::PreUpgrade.name().into());
    code.instance().map_err(|_| Failure::OutOfMemory)?;
    let Some(mut instance) = code.instance.take() else {
        return Err(Failure::OutOfMemory.into());
    };
    let result = progress.run(canister, &mut instance, &entry, Mode::PreUpgrade, wide);
    code.instance = Some(instance);
    Ok(result?)
}

fn new_code(
    canister: &mut Canister,
    module: &Arc<CompiledModule>,
    keep: bool,
    old: Option<&Code>,
    progress: &mut Progress<'_>,
    install: &Install,
) -> Result<Code, Refusal> {
    let memory = |_| Failure::OutOfMemory;
    let heap = match old {
        Some(old) if keep => old.heap.clone(),
        _ => new_heap(module, &progress.round.store).map_err(|_| Failure::OutOfMemory)?,
    };
    // A heap that is kept is as pre_upgrade left it.
    let before = old.filter(|_| keep).and_then(|old| old.instance.as_ref());
    let content = Content::Latest(before.map(|instance| instance.view().as_ref()));
    let mut instance = Instance::new(module, heap.clone(), None, content).map_err(memory)?;
    instance.set_memory64(module.memory64);
    let globals = instance.globals().to_vec();
    let wide = module.memory64;
    if module.has_start {
        progress.run(canister, &mut instance, &Entry::Start, Mode::Start, wide)?;
        // A heap that is kept must be as before if the rest fails.
        if !keep {
            instance.commit();
        }
    }
    let export = match install.mode {
        Kind::Upgrade { .. } => Export::PostUpgrade,
        _ => Export::Init,
    };
    if module.exports(export) {
        let entry = Entry::Export(export.name().into());
        progress.run(canister, &mut instance, &entry, Mode::Init, wide)?;
    }
    Ok(Code {
        module: module.clone(),
        heap,
        globals,
        instance: Some(instance),
        pool: Arc::default(),
    })
}

/// Checks that the heap a module starts with is within the canister's limit.
pub(crate) fn check_initial_heap(
    canister: &Canister,
    module: &CompiledModule,
) -> Result<(), UserError> {
    let limit = canister.settings.wasm_memory_limit.unwrap_or(0);
    let used = module.initial_heap as u64;
    if limit > 0 && used > limit {
        return Err(Failure::WasmMemoryLimit { used, limit }.user_error(&canister.id, false));
    }
    Ok(())
}

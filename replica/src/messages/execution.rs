//! What executions share: their surroundings, what they bring, and the price of changed pages.

use crate::IngressStatus;
use crate::log::Log;
use crate::memory::heap::MAX_HEAP32;
use crate::memory::stable::Stable;
use crate::replicated_state::canister::Canister;
use crate::replicated_state::paused::RoundContext;
use crate::replicated_state::status::Status;
use crate::runtime::mode::Mode;
use crate::runtime::system_api::state::{Api, Environment, Response};
use candid::Principal;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pages of 4 KiB of stable memory that may be read or written by an update, an upgrade, a query.
const STABLE_ACCESS_UPDATE: u64 = (2 << 30) / 4096;
const STABLE_ACCESS_UPGRADE: u64 = (8 << 30) / 4096;
const STABLE_ACCESS_QUERY: u64 = (1 << 30) / 4096;
/// Instructions for each page of 4 KiB that an update left changed.
const DIRTY_PAGE: u64 = 1_000;
/// The same with a 64-bit heap.
const DIRTY_PAGE64: u64 = 4_000;
/// Bytes of a page that changes are counted in.
pub(crate) const PAGE: u64 = 4096;

/// What a thread's executions bring to the subnet.
#[derive(Default)]
pub(crate) struct Effects {
    /// New states of users' messages.
    pub ingress: Vec<([u8; 32], IngressStatus)>,
    /// Messages executed.
    pub messages: u64,
    /// Instructions of the messages that ended.
    pub instructions: u64,
    /// Bytes that the messages left changed in memories.
    pub heap_delta: u64,
}

/// The surroundings of a canister's next execution.
pub(crate) fn environment(canister: &Canister, round: &RoundContext) -> Environment {
    let mut open_calls: BTreeMap<Principal, usize> = BTreeMap::new();
    for callback in canister.callbacks.values() {
        *open_calls.entry(callback.callee).or_default() += 1;
    }
    let settings = &canister.settings;
    let allocation = settings.memory_allocation;
    Environment {
        time_ns: round.time_ns,
        canister: canister.id,
        subnet: round.subnet,
        version: canister.version,
        controllers: settings.controllers.as_slice().into(),
        status: match canister.status {
            Status::Running => 1,
            Status::Stopping(_) => 2,
            Status::Stopped => 3,
        },
        root_key: round.root_key.clone(),
        certificate: None,
        variables: settings.environment_variables.as_slice().into(),
        global_timer: canister.timer,
        fees: round.fees,
        idle: canister.idle(),
        saturation: round.saturation,
        reserved: canister.reserved,
        reserved_limit: settings.reserved_cycles_limit,
        heap_limit: settings.wasm_memory_limit.filter(|limit| *limit > 0),
        allocation_left: (allocation > 0)
            .then(|| allocation.saturating_sub(canister.memory_usage())),
        open_calls: Arc::new(open_calls),
    }
}

/// What an execution starts with.
pub(crate) struct Start {
    pub env: Environment,
    /// The heap has 64-bit addresses.
    pub wide: bool,
    pub balance: u128,
    pub stable: Stable,
    pub log: Log,
}

/// The System API's state at the start of an execution of a canister.
pub(crate) fn new_api(canister: &Canister, round: &RoundContext, mode: Mode, limit: u64) -> Api {
    let start = Start {
        env: environment(canister, round),
        wide: canister
            .code
            .as_ref()
            .is_some_and(|code| code.module.memory64),
        balance: canister.cycles,
        stable: canister.stable.fork(),
        log: canister.log.following(),
    };
    api(start, mode, limit)
}

/// The System API's state at the start of an execution.
pub(crate) fn api(start: Start, mode: Mode, limit: u64) -> Api {
    let access = match mode {
        Mode::Start | Mode::Init | Mode::PreUpgrade => STABLE_ACCESS_UPGRADE,
        _ if mode.is_replicated() => STABLE_ACCESS_UPDATE,
        _ => STABLE_ACCESS_QUERY,
    };
    Api {
        mode,
        env: start.env,
        limit,
        wide: start.wide,
        context_instructions: 0,
        caller: Vec::new(),
        arg: Vec::new(),
        answer: None,
        method: String::new(),
        deadline: 0,
        answerable: true,
        cycles_available: 0,
        cycles_refunded: 0,
        balance: start.balance,
        stable: start.stable,
        stable_access_limit: (access, access),
        cycles_accepted: 0,
        cycles_burnt: 0,
        spent_on_calls: 0,
        reply: Vec::new(),
        response: Response::None,
        call: None,
        calls: Vec::new(),
        new_certified_data: None,
        new_timer: None,
        accepted: false,
        log: start.log,
        grown: 0,
        reserved: 0,
    }
}

/// Instructions for changed pages.
pub(crate) fn dirty_pages_cost(pages: u64, wide: bool) -> u64 {
    pages * if wide { DIRTY_PAGE64 } else { DIRTY_PAGE }
}

/// True when less heap is left below the limit than the hook's threshold.
fn low_memory(canister: &Canister) -> bool {
    let limit = canister
        .settings
        .wasm_memory_limit
        .filter(|limit| *limit > 0)
        .unwrap_or(MAX_HEAP32 as u64);
    let used = canister.heap_bytes();
    used.saturating_add(canister.settings.wasm_memory_threshold) > limit
}

/// Keeps the low-memory hook's state in step with the heap and the settings.
pub(crate) fn update_low_memory_hook(canister: &mut Canister) {
    use crate::replicated_state::status::LowMemoryHook::{Executed, NotSatisfied, Ready};
    canister.low_memory = match (low_memory(canister), canister.low_memory) {
        (false, _) => NotSatisfied,
        (true, NotSatisfied) => Ready,
        (true, state @ (Ready | Executed)) => state,
    };
}

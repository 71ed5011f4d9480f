//! A double of the IC for native tests: what the canister sees is set with [`set`], what it does is
//! kept in [`System`]. Each test has its own, since tests run on threads of their own.

use candid::Principal;
use std::cell::RefCell;

/// What the canister sees of the system, and what it has done.
#[derive(Debug, Clone)]
pub(crate) struct System {
    /// The caller of the message that runs.
    pub caller: Principal,
    /// The canister's controllers.
    pub controllers: Vec<Principal>,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Instructions used by the message that runs.
    pub instructions: u64,
    /// Instructions that each look at the counter adds.
    pub instructions_per_look: u64,
    /// Cycles above the freezing threshold.
    pub liquid_cycles: u128,
    /// Cycles attached to the message that runs and not accepted yet.
    pub attached: u128,
    /// The argument of the message that runs.
    pub argument: Vec<u8>,
    /// The method that `canister_inspect_message` asks about.
    pub method: String,
    /// Whether the canister has been asked to stop.
    pub stopping: bool,
    /// Whether calls can be sent.
    pub calls_go: bool,
    /// Sequence numbers of the slices sent.
    pub slices: Vec<u64>,
    /// Cycles sent, and to whom.
    pub deposits: Vec<(Principal, u128)>,
    /// Requests for randomness sent.
    pub random_requests: u32,
    /// What the global timer is set to.
    pub timer: u64,
    /// Lines of the canister log.
    pub lines: Vec<String>,
    /// The reply to the message that runs.
    pub reply: Option<Vec<u8>>,
    /// The text that it was rejected with.
    pub rejected: Option<String>,
}

impl Default for System {
    fn default() -> Self {
        Self {
            caller: Principal::anonymous(),
            controllers: Vec::new(),
            time: 1_790_000_000_000_000_000,
            instructions: 0,
            instructions_per_look: 0,
            liquid_cycles: 100_000_000_000_000,
            attached: 0,
            argument: Vec::new(),
            method: String::new(),
            stopping: false,
            calls_go: true,
            slices: Vec::new(),
            deposits: Vec::new(),
            random_requests: 0,
            timer: 0,
            lines: Vec::new(),
            reply: None,
            rejected: None,
        }
    }
}

thread_local! {
    static SYSTEM: RefCell<System> = RefCell::default();
}

/// Changes what the canister sees.
#[cfg(test)]
pub(crate) fn set(change: impl FnOnce(&mut System)) {
    SYSTEM.with_borrow_mut(change);
}

/// Returns what the canister has done so far.
#[cfg(test)]
pub(crate) fn get() -> System {
    SYSTEM.with_borrow(Clone::clone)
}

fn look<T>(f: impl FnOnce(&mut System) -> T) -> T {
    SYSTEM.with_borrow_mut(f)
}

pub(crate) fn argument() -> Vec<u8> {
    look(|s| s.argument.clone())
}

pub(crate) fn caller() -> Principal {
    look(|s| s.caller)
}

pub(crate) fn is_controller(who: &Principal) -> bool {
    look(|s| s.controllers.contains(who))
}

pub(crate) fn caller_is_self() -> bool {
    false
}

pub(crate) fn argument_bytes() -> usize {
    look(|s| s.argument.len())
}

pub(crate) fn time() -> u64 {
    look(|s| s.time)
}

pub(crate) fn instructions() -> u64 {
    look(|s| {
        s.instructions += s.instructions_per_look;
        s.instructions
    })
}

pub(crate) fn cycles() -> u128 {
    liquid_cycles()
}

pub(crate) fn liquid_cycles() -> u128 {
    look(|s| s.liquid_cycles)
}

pub(crate) fn cycles_attached() -> u128 {
    look(|s| s.attached)
}

pub(crate) fn accept_cycles(limit: u128) -> u128 {
    look(|s| {
        let accepted = limit.min(s.attached);
        s.attached -= accepted;
        accepted
    })
}

pub(crate) fn deposit_cycles(to: &Principal, amount: u128) -> bool {
    look(|s| {
        if s.calls_go {
            s.deposits.push((*to, amount));
        }
        s.calls_go
    })
}

pub(crate) fn is_stopping() -> bool {
    look(|s| s.stopping)
}

pub(crate) fn heap_bytes() -> u64 {
    0
}

pub(crate) fn stable_bytes() -> u64 {
    0
}

pub(crate) fn set_timer(time: u64) {
    look(|s| s.timer = time);
}

pub(crate) fn debug_print(line: &str) {
    look(|s| s.lines.push(line.to_owned()));
}

pub(crate) fn send_slice(sequence: u64) -> bool {
    look(|s| {
        if s.calls_go {
            s.slices.push(sequence);
        }
        s.calls_go
    })
}

pub(crate) fn ask_random(_done: extern "C" fn(usize), _number: u64) -> bool {
    look(|s| s.random_requests += u32::from(s.calls_go));
    look(|s| s.calls_go)
}

pub(crate) fn callback_number(environment: usize) -> u64 {
    environment as u64
}

pub(crate) fn random_bytes() -> Option<[u8; 32]> {
    Some([7; 32])
}

pub(crate) fn entry_point<T>(body: impl FnOnce() -> T) -> T {
    body()
}

pub(crate) fn reply(bytes: &[u8]) {
    look(|s| s.reply = Some(bytes.to_vec()));
}

pub(crate) fn reject(text: &str) {
    look(|s| s.rejected = Some(text.to_owned()));
}

pub(crate) fn trap(text: &str) -> ! {
    panic!("trapped: {text}")
}

pub(crate) fn accept_message() {}

pub(crate) fn method_name() -> String {
    look(|s| s.method.clone())
}

pub(crate) fn set_certified_data(_data: &[u8]) {}

pub(crate) fn data_certificate() -> Option<Vec<u8>> {
    None
}

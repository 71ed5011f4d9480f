//! The single door to the Internet Computer.
//!
//! Calls are made here with `ic0` and never with futures: a callback that is still open when an
//! unstopped canister is upgraded runs in the new program by its table index, with whatever
//! environment it was given. The environments given here are never addresses: they lie above the
//! end of any heap, so a stale callback of another program that follows one traps and is undone.
//! (For the same reason the watchdog sets the IC's one global timer itself: ic-cdk-timers keeps a
//! heap pointer in an open callback.)

use candid::Principal;

/// Environments of callbacks are this plus a small number.
const ENVIRONMENT: usize = 0xff00_0000;

/// This message's argument, in memory that was not cleared before.
pub fn argument() -> Vec<u8> {
    let len = ic0::msg_arg_data_size();
    let mut bytes = Vec::with_capacity(len);
    ic0::msg_arg_data_copy_uninit(&mut bytes.spare_capacity_mut()[..len], 0);
    // Safety: the copy has filled all of it.
    unsafe { bytes.set_len(len) };
    bytes
}

pub fn caller() -> Principal {
    ic_cdk::api::msg_caller()
}

pub fn is_controller(who: &Principal) -> bool {
    ic_cdk::api::is_controller(who)
}

pub fn caller_is_controller() -> bool {
    is_controller(&caller())
}

/// Bytes of this message's argument.
pub fn argument_bytes() -> usize {
    ic0::msg_arg_data_size()
}

pub fn caller_is_self() -> bool {
    caller() == ic_cdk::api::canister_self()
}

/// Nanoseconds since 1970.
pub fn time() -> u64 {
    ic0::time()
}

/// Instructions used by this message.
pub fn instructions() -> u64 {
    ic0::performance_counter(0)
}

pub fn cycles() -> u128 {
    ic0::canister_cycle_balance128()
}

/// Cycles above the freezing threshold.
pub fn liquid_cycles() -> u128 {
    ic0::canister_liquid_cycle_balance128()
}

/// Cycles that this call has brought and that were not taken yet.
pub fn cycles_attached() -> u128 {
    ic0::msg_cycles_available128()
}

/// Takes at most so many of them; gives how many.
pub fn accept_cycles(most: u128) -> u128 {
    ic0::msg_cycles_accept128(most)
}

/// Sends cycles to a canister, one-way. `false`: they could not be sent now.
pub fn deposit_cycles(to: &Principal, amount: u128) -> bool {
    #[derive(candid::CandidType)]
    struct Target {
        canister_id: Principal,
    }
    let Ok(argument) = candid::encode_one(Target { canister_id: *to }) else {
        return false;
    };
    ic0::call_new_oneway(&[], "deposit_cycles");
    ic0::call_data_append(&argument);
    ic0::call_cycles_add128(amount);
    ic0::call_perform() == 0
}

/// Whether somebody has asked this canister to stop.
pub fn is_stopping() -> bool {
    ic0::canister_status() == 2
}

pub fn heap_bytes() -> u64 {
    #[cfg(target_arch = "wasm32")]
    let pages = core::arch::wasm32::memory_size(0);
    #[cfg(not(target_arch = "wasm32"))]
    let pages = 0;
    pages as u64 * 65_536
}

pub fn stable_bytes() -> u64 {
    ic0::stable64_size() * 65_536
}

/// Asks for `canister_global_timer` at a time (nanoseconds since 1970); 0: never.
pub fn wake_at(time: u64) {
    ic0::global_timer_set(time);
}

pub fn log(line: &str) {
    ic0::debug_print(line.as_bytes());
}

/// Sends round `sequence` to this canister, one-way. `false`: it could not be sent now.
pub fn send_round(sequence: u64) -> bool {
    let me = ic_cdk::api::canister_self();
    ic0::call_new_oneway(me.as_slice(), "round");
    ic0::call_data_append(&sequence.to_le_bytes());
    ic0::call_perform() == 0
}

/// Asks the management canister for 32 random bytes. `done` runs in a later message, whatever the
/// answer, and finds `number` with [`callback_number`]. `false`: it could not be sent now.
pub fn ask_random(done: extern "C" fn(usize), number: u64) -> bool {
    let environment = ENVIRONMENT | (number as usize & 0x00ff_ffff);
    let callback: unsafe extern "C" fn(usize) = done;
    // Safety: the callbacks take a plain number, no pointer.
    unsafe {
        ic0::call_new(
            &[],
            "raw_rand",
            callback,
            environment,
            callback,
            environment,
        );
    }
    ic0::call_data_append(b"DIDL\0\0");
    ic0::call_perform() == 0
}

/// The number given to [`ask_random`].
pub fn callback_number(environment: usize) -> u64 {
    (environment & !ENVIRONMENT) as u64
}

/// In a callback of [`ask_random`]: the bytes, unless the call was rejected.
pub fn random_bytes() -> Option<[u8; 32]> {
    if ic0::msg_reject_code() != 0 {
        return None;
    }
    let (bytes,): (serde_bytes::ByteBuf,) =
        candid::decode_args(&ic_cdk::api::msg_arg_data()).ok()?;
    bytes.into_vec().try_into().ok()
}

/// Nothing in here draws random numbers from the system: the maps of the tokenizer ask for seeds,
/// and a fixed one keeps every replica (and every upgrade) the same.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    dest: *mut u8,
    len: usize,
) -> Result<(), getrandom::Error> {
    unsafe { core::ptr::write_bytes(dest, 0x5a, len) };
    Ok(())
}

//! The Internet Computer, through `ic0` and `ic_cdk`.

use candid::Principal;

/// Environments of callbacks are this plus a small number.
const ENVIRONMENT: usize = 0xff00_0000;

/// Returns this message's argument. Its memory is not cleared first.
pub fn argument() -> Vec<u8> {
    let len = ic0::msg_arg_data_size();
    let mut bytes = Vec::with_capacity(len);
    ic0::msg_arg_data_copy_uninit(&mut bytes.spare_capacity_mut()[..len], 0);
    // SAFETY: the copy has filled all of it.
    unsafe { bytes.set_len(len) };
    bytes
}

/// Returns the caller of this message.
pub fn caller() -> Principal {
    ic_cdk::api::msg_caller()
}

/// Returns `true` if `who` is a controller of this canister.
pub fn is_controller(who: &Principal) -> bool {
    ic_cdk::api::is_controller(who)
}

/// Returns the size of this message's argument (bytes).
pub fn argument_bytes() -> usize {
    ic0::msg_arg_data_size()
}

/// Returns `true` if this canister is the caller.
pub fn caller_is_self() -> bool {
    caller() == ic_cdk::api::canister_self()
}

/// Returns the time (nanoseconds since 1970).
pub fn time() -> u64 {
    ic0::time()
}

/// Returns the instructions that this message has used.
pub fn instructions() -> u64 {
    ic0::performance_counter(0)
}

/// Returns the cycles that the canister has.
pub fn cycles() -> u128 {
    ic0::canister_cycle_balance128()
}

/// Returns the cycles above the freezing threshold.
pub fn liquid_cycles() -> u128 {
    ic0::canister_liquid_cycle_balance128()
}

/// Returns the cycles that the call has attached and that were not accepted yet.
pub fn cycles_attached() -> u128 {
    ic0::msg_cycles_available128()
}

/// Accepts at most `limit` of them. Returns how many.
pub fn accept_cycles(limit: u128) -> u128 {
    ic0::msg_cycles_accept128(limit)
}

/// Sends cycles to a canister, one-way. Returns `false` if they could not be sent now.
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

/// Returns `true` if the canister has been asked to stop.
pub fn is_stopping() -> bool {
    ic0::canister_status() == 2
}

/// Returns the size of the heap (bytes).
pub fn heap_bytes() -> u64 {
    core::arch::wasm32::memory_size(0) as u64 * 65_536
}

/// Returns the size of stable memory (bytes).
pub fn stable_bytes() -> u64 {
    ic0::stable64_size() * 65_536
}

/// Sets the global timer to `time` (nanoseconds since 1970); 0 turns it off.
pub fn set_timer(time: u64) {
    ic0::global_timer_set(time);
}

/// Writes a line to the canister log of the IC.
pub fn debug_print(line: &str) {
    ic0::debug_print(line.as_bytes());
}

/// Sends the slice message `sequence` to this canister, one-way. Returns `false` if it could not be
/// sent now.
pub fn send_slice(sequence: u64) -> bool {
    let me = ic_cdk::api::canister_self();
    ic0::call_new_oneway(me.as_slice(), super::names::SLICE_METHOD);
    ic0::call_data_append(&sequence.to_le_bytes());
    ic0::call_perform() == 0
}

/// Asks the management canister for 32 random bytes. `done` runs in a later message, whatever the
/// answer, and finds `number` with [`callback_number`]. Returns `false` if it could not be sent now.
pub fn ask_random(done: extern "C" fn(usize), number: u64) -> bool {
    let environment = ENVIRONMENT | (number as usize & 0x00ff_ffff);
    let callback: unsafe extern "C" fn(usize) = done;
    // SAFETY: the callbacks take a plain number, no pointer.
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

/// Returns the number that was given to [`ask_random`].
pub fn callback_number(environment: usize) -> u64 {
    (environment & !ENVIRONMENT) as u64
}

/// In a callback of [`ask_random`]: returns the bytes, or `None` if the call was rejected.
pub fn random_bytes() -> Option<[u8; 32]> {
    if ic0::msg_reject_code() != 0 {
        return None;
    }
    let (bytes,): (serde_bytes::ByteBuf,) = candid::decode_args(&argument()).ok()?;
    bytes.into_vec().try_into().ok()
}

/// The random numbers that libraries ask the system for: seeds of hash maps. A fixed seed keeps all
/// replicas and all upgrades the same.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    dest: *mut u8,
    len: usize,
) -> Result<(), getrandom::Error> {
    // SAFETY: the caller passes `len` writable bytes at `dest`.
    unsafe { core::ptr::write_bytes(dest, 0x5a, len) };
    Ok(())
}

/// Runs the body of an entry point. A panic in it traps with its message.
pub fn entry_point<T>(body: impl FnOnce() -> T) -> T {
    ic_cdk::futures::internals::in_executor_context(body)
}

/// Replies to this message.
pub fn reply(bytes: &[u8]) {
    ic0::msg_reply_data_append(bytes);
    ic0::msg_reply();
}

/// Rejects this message.
pub fn reject(text: &str) {
    ic0::msg_reject(text.as_bytes());
}

/// Ends this message and undoes everything that it has done.
pub fn trap(text: &str) -> ! {
    ic_cdk::api::trap(text)
}

/// In `canister_inspect_message`: accepts the message.
pub fn accept_message() {
    ic_cdk::api::accept_message();
}

/// In `canister_inspect_message`: returns the name of the method that is called.
pub fn method_name() -> String {
    ic_cdk::api::msg_method_name()
}

/// Sets the data that the subnet certifies for this canister.
pub fn set_certified_data(data: &[u8]) {
    ic_cdk::api::certified_data_set(data);
}

/// Returns the certificate of that data; `None` in updates.
pub fn data_certificate() -> Option<Vec<u8>> {
    ic_cdk::api::data_certificate()
}

//! The only door to the system: nothing else names `ic0` or the system calls of `ic_cdk`.
//!
//! On chain the functions are the IC's ([`ic`]); natively a double takes their place ([`double`]), so
//! that the rules of the canister are tested in milliseconds.
//!
//! Calls are made with `ic0`, never with futures: a callback that is still open when a canister is
//! upgraded without being stopped runs in the *new* program by its table index, with the environment
//! that it was given. The environments given here are never addresses: they lie above the end of any
//! heap, so that a stale callback that follows one as a pointer traps and is undone. (For the same
//! reason the watchdog sets the IC's one global timer itself: ic-cdk-timers keeps a heap pointer in an
//! open callback.)

#[cfg(not(target_family = "wasm"))]
pub(crate) mod double;
#[cfg(target_family = "wasm")]
mod ic;
mod names;

#[cfg(not(target_family = "wasm"))]
pub(crate) use double::*;
#[cfg(target_family = "wasm")]
pub use ic::*;
pub(crate) use names::SLICE_METHOD;

/// Returns `true` if the caller of this message is a controller of this canister.
pub(crate) fn caller_is_controller() -> bool {
    is_controller(&caller())
}

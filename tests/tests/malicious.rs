//! Model files made to do harm, on chain and natively.

#[path = "malicious/canister.rs"]
mod canister;
#[path = "malicious/fuzz.rs"]
mod fuzz;
#[path = "malicious/native.rs"]
mod native;

//! Model files made to do harm, on chain and natively.

mod canister;
mod fuzz;
mod native;

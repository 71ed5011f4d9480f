//! Many people at once: chats, fair shares, quotas, and nothing lost under any fault.
//!
//! Most of it runs with a tiny random model; `LLM_NIGHTLY=1` makes the long tests longer.

mod access;
mod chats;
mod cost;
mod fairness;
mod figures;
mod fuzz;
mod interleavings;
mod limits;
mod migration;
mod real;
mod tools;

//! Many people at once: chats, fair shares, quotas, and nothing lost under any fault.
//!
//! Most of it runs with a tiny random model; `LLM_NIGHTLY=1` makes the long tests longer.

#[path = "sessions/access.rs"]
mod access;
#[path = "sessions/chats.rs"]
mod chats;
#[path = "sessions/cost.rs"]
mod cost;
#[path = "sessions/fairness.rs"]
mod fairness;
#[path = "sessions/figures.rs"]
mod figures;
#[path = "sessions/fuzz.rs"]
mod fuzz;
#[path = "sessions/interleavings.rs"]
mod interleavings;
#[path = "sessions/limits.rs"]
mod limits;
#[path = "sessions/migration.rs"]
mod migration;
#[path = "sessions/real.rs"]
mod real;
#[path = "sessions/tools.rs"]
mod tools;

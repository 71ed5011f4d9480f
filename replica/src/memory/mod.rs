//! The two memories of a canister: heap and stable memory.
//!
//! Both are a sparse file that holds what is committed, and what the running message changed on
//! top of it: so a message costs what it touches, however large the memory.

pub mod heap;
pub(crate) mod mapping;
pub mod stable;

//! Limits of a round, on an application subnet.

/// Threads that canisters are dealt to.
pub(crate) const THREADS: usize = 4;
/// Instructions of a round: what 7 billion leave beside the longest message without slices.
pub(crate) const ROUND: i64 = 7_000_000_000 - 5_000_000_000 + 1;
/// What each message and each canister count besides their instructions.
pub(crate) const PER_MESSAGE: i64 = 2_000_000;
pub(crate) const PER_CANISTER: i64 = 8_000_000;
/// What each canister counts at the end of an inner round.
pub(crate) const PER_CANISTER_FINALIZATION: i64 = 12_000;
/// Bytes that a canister may leave changed in a round.
pub(crate) const HEAP_DELTA_RATE: u64 = 75 << 20;
/// Bytes that may be left changed in an inner round.
pub(crate) const HEAP_DELTA_ITERATION: u64 = 200_000_000;
/// Instructions of subnet messages in a round.
pub(crate) const SUBNET_MESSAGES: u64 = 7_000_000_000 / 16;
/// How often canisters pay for storage.
pub(crate) const CHARGE_EVERY_NS: u64 = 10_000_000_000;

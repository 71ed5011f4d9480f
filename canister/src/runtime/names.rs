//! The names of methods that the canister calls on itself.

/// The method under which the canister sends itself a slice.
pub(crate) const SLICE_METHOD: &str = "round";

//! Stable memory: what lies where ([`regions`]), every type that is stored ([`records`]), and how a
//! value becomes bytes ([`codec`]).
//!
//! Nothing here names a type of the public interface: what is on disk changes only on purpose, with a
//! new version and a conversion (see CONTRIBUTING).

pub(crate) mod codec;
pub(crate) mod ids;
pub(crate) mod records;
pub(crate) mod regions;

#[cfg(test)]
mod golden;

pub(crate) use ids::Sha256;

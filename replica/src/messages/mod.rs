//! Executing messages: from an input to its effects.

pub(crate) mod execution;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod query;
pub(crate) mod respond;
pub(crate) mod update;
pub(crate) mod view;

//! Numbers and hashes that must not be mixed up.

use ic_stable_structures::Storable;
use ic_stable_structures::storable::Bound;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
        )]
        pub(crate) struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Storable for $name {
            fn to_bytes(&self) -> Cow<'_, [u8]> {
                Cow::Owned(self.0.to_be_bytes().to_vec())
            }
            fn into_bytes(self) -> Vec<u8> {
                self.0.to_be_bytes().to_vec()
            }
            fn from_bytes(bytes: Cow<'_, [u8]>) -> Self {
                Self(<$inner>::from_bytes(bytes))
            }
            const BOUND: Bound = <$inner>::BOUND;
        }
    };
}

id!(
    /// Number of a generation, from 1.
    GenerationId(u64)
);
id!(
    /// Number of a chat, from 1.
    ChatId(u64)
);
id!(
    /// Slot of a model: which regions of stable memory are its own.
    ModelSlot(u8)
);

/// SHA-256 of a model's file: what the model is known by.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    /// Lower-case hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

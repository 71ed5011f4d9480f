//! A stored value as bytes: one byte that says the version of its type, then the value in postcard
//! encoding.
//!
//! Postcard is positional: a field that is added, dropped or moved, or a variant that is put in the
//! middle, changes what old bytes mean. So a type that must change gets a new version, its old
//! definition stays beside it with a conversion, and old bytes are read by the version that they
//! carry. The bytes of one value of every version are checked in (`golden/`).

use crate::runtime;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type of [`crate::stable::records`].
pub(crate) trait Stored: Serialize + DeserializeOwned {
    /// Name of the type, for messages.
    const NAME: &'static str;
    /// Version of the type that is written today.
    const VERSION: u8;

    /// Reads a value of an older version; `None` if there is no such version.
    fn read_older(_version: u8, _bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// Returns the bytes of a value.
pub(crate) fn encode<T: Stored>(value: &T) -> Vec<u8> {
    match postcard::to_extend(value, vec![T::VERSION]) {
        Ok(bytes) => bytes,
        Err(e) => runtime::trap(&format!("cannot encode a {}: {e}", T::NAME)),
    }
}

/// Returns the value of some bytes of this or an older version; `None` if they are neither.
pub(crate) fn try_decode<T: Stored>(bytes: &[u8]) -> Option<T> {
    let (&version, rest) = bytes.split_first()?;
    if version == T::VERSION {
        return postcard::from_bytes(rest).ok();
    }
    T::read_older(version, rest)
}

/// Returns the value of some bytes.
///
/// Traps if they are of no known version: an upgrade that cannot read what is stored is rolled back.
pub(crate) fn decode<T: Stored>(bytes: &[u8]) -> T {
    try_decode(bytes).unwrap_or_else(|| {
        runtime::trap(&format!(
            "cannot read a stored {} of version {:?}: this program is older than the data",
            T::NAME,
            bytes.first()
        ))
    })
}

/// Makes a type [`Stored`], and a value of a stable map or cell: `stored!(Type, version)`, with a
/// function that reads older versions where there are any.
macro_rules! stored {
    ($type:ty, $version:expr) => {
        $crate::stable::codec::stored!($type, $version, |_, _| None);
    };
    ($type:ty, $version:expr, $older:expr) => {
        impl $crate::stable::codec::Stored for $type {
            const NAME: &'static str = stringify!($type);
            const VERSION: u8 = $version;

            fn read_older(version: u8, bytes: &[u8]) -> Option<Self> {
                let read: fn(u8, &[u8]) -> Option<Self> = $older;
                read(version, bytes)
            }
        }

        impl ic_stable_structures::Storable for $type {
            fn to_bytes(&self) -> std::borrow::Cow<'_, [u8]> {
                std::borrow::Cow::Owned($crate::stable::codec::encode(self))
            }
            fn into_bytes(self) -> Vec<u8> {
                $crate::stable::codec::encode(&self)
            }
            fn from_bytes(bytes: std::borrow::Cow<'_, [u8]>) -> Self {
                $crate::stable::codec::decode(&bytes)
            }
            const BOUND: ic_stable_structures::storable::Bound =
                ic_stable_structures::storable::Bound::Unbounded;
        }
    };
}

pub(crate) use stored;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::stable::records::GenerationRecord;

    /// The bytes of a record in a version that is made up for tests: see `records`.
    pub(crate) fn version_0(record: &GenerationRecord) -> Vec<u8> {
        let old = crate::stable::records::version_0::GenerationRecord::from(record.clone());
        postcard::to_extend(&old, vec![0]).unwrap()
    }

    #[test]
    fn bytes_of_an_unknown_version_or_damaged_ones_are_not_read() {
        let record = crate::stable::records::test_generation(1, candid::Principal::anonymous());
        let mut bytes = encode(&record);
        assert_eq!(
            try_decode::<GenerationRecord>(&bytes).as_ref(),
            Some(&record)
        );
        assert_eq!(try_decode::<GenerationRecord>(&bytes[..20]), None);
        bytes[0] = 200;
        assert_eq!(try_decode::<GenerationRecord>(&bytes), None);
        assert_eq!(try_decode::<GenerationRecord>(&[]), None);
    }
}

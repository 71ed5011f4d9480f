//! SHA-256 (FIPS 180-4) that can stop after any block and continue from a stored state.

use sha2::digest::generic_array::GenericArray;

/// Bytes of a SHA-256 block.
pub const BLOCK: usize = 64;

const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The state of a hash in the middle of a file. Plain data: 40 bytes to store.
///
/// ```
/// use weights::gguf::sha256::{BLOCK, Sha256State};
/// let data = [7; 3 * BLOCK + 5];
/// let mut paused = Sha256State::default();
/// paused.update(&data[..2 * BLOCK]);
/// let whole = Sha256State::default().finish(&data);
/// assert_eq!(paused.finish(&data[2 * BLOCK..]), whole);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sha256State {
    /// Chaining value.
    pub words: [u32; 8],
    /// Bytes hashed so far, a multiple of [`BLOCK`].
    pub done: u64,
}

impl Default for Sha256State {
    fn default() -> Self {
        Self {
            words: INITIAL,
            done: 0,
        }
    }
}

impl Sha256State {
    /// Hashes whole blocks. `data.len()` must be a multiple of [`BLOCK`]; a remainder is ignored.
    pub fn update(&mut self, data: &[u8]) {
        let whole = data.len() / BLOCK * BLOCK;
        let blocks = &data[..whole];
        for b in blocks.chunks_exact(BLOCK) {
            sha2::compress256(
                &mut self.words,
                std::slice::from_ref(GenericArray::from_slice(b)),
            );
        }
        self.done += whole as u64;
    }

    /// Hashes the last bytes (any length) and returns the digest.
    pub fn finish(mut self, rest: &[u8]) -> [u8; 32] {
        self.update(rest);
        let tail = &rest[rest.len() / BLOCK * BLOCK..];
        let bits = (self.done + tail.len() as u64).wrapping_mul(8);
        let mut last = tail.to_vec();
        last.push(0x80);
        while last.len() % BLOCK != BLOCK - 8 {
            last.push(0);
        }
        last.extend_from_slice(&bits.to_be_bytes());
        self.update(&last);
        let mut out = [0; 32];
        for (o, w) in out.chunks_exact_mut(4).zip(self.words) {
            o.copy_from_slice(&w.to_be_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    proptest! {
        #[test]
        fn any_slicing_gives_the_library_s_digest(
            data in proptest::collection::vec(any::<u8>(), 0..1000),
            cut in 0usize..16,
        ) {
            let cut = (cut * BLOCK).min(data.len() / BLOCK * BLOCK);
            let mut s = Sha256State::default();
            s.update(&data[..cut]);
            let got = s.finish(&data[cut..]);
            let expected = Sha256::digest(&data);
            prop_assert_eq!(got.as_slice(), expected.as_slice());
        }
    }
}

//! The tensor types of GGUF ("dtypes"): one row of the table for each block format.
//!
//! A row holds everything that is special about a format, but for the function in [`super::dequant`]
//! that it names. A format may also have an integer packer (`pack/formats.rs`), which is faster and
//! optional.

use super::dequant;

/// What the table says about a block format.
struct BlockFormat {
    /// The number in the file (`enum ggml_type` of ggml.h).
    number: u32,
    name: &'static str,
    /// Weights of a block.
    len: usize,
    /// Bytes of a block.
    bytes: usize,
}

macro_rules! block_formats {
    ($($variant:ident $number:literal $name:literal $len:literal $bytes:literal $unpack:ident)*) => {
        /// A tensor type that this project can dequantize. Sources of numbers, names and block sizes:
        /// `enum ggml_type` in ggml.h and the `block_*` structures in ggml-common.h.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum GgmlType {
            $(#[doc = concat!("`", $name, "`: ", $len, " weights in ", $bytes, " bytes.")] $variant,)*
        }

        impl GgmlType {
            /// Every type, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            const fn format(self) -> BlockFormat {
                match self {
                    $(Self::$variant => BlockFormat {
                        number: $number,
                        name: $name,
                        len: $len,
                        bytes: $bytes,
                    },)*
                }
            }

            /// Returns the function that unpacks a row of blocks to `f32`.
            pub(super) fn unpack(self) -> fn(&[u8], &mut [f32]) {
                match self {
                    $(Self::$variant => {
                        |bytes, out| dequant::each_block(bytes, out, dequant::$unpack)
                    })*
                }
            }
        }
    };
}

block_formats! {
//  type   number name  weights bytes unpack
    F32       0 "F32"       1    4   f32
    F16       1 "F16"       1    2   f16
    Q4_0      2 "Q4_0"     32   18   q4_0
    Q4_1      3 "Q4_1"     32   20   q4_1
    Q5_0      6 "Q5_0"     32   22   q5_0
    Q5_1      7 "Q5_1"     32   24   q5_1
    Q8_0      8 "Q8_0"     32   34   q8_0
    Q2K      10 "Q2_K"    256   84   q2_k
    Q3K      11 "Q3_K"    256  110   q3_k
    Q4K      12 "Q4_K"    256  144   q4_k
    Q5K      13 "Q5_K"    256  176   q5_k
    Q6K      14 "Q6_K"    256  210   q6_k
    Iq4Nl    20 "IQ4_NL"   32   18   iq4_nl
    Bf16     30 "BF16"      1    2   bf16
}

impl GgmlType {
    /// Returns the type with this number in GGUF files; `None` if it is not read here.
    ///
    /// ```
    /// use weights::GgmlType;
    /// assert_eq!(GgmlType::from_u32(12), Some(GgmlType::Q4K));
    /// assert_eq!(GgmlType::from_u32(99), None);
    /// ```
    pub fn from_u32(n: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.format().number == n)
    }

    /// Returns the number of weights in a block.
    pub const fn block_len(self) -> usize {
        self.format().len
    }

    /// Returns the number of bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.format().bytes
    }

    /// Returns the number of bytes of a row of `cols` weights; `None` if `cols` is not a whole number
    /// of blocks.
    ///
    /// ```
    /// use weights::GgmlType;
    /// assert_eq!(GgmlType::Q8_0.row_bytes(64), Some(68));
    /// assert_eq!(GgmlType::Q8_0.row_bytes(50), None);
    /// ```
    pub fn row_bytes(self, cols: u64) -> Option<u64> {
        let block = self.block_len() as u64;
        if !cols.is_multiple_of(block) {
            return None;
        }
        (cols / block).checked_mul(self.block_bytes() as u64)
    }
}

impl std::fmt::Display for GgmlType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.format().name)
    }
}

//! Dequantization, value by value: candle's for what candle quantizes, the gguf Python package's for
//! IQ4_NL.

use anyhow::{Context, Result};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use e2e::tiny_model::Random;
use weights::GgmlType;
use weights::gguf::dequant::dequantize_row;

/// What candle calls each.
const TYPES: [(GgmlType, GgmlDType); 13] = [
    (GgmlType::F32, GgmlDType::F32),
    (GgmlType::F16, GgmlDType::F16),
    (GgmlType::Bf16, GgmlDType::BF16),
    (GgmlType::Q4_0, GgmlDType::Q4_0),
    (GgmlType::Q4_1, GgmlDType::Q4_1),
    (GgmlType::Q5_0, GgmlDType::Q5_0),
    (GgmlType::Q5_1, GgmlDType::Q5_1),
    (GgmlType::Q8_0, GgmlDType::Q8_0),
    (GgmlType::Q2K, GgmlDType::Q2K),
    (GgmlType::Q3K, GgmlDType::Q3K),
    (GgmlType::Q4K, GgmlDType::Q4K),
    (GgmlType::Q5K, GgmlDType::Q5K),
    (GgmlType::Q6K, GgmlDType::Q6K),
];

#[test]
fn values_are_candle_s() -> Result<()> {
    let mut random = Random(7);
    for (ours, theirs) in TYPES {
        let count = 4 * 256;
        let values: Vec<f32> = (0..count)
            .map(|i| {
                let size = [0.01, 1.0, 30.0, 0.0][i / 256];
                ((random.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size
            })
            .collect();
        let tensor = Tensor::new(values, &Device::Cpu)?;
        let quantized = QTensor::quantize(&tensor, theirs)?;
        let expected: Vec<f32> = quantized.dequantize(&Device::Cpu)?.to_vec1()?;
        let mut got = vec![0f32; count];
        dequantize_row(ours, &quantized.data()?, &mut got);
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            // K blocks: one rounding more or less in d × scale × number.
            let off = (got - expected).abs();
            assert!(
                off <= 2e-7 * expected.abs() + 1e-9,
                "{ours} {i}: {got} {expected}"
            );
        }
    }
    Ok(())
}

/// Blocks and their values as gguf 0.19's `quants.dequantize` gives them.
#[test]
fn values_of_iq4_nl_are_the_gguf_package_s() -> Result<()> {
    let cases: Vec<(String, Vec<f32>)> =
        serde_json::from_str(include_str!("../../data/iq4_nl.json"))?;
    assert!(!cases.is_empty());
    for (block, expected) in cases {
        let bytes: Vec<u8> = (0..block.len() / 2)
            .map(|i| u8::from_str_radix(&block[2 * i..2 * i + 2], 16))
            .collect::<Result<_, _>>()
            .context("hexadecimal")?;
        let mut got = vec![0f32; expected.len()];
        dequantize_row(GgmlType::Iq4Nl, &bytes, &mut got);
        assert_eq!(got, expected);
    }
    Ok(())
}

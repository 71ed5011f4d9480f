//! The inner loops. They know nothing about models. Each is written so that its Wasm costs few metered
//! instructions: operands that do not change in a loop live in locals, offsets fold into loads, and loops
//! are unrolled as far as a model's shapes allow.

// Unrolled code has offsets of 0 × 16 and 1 × 16 like all others.
#![allow(clippy::erasing_op, clippy::identity_op)]

pub mod activation;
pub mod attention;
pub mod exp;
pub mod linear;
pub mod norm;
pub mod quantize;
pub mod rope;

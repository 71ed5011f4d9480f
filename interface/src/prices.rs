//! What the IC charges on a subnet of 13 nodes, in cycles (dfinity/ic, rs/config, May 2026).

/// One executed update message, besides its instructions.
pub const MESSAGE: u64 = 5_000_000;
pub const INSTRUCTION: u64 = 1;
pub const INGRESS: u64 = 1_200_000;
pub const INGRESS_BYTE: u64 = 2_000;
pub const GIB_SECOND: u64 = 317_500;

/// Messages that execute so many instructions in all.
pub fn execution(messages: u64, instructions: u64) -> u64 {
    messages * MESSAGE + instructions * INSTRUCTION
}

/// The same for a part of a message: as much of its price as of its instructions.
pub fn share(instructions: u64, of_a_message: u64) -> u64 {
    execution(0, instructions) + (MESSAGE as f64 * instructions as f64 / of_a_message as f64) as u64
}

/// Taking in messages from outside with so many bytes in all.
pub fn ingress(messages: u64, bytes: u64) -> u64 {
    messages * INGRESS + bytes * INGRESS_BYTE
}

/// Keeping bytes for a day.
pub fn storage_a_day(bytes: u64) -> u64 {
    ((u128::from(bytes) * u128::from(GIB_SECOND) * 86_400) >> 30) as u64
}

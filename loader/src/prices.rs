//! What things cost on a 13-node subnet, in cycles (dfinity/ic, rs/config).

/// One executed update message, besides its instructions.
const MESSAGE: u64 = 5_000_000;
const INSTRUCTION: u64 = 1;
const INGRESS: u64 = 1_200_000;
const INGRESS_BYTE: u64 = 2_000;
const GIB_SECOND: u64 = 127_000;

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

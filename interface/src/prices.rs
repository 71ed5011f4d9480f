//! What the IC charges on a subnet of 13 nodes, in cycles (dfinity/ic, rs/config, May 2026).

/// Price of executing one update message, besides its instructions.
pub const MESSAGE: u64 = 5_000_000;

/// Price of one instruction.
pub const INSTRUCTION: u64 = 1;

/// Price of receiving one message from outside the IC, besides its bytes.
pub const INGRESS: u64 = 1_200_000;

/// Price of one byte of a message from outside the IC.
pub const INGRESS_BYTE: u64 = 2_000;

/// Price of keeping 1 GiB of memory, heap or stable, for one second.
pub const GIB_SECOND: u64 = 317_500;

/// Returns the price of executing `messages` messages with `instructions` instructions in all.
pub fn execution(messages: u64, instructions: u64) -> u64 {
    messages * MESSAGE + instructions * INSTRUCTION
}

/// Returns the price of `instructions` instructions that are part of messages of `of_a_message`
/// instructions each: with their part of the messages' own price.
pub fn share(instructions: u64, of_a_message: u64) -> u64 {
    execution(0, instructions) + (MESSAGE as f64 * instructions as f64 / of_a_message as f64) as u64
}

/// Returns the price of receiving `messages` messages from outside with `bytes` bytes in all.
pub fn ingress(messages: u64, bytes: u64) -> u64 {
    messages * INGRESS + bytes * INGRESS_BYTE
}

/// Returns the price of keeping `bytes` bytes for a day.
pub fn storage_a_day(bytes: u64) -> u64 {
    ((u128::from(bytes) * u128::from(GIB_SECOND) * 86_400) >> 30) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gibibyte_for_a_day() {
        assert_eq!(storage_a_day(1 << 30), 317_500 * 86_400);
        // 500 GiB does not overflow.
        assert_eq!(storage_a_day(500 << 30), 500 * 317_500 * 86_400);
    }

    #[test]
    fn a_part_of_a_message_bears_its_part_of_the_price() {
        assert_eq!(share(500, 1_000), 500 + MESSAGE / 2);
    }
}

//! What things cost, in cycles, on an application subnet of 13 nodes.

/// Instructions that an update, timer, heartbeat or callback may execute.
pub const UPDATE_LIMIT: u64 = 40_000_000_000;
/// Instructions that a query may execute.
pub const QUERY_LIMIT: u64 = 5_000_000_000;
/// Instructions that an install or upgrade may execute.
pub const INSTALL_LIMIT: u64 = 300_000_000_000;
/// Instructions that `canister_inspect_message` may execute.
pub const INSPECT_LIMIT: u64 = 200_000_000;
/// Instructions of a slice of a long message.
pub const SLICE: u64 = 2_000_000_000;
/// Instructions for each instruction of a metered module that is compiled.
pub const COMPILE_COST: u64 = 6_000;
/// Largest answer of an inter-canister call that is paid for in advance, in bytes.
pub const MAX_CALL_ANSWER: u64 = 2 << 20;

const MESSAGE: u128 = 5_000_000;
const INGRESS: u128 = 1_200_000;
const INGRESS_BYTE: u128 = 2_000;
const CALL: u128 = 260_000;
const CALL_BYTE: u128 = 1_000;
const GIB_SECOND: u128 = 127_000;
const COMPUTE_PERCENT_SECOND: u128 = 10_000_000;
const CREATE: u128 = 500_000_000_000;
const HTTP_REQUEST: u128 = 3_000_000 + 60_000 * 13;
const HTTP_REQUEST_BYTE: u128 = 400;
const HTTP_RESPONSE_BYTE: u128 = 800;

/// The fees; all are zero on a free replica.
#[derive(Clone, Copy, Debug)]
pub struct Fees {
    pub free: bool,
}

impl Fees {
    fn unless_free(self, cycles: u128) -> u128 {
        if self.free { 0 } else { cycles }
    }

    /// Executing a message of that many instructions; twice as much for each with 64-bit memory.
    pub fn execution(self, instructions: u64, memory64: bool) -> u128 {
        let each = if memory64 { 2 } else { 1 };
        self.unless_free(MESSAGE + each * u128::from(instructions))
    }

    /// Taking in a signed message of that many bytes.
    pub fn ingress(self, bytes: u64) -> u128 {
        self.unless_free(INGRESS + INGRESS_BYTE * u128::from(bytes))
    }

    /// Sending a call of that many bytes.
    pub fn call(self, bytes: u64) -> u128 {
        self.unless_free(CALL + CALL_BYTE * u128::from(bytes))
    }

    /// Sending an answer of that many bytes.
    pub fn answer(self, bytes: u64) -> u128 {
        self.unless_free(CALL_BYTE * u128::from(bytes))
    }

    /// Storing bytes for a time.
    pub fn storage(self, bytes: u64, nanoseconds: u64) -> u128 {
        let byte_ns = u128::from(bytes) * u128::from(nanoseconds);
        self.unless_free(byte_ns * GIB_SECOND / (1 << 30) / 1_000_000_000)
    }

    /// Storing a GiB for some seconds.
    pub fn gib(self, seconds: u64) -> u128 {
        self.unless_free(GIB_SECOND * u128::from(seconds))
    }

    /// Reserving percents of a core for some seconds.
    pub fn compute(self, percent: u64, seconds: u64) -> u128 {
        self.unless_free(COMPUTE_PERCENT_SECOND * u128::from(percent) * u128::from(seconds))
    }

    /// Creating a canister.
    pub fn create(self) -> u128 {
        self.unless_free(CREATE)
    }

    /// An HTTPS outcall with a request and an answer of these sizes, in bytes.
    pub fn http_request(self, request: u64, answer: u64) -> u128 {
        let bytes = HTTP_REQUEST_BYTE * u128::from(request);
        let answer = HTTP_RESPONSE_BYTE * u128::from(answer);
        self.unless_free((HTTP_REQUEST + bytes + answer) * 13)
    }
}

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
/// Storage of a subnet, in bytes: above the first, growth reserves cycles; the second is all of it.
pub const STORAGE_THRESHOLD: u64 = 750 << 30;
/// All storage of the subnet, in bytes.
pub const STORAGE_CAPACITY: u64 = 2 << 40;
/// How long storage is paid for in advance where the subnet is full, in seconds.
const MAX_RESERVATION: u128 = 300_000_000;
/// Seconds of a day.
const DAY: u64 = 86_400;
const COMPUTE_PERCENT_SECOND: u128 = 10_000_000;
const CREATE: u128 = 500_000_000_000;
const HTTP_REQUEST: u128 = 3_000_000 + 60_000 * 13;
const HTTP_REQUEST_BYTE: u128 = 400;
const HTTP_RESPONSE_BYTE: u128 = 800;

/// Cycles as they are written in errors: `1_234_567`.
#[derive(Clone, Copy, Debug)]
pub struct Amount(pub u128);

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str("_")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// How full a subnet's storage is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saturation {
    usage: u64,
    threshold: u64,
    capacity: u64,
}

impl Saturation {
    /// The part of a subnet's storage that one of several threads may count on.
    pub fn of_thread(usage: u64, threshold: u64, capacity: u64, threads: u64) -> Saturation {
        let capacity = capacity / threads;
        Saturation {
            usage: (usage / threads).min(capacity),
            threshold: (threshold / threads).min(capacity),
            capacity,
        }
    }

    /// With more of it used.
    #[must_use]
    pub fn with(self, bytes: u64) -> Saturation {
        let usage = self.usage.saturating_add(bytes).min(self.capacity);
        Saturation { usage, ..self }
    }
}

/// The fees; all are zero on a free replica.
#[derive(Clone, Copy, Debug)]
pub struct Fees {
    /// Nothing costs anything.
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

    /// What is put aside for bytes that a canister gets on a subnet as full as that: the time that is
    /// paid for grows with what is used above the threshold, from nothing to years.
    pub fn reservation(self, at: Saturation, bytes: u64) -> u128 {
        self.reserved(at.with(bytes))
            .saturating_sub(self.reserved(at))
    }

    /// What is put aside for all that is used above the threshold.
    fn reserved(self, at: Saturation) -> u128 {
        let above = u128::from(at.usage.saturating_sub(at.threshold));
        let room = u128::from(at.capacity - at.threshold);
        if room == 0 {
            return 0;
        }
        // The area of a triangle; the IC rounds to whole seconds.
        let seconds = MAX_RESERVATION * above / room / 2;
        self.unless_free((above * GIB_SECOND * seconds) >> 30)
    }

    /// What a canister costs that does nothing, in cycles a day.
    pub fn idle_day(self, bytes: u64, compute_percent: u64) -> u128 {
        let storage = (u128::from(bytes) * GIB_SECOND * u128::from(DAY)) >> 30;
        self.unless_free(storage) + self.compute(compute_percent, DAY)
    }

    /// The same for the seconds of a freezing threshold. The IC rounds to cycles a day.
    pub fn freezing(self, bytes: u64, compute_percent: u64, seconds: u64) -> u128 {
        let day = self.idle_day(bytes, compute_percent);
        day.saturating_mul(u128::from(seconds)) / u128::from(DAY)
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

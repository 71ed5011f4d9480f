//! Why an execution failed, in the IC's words and codes.

use crate::cycles::Amount;
use candid::Principal;

/// Error codes of the IC's replica; the hundreds digit is the reject code.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[repr(u16)]
#[expect(
    missing_docs,
    reason = "the names are those of the replica's own error codes"
)]
pub enum ErrorCode {
    SubnetOversubscribed = 101,
    IngressMessageTimeout = 202,
    StopCanisterRequestTimeout = 206,
    CanisterOutOfCycles = 207,
    InstallCodeRateLimited = 209,
    CanisterHeapDeltaRateLimited = 210,
    CanisterNotFound = 301,
    CanisterSnapshotNotFound = 305,
    InsufficientMemoryAllocation = 402,
    InsufficientCyclesForCreate = 403,
    CanisterNotHostedBySubnet = 405,
    CanisterRejectedMessage = 406,
    InvalidManagementPayload = 408,
    CanisterSnapshotImmutable = 409,
    CanisterTrapped = 502,
    CanisterCalledTrap = 503,
    CanisterContractViolation = 504,
    CanisterInvalidWasm = 505,
    CanisterDidNotReply = 506,
    CanisterOutOfMemory = 507,
    CanisterStopped = 508,
    CanisterStopping = 509,
    CanisterNotStopped = 510,
    CanisterStoppingCancelled = 511,
    CanisterInvalidController = 512,
    CanisterFunctionNotFound = 513,
    CanisterNonEmpty = 514,
    CanisterInstructionLimitExceeded = 522,
    CanisterMemoryAccessLimitExceeded = 524,
    QueryCallGraphTooDeep = 525,
    QueryCallGraphTotalInstructionLimitExceeded = 526,
    CompositeQueryCalledInReplicatedMode = 527,
    InsufficientCyclesInComputeAllocation = 530,
    InsufficientCyclesInMemoryAllocation = 531,
    InsufficientCyclesInMemoryGrow = 532,
    ReservedCyclesLimitExceededInMemoryAllocation = 533,
    ReservedCyclesLimitExceededInMemoryGrow = 534,
    CanisterMethodNotFound = 536,
    CanisterWasmModuleNotFound = 537,
    CanisterAlreadyInstalled = 538,
    CanisterWasmMemoryLimitExceeded = 539,
    ReservedCyclesLimitIsTooLow = 540,
}

impl ErrorCode {
    /// Reject code of the interface specification.
    pub fn reject_code(self) -> u32 {
        u32::from(self as u16) / 100
    }

    /// As clients see it: `IC0503`.
    pub fn text(self) -> String {
        format!("IC{:04}", self as u16)
    }
}

/// An error as users see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UserError {
    /// The code.
    pub code: ErrorCode,
    /// The text.
    pub text: String,
}

impl UserError {
    /// An error with that code and text.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> UserError {
        UserError {
            code,
            text: text.into(),
        }
    }
}

impl From<UserError> for crate::Reject {
    fn from(error: UserError) -> crate::Reject {
        crate::Reject {
            code: error.code.reject_code(),
            message: error.text,
            error_code: Some(error.code.text()),
        }
    }
}

/// Why an execution of canister code failed.
#[expect(
    missing_docs,
    reason = "the descriptions of the variants cover their fields"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A Wasm trap: its text, and the names of the functions on the stack.
    Trapped { trap: String, backtrace: String },
    /// `ic0.trap`: its message, and the names of the functions on the stack.
    CalledTrap { message: String, backtrace: String },
    /// A System API call that is not allowed, or not there or not in that way.
    ContractViolation(String),
    /// The method does not exist; the text says which.
    MethodNotFound(String),
    /// A callback's table slot does not exist.
    FunctionNotFound { table: u32, function: u32 },
    /// The canister has no code.
    NoModule,
    /// More instructions than allowed.
    InstructionLimit(u64),
    /// More stable memory read or written than allowed.
    MemoryAccessLimit(String),
    /// The heap grew over the canister's limit, in bytes.
    WasmMemoryLimit { used: u64, limit: u64 },
    /// Growing memory would leave too few cycles; how many are missing is for controllers.
    CyclesForMemory { bytes: u64, missing: Option<u128> },
    /// Growing memory would reserve more cycles than the canister's limit allows.
    ReservedLimit { bytes: u64, limit: u128, over: u128 },
    /// The canister's memory allocation or the subnet's capacity is used up.
    OutOfMemory,
    /// More cycles used in a call than there are.
    OutOfCycles,
    /// A principal in a call cannot be decoded.
    InvalidPrincipal,
    /// There are not that many environment variables.
    VariableIndex { index: u64, count: usize },
    /// There is no environment variable of that name.
    VariableNotFound(String),
    /// A callback failed, and so did its cleanup.
    Cleanup(Box<Failure>, Box<Failure>),
}

/// The cause inside an error that a host function stops the execution with.
#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
pub struct HostTrap(pub Failure);

fn with_backtrace(text: String, backtrace: &str) -> String {
    if backtrace.is_empty() {
        text
    } else {
        format!("{text}\nCanister Backtrace:\n{backtrace}")
    }
}

impl Failure {
    /// The code that users see.
    pub fn code(&self) -> ErrorCode {
        match self {
            Failure::Trapped { .. } => ErrorCode::CanisterTrapped,
            Failure::CalledTrap { .. } => ErrorCode::CanisterCalledTrap,
            Failure::ContractViolation(_)
            | Failure::OutOfCycles
            | Failure::InvalidPrincipal
            | Failure::VariableIndex { .. }
            | Failure::VariableNotFound(_) => ErrorCode::CanisterContractViolation,
            Failure::MethodNotFound(_) => ErrorCode::CanisterMethodNotFound,
            Failure::FunctionNotFound { .. } => ErrorCode::CanisterFunctionNotFound,
            Failure::NoModule => ErrorCode::CanisterWasmModuleNotFound,
            Failure::InstructionLimit(_) => ErrorCode::CanisterInstructionLimitExceeded,
            Failure::MemoryAccessLimit(_) => ErrorCode::CanisterMemoryAccessLimitExceeded,
            Failure::WasmMemoryLimit { .. } => ErrorCode::CanisterWasmMemoryLimitExceeded,
            Failure::CyclesForMemory { .. } => ErrorCode::InsufficientCyclesInMemoryGrow,
            Failure::ReservedLimit { .. } => ErrorCode::ReservedCyclesLimitExceededInMemoryGrow,
            Failure::OutOfMemory => ErrorCode::CanisterOutOfMemory,
            Failure::Cleanup(first, _) => first.code(),
        }
    }

    /// The bare text.
    pub fn text(&self, canister: &Principal, backtraces: bool) -> String {
        match self {
            Failure::Trapped { trap, backtrace } => with_backtrace(
                format!("Canister trapped: {trap}"),
                if backtraces { backtrace } else { "" },
            ),
            Failure::CalledTrap { message, backtrace } => with_backtrace(
                format!("Canister called `ic0.trap` with message: '{message}'"),
                if backtraces { backtrace } else { "" },
            ),
            Failure::ContractViolation(text) => format!("Canister violated contract: {text}"),
            Failure::MethodNotFound(method) => format!("Canister has no {method}."),
            Failure::FunctionNotFound { table, function } => format!(
                "Canister requested to invoke a non-existent Wasm function {function} from table \
                 {table}"
            ),
            Failure::NoModule => {
                "Attempted to execute a message, but the canister contains no Wasm module.".into()
            }
            Failure::InstructionLimit(limit) => format!(
                "Canister exceeded the limit of {limit} instructions for single message execution."
            ),
            Failure::MemoryAccessLimit(text) => {
                format!("Canister exceeded memory access limits: {text}")
            }
            Failure::WasmMemoryLimit { used, limit } => format!(
                "Canister exceeded its current Wasm memory limit of {limit} bytes. The peak Wasm \
                 memory usage was {used} bytes. If the canister reaches 4GiB, then it may stop \
                 functioning and may become unrecoverable. Please reach out to the canister owner \
                 to investigate the reason for the increased memory usage. It might be necessary \
                 to move data from the Wasm memory to the stable memory. If such high Wasm memory \
                 usage is expected and safe, then the developer can increase the Wasm memory limit \
                 in the canister settings."
            ),
            Failure::CyclesForMemory { bytes, missing } => {
                let missing = missing.map_or_else(String::new, |missing| {
                    format!(
                        " At least {} additional cycles are required.",
                        Amount(missing)
                    )
                });
                format!(
                    "Canister cannot grow memory by {bytes} bytes due to insufficient \
                     cycles.{missing}"
                )
            }
            Failure::ReservedLimit { bytes, limit, over } => format!(
                "Canister cannot grow memory by {bytes} bytes due to its reserved cycles limit. The \
                 current limit ({}) would be exceeded by {}.",
                Amount(*limit),
                Amount(*over)
            ),
            Failure::OutOfMemory => "Canister cannot grow its memory usage.".into(),
            Failure::OutOfCycles => format!("Canister {canister} is out of cycles"),
            Failure::InvalidPrincipal => "Canister provided invalid principal id".into(),
            Failure::VariableIndex { index, count } => format!(
                "Environment variable index {index} is out of bounds. The number of environment \
                 variables is {count}."
            ),
            Failure::VariableNotFound(name) => {
                format!("Environment variable {name} not found.")
            }
            Failure::Cleanup(first, second) => format!(
                "{}\ncall_on_cleanup also failed:\n{}",
                first.text(canister, backtraces),
                second.text(canister, backtraces)
            ),
        }
    }

    /// What is added to the canister's log, if anything.
    pub fn log_line(&self) -> Option<String> {
        match self {
            Failure::Trapped { trap, backtrace } => {
                Some(with_backtrace(format!("[TRAP]: {trap}"), backtrace))
            }
            Failure::CalledTrap { message, backtrace } => {
                let message = if message.is_empty() {
                    "(no message)"
                } else {
                    message
                };
                Some(with_backtrace(format!("[TRAP]: {message}"), backtrace))
            }
            _ => None,
        }
    }

    /// What the user is advised to do, and where that is documented.
    fn advice(&self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Failure::Trapped { .. } => (
                "Consider gracefully handling failures from this canister or altering the \
                 canister to handle exceptions",
                "trapped",
            ),
            Failure::CalledTrap { .. } => (
                "Consider gracefully handling failures from this canister or altering the \
                 canister to handle exceptions",
                "trapped-explicitly",
            ),
            Failure::InstructionLimit(_) => (
                "Try optimizing this method to consume fewer instructions or split the work across \
                 multiple messages",
                "instruction-limit-exceeded",
            ),
            Failure::MethodNotFound(_) => (
                "Check that the method being called is exported by the target canister",
                "method-not-found",
            ),
            Failure::NoModule => (
                "Please install code to this canister before calling it",
                "wasm-module-not-found",
            ),
            Failure::CyclesForMemory { .. } => (
                "Try topping up the canister",
                "insufficient-cycles-in-memory-grow",
            ),
            Failure::ReservedLimit { .. } => (
                "Try increasing the canister's reserved cycles limit or moving it to a subnet with \
                 lower memory usage",
                "reserved-cycles-limit-exceeded-in-memory-grow",
            ),
            Failure::WasmMemoryLimit { .. } => (
                "Try checking the canister for a possible memory leak or modifying it to use more \
                 stable memory instead of Wasm memory",
                "wasm-memory-limit-exceeded",
            ),
            Failure::MemoryAccessLimit(_) => (
                "Try optimizing this method to access less memory in a single message",
                "memory-access-limit-exceeded",
            ),
            _ => return None,
        })
    }

    /// The error as users see it; backtraces only for who may read the canister's log.
    pub fn user_error(&self, canister: &Principal, backtraces: bool) -> UserError {
        let advice = self.advice().map_or_else(String::new, |(advice, page)| {
            format!(
                "\n{advice}. See documentation: \
                 https://internetcomputer.org/docs/current/references/execution-errors#{page}"
            )
        });
        UserError::new(
            self.code(),
            format!(
                "Error from Canister {canister}: {}.{advice}",
                self.text(canister, backtraces)
            ),
        )
    }
}

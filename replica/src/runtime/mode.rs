//! Entry points, and which System API call is allowed in which.

/// What kind of code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// The module's start function.
    Start = 1,
    /// `canister_init` and `canister_post_upgrade`.
    Init = 1 << 1,
    /// `canister_pre_upgrade`.
    PreUpgrade = 1 << 2,
    /// An update.
    Update = 1 << 3,
    /// A query that runs as an update.
    ReplicatedQuery = 1 << 4,
    /// A query.
    Query = 1 << 5,
    /// A composite query.
    CompositeQuery = 1 << 6,
    /// A callback for a reply.
    ReplyCallback = 1 << 7,
    /// A callback for a reject.
    RejectCallback = 1 << 8,
    /// The same in a composite query.
    CompositeReplyCallback = 1 << 9,
    /// The same in a composite query.
    CompositeRejectCallback = 1 << 10,
    /// What runs after a callback trapped.
    Cleanup = 1 << 11,
    /// The same in a composite query.
    CompositeCleanup = 1 << 12,
    /// Timer, heartbeat and low-memory hook.
    SystemTask = 1 << 13,
    /// `canister_inspect_message`.
    InspectMessage = 1 << 14,
}

impl Mode {
    /// The mode's name in error texts.
    pub fn words(self) -> &'static str {
        match self {
            Mode::Start => "start",
            Mode::Init => "init",
            Mode::PreUpgrade => "pre upgrade",
            Mode::Update => "update",
            Mode::ReplicatedQuery => "replicated query",
            Mode::Query => "non replicated query",
            Mode::CompositeQuery => "composite query",
            Mode::ReplyCallback => "reply callback",
            Mode::RejectCallback => "reject callback",
            Mode::CompositeReplyCallback => "composite reply callback",
            Mode::CompositeRejectCallback => "composite reject callback",
            Mode::Cleanup => "cleanup",
            Mode::CompositeCleanup => "composite cleanup",
            Mode::SystemTask => "system task",
            Mode::InspectMessage => "inspect message",
        }
    }

    /// True when the mode is one of a set.
    pub fn is_in(self, modes: u32) -> bool {
        self as u32 & modes != 0
    }

    /// True in executions that the whole subnet agrees on.
    pub fn is_replicated(self) -> bool {
        !self.is_in(NON_REPLICATED)
    }

    /// True in a query and its callbacks.
    pub fn is_query(self) -> bool {
        self.is_in(NON_REPLICATED & !(Mode::InspectMessage as u32))
    }
}

const COMPOSITE_CALLBACKS: u32 =
    Mode::CompositeReplyCallback as u32 | Mode::CompositeRejectCallback as u32;
const CALLBACKS: u32 = Mode::ReplyCallback as u32 | Mode::RejectCallback as u32;
const NON_REPLICATED: u32 = Mode::Query as u32
    | Mode::CompositeQuery as u32
    | COMPOSITE_CALLBACKS
    | Mode::CompositeCleanup as u32
    | Mode::InspectMessage as u32;
const QUERIES: u32 =
    Mode::ReplicatedQuery as u32 | Mode::Query as u32 | Mode::CompositeQuery as u32;

/// Everywhere.
pub const ANY: u32 = u32::MAX;
/// Everywhere but in the start function.
pub const NOT_START: u32 = !(Mode::Start as u32);
/// Where there is an argument, or a reply's data.
pub const ARGUMENT: u32 = Mode::Init as u32
    | Mode::Update as u32
    | QUERIES
    | Mode::ReplyCallback as u32
    | Mode::CompositeReplyCallback as u32
    | Mode::InspectMessage as u32;
/// Where it is known what was said about the caller.
pub const CALLER_INFO: u32 =
    ANSWER | Mode::Cleanup as u32 | Mode::CompositeCleanup as u32 | Mode::InspectMessage as u32;
/// Where the answer to a call is seen.
pub const CALL_ANSWER: u32 = CALLBACKS | COMPOSITE_CALLBACKS;
/// Where a reject's text is seen.
pub const REJECT_TEXT: u32 = Mode::RejectCallback as u32 | Mode::CompositeRejectCallback as u32;
/// Where the caller can be answered.
pub const ANSWER: u32 = Mode::Update as u32 | QUERIES | CALLBACKS | COMPOSITE_CALLBACKS;
/// Where cycles come with the call.
pub const CYCLES: u32 = Mode::Update as u32 | Mode::ReplicatedQuery as u32 | CALLBACKS;
/// Where cycles come back from a call.
pub const REFUND: u32 = CALLBACKS;
/// Where state outside the memories can be changed.
pub const CHANGE: u32 = Mode::Init as u32
    | Mode::PreUpgrade as u32
    | Mode::Update as u32
    | CALLBACKS
    | Mode::SystemTask as u32;
/// Where the global timer can be set.
pub const TIMER: u32 = CHANGE | Mode::Cleanup as u32;
/// Where cycles can be burnt and the root key is known.
pub const BURN: u32 = TIMER | Mode::ReplicatedQuery as u32;
/// Where calls can be made.
pub const CALL: u32 = Mode::Update as u32
    | Mode::CompositeQuery as u32
    | CALLBACKS
    | COMPOSITE_CALLBACKS
    | Mode::SystemTask as u32;
/// Where calls can carry cycles.
pub const CALL_CYCLES: u32 = Mode::Update as u32 | CALLBACKS | Mode::SystemTask as u32;
/// Where cycles could be minted by the one canister that may.
pub const MINT: u32 = Mode::Update as u32 | CALLBACKS;
/// Where the data certificate can be read.
pub const CERTIFICATE: u32 = Mode::Query as u32 | Mode::CompositeQuery as u32;
/// `canister_inspect_message`.
pub const INSPECT: u32 = Mode::InspectMessage as u32;
/// Where memory may not grow so that the canister would be frozen: installations are checked at
/// their end, callbacks are not.
pub const FREEZING: u32 = Mode::Update as u32 | Mode::SystemTask as u32;
/// Where cycles are put aside for memory as it grows.
pub const RESERVE: u32 = FREEZING | CALLBACKS | Mode::Cleanup as u32;
/// Where the heap may not grow over the canister's limit.
pub const HEAP_LIMIT: u32 = Mode::Update as u32
    | Mode::SystemTask as u32
    | Mode::Init as u32
    | Mode::PreUpgrade as u32
    | Mode::Start as u32;

//! What a subnet is made of: canisters, their messages and their calls.

pub mod calls;
pub mod canister;
pub mod history;
pub mod ids;
pub mod messages;
pub mod queues;

pub use calls::{CallContext, Callback, Origin};
pub use canister::{Canister, Canisters, Code, Settings, Status, StopRequest};
pub use messages::{Input, Request, Response};
pub use queues::Queues;

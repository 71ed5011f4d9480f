//! What a subnet is made of: canisters, their messages and their calls.

pub mod calls;
pub mod canister;
pub mod code;
pub mod figures;
#[expect(
    missing_docs,
    reason = "fields and variants are named and described in the interface specification"
)]
pub mod history;
pub mod ids;
pub mod messages;
pub mod paused;
pub mod queues;
pub mod settings;
pub mod snapshot;
pub mod status;

pub use calls::{CallContext, Callback, Origin};
pub use canister::{Canister, Canisters};
pub use code::Code;
pub use messages::{Input, Request, Response};
pub use queues::Queues;
pub use settings::Settings;
pub use status::{Status, StopRequest};

//! Answering whoever waits for a call context.

use crate::messages::execution::Effects;
use crate::replicated_state::queues::Letter;
use crate::replicated_state::{Canister, Origin, Response};
use crate::runtime::failure::UserError;
use crate::runtime::system_api::state::Answer;
use crate::{IngressStatus, Reject};

/// What a call context's caller is told.
pub(crate) enum Verdict {
    Reply(Vec<u8>),
    /// The canister's own reject.
    Reject(String),
    Failed(UserError),
    /// Nothing is open and nobody answered.
    NoResponse,
}

/// Status of a user's message with that verdict.
pub(crate) fn ingress_status(verdict: Verdict, canister: &candid::Principal) -> IngressStatus {
    use crate::runtime::failure::ErrorCode;
    match verdict {
        Verdict::Reply(reply) => IngressStatus::Replied(reply),
        Verdict::Reject(text) => IngressStatus::Rejected(Reject {
            code: 4,
            message: text,
            error_code: Some(ErrorCode::CanisterRejectedMessage.text()),
        }),
        Verdict::Failed(error) => IngressStatus::Rejected(error.into()),
        Verdict::NoResponse => IngressStatus::Rejected(
            UserError::new(
                ErrorCode::CanisterDidNotReply,
                format!("Canister {canister} did not reply to the call"),
            )
            .into(),
        ),
    }
}

/// The answer that a calling canister gets with that verdict.
pub(crate) fn answer(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Reply(reply) => Answer::Reply(reply),
        Verdict::Reject(text) => Answer::Reject(4, text),
        Verdict::Failed(error) => Answer::Reject(
            error.code.reject_code(),
            format!("{}: {}", error.code.text(), error.text),
        ),
        Verdict::NoResponse => Answer::Reject(5, "No response".into()),
    }
}

/// Sends a verdict to the origin of a call, with the cycles that were not accepted.
pub(crate) fn respond(
    canister: &mut Canister,
    origin: &Origin,
    refund: u128,
    verdict: Verdict,
    effects: &mut Effects,
) {
    match origin {
        Origin::Ingress { id, .. } => {
            effects
                .ingress
                .push((*id, ingress_status(verdict, &canister.id)));
        }
        Origin::Canister {
            sender, callback, ..
        } => canister.queues.push_output(Letter::Response(Response {
            receiver: *sender,
            respondent: canister.id,
            callback: *callback,
            answer: answer(verdict),
            refund,
        })),
        Origin::Task => {}
    }
}

//! Before a message from outside is taken in: what would be refused anyway is refused here, before
//! the canister pays for it. Nothing is decoded.
//!
//! A refusal is a trap with the error's name and text, so that whoever calls is told why:
//! `refused: Unauthorized: …`.

use crate::api::Error;
use crate::app::App;
use crate::{access, cycles, generations, migration, system, upload};

/// Longest argument of everything but a chunk (bytes).
const MAX_ARGUMENT: usize = 1_300_000;

/// Accepts the message or refuses it with a reason.
pub fn inspect(app: &App) {
    match check(app, &ic_cdk::api::msg_method_name()) {
        Ok(()) => ic_cdk::api::accept_message(),
        Err(e) => ic_cdk::trap(format!("refused: {}", text(&e))),
    }
}

fn check(app: &App, method: &str) -> Result<(), Error> {
    let who = system::caller();
    if method != "upload_chunk" && system::argument_bytes() > MAX_ARGUMENT {
        return Err(Error::InvalidArgument(format!(
            "the argument is longer than {MAX_ARGUMENT} bytes"
        )));
    }
    match method {
        "round" => Err(Error::Unauthorized(
            "only the canister itself may call round".into(),
        )),
        "upload_begin" | "upload_chunk" | "upload_commit" | "upload_abort" | "alias_set"
        | "alias_rollback" | "alias_remove" | "model_delete" | "set_config" | "set_access"
        | "logs"
            if !system::is_controller(&who) =>
        {
            Err(Error::Unauthorized(
                "only a controller of this canister may do this".into(),
            ))
        }
        "upload_chunk" if app.library.uploading().is_none() => Err(upload::wrong_phase(
            app,
            "call upload_begin before sending chunks",
        )),
        "generate" | "prompt" | "chat_send" => {
            // Which model is meant is not looked at here.
            migration::check(app)?;
            if app.heap.loaded.is_empty() {
                generations::ready(app, None)?;
            }
            generations::room(app)?;
            access::may_generate(app, &who)?;
            access::within_quota(app, &who, 0)?;
            cycles::enough(app)
        }
        "chat_create" => {
            access::may_generate(app, &who)?;
            cycles::enough(app)
        }
        // Nobody but controllers is to spend the last cycles.
        _ if !system::is_controller(&who) => cycles::enough(app),
        _ => Ok(()),
    }
}

/// An error's name and what it says.
fn text(e: &Error) -> String {
    match e {
        Error::Unauthorized(t) => format!("Unauthorized: {t}"),
        Error::InvalidArgument(t) => format!("InvalidArgument: {t}"),
        Error::Busy(t) => format!("Busy: {t}"),
        Error::OutOfMemory(t) => format!("OutOfMemory: {t}"),
        Error::LowCycles(t) => format!("LowCycles: {t}"),
        Error::WrongPhase { phase, hint } => format!("WrongPhase: {phase}: {hint}"),
        Error::QuotaExceeded {
            what,
            limit,
            used,
            resets_ns,
        } => format!(
            "QuotaExceeded: {what}: {limit}: {used}: {}",
            resets_ns.unwrap_or(0)
        ),
        other => format!("{other:?}"),
    }
}

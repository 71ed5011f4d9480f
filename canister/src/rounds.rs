//! Rounds: a message of its own for each piece of work, that nobody waits for.
//!
//! The driver writes a mark ("attempt k of job j, sequence s") and sends the round to this canister,
//! one-way. The round works, clears the mark and has the next one sent, all in one message: either
//! all of it happened or none. A round that traps leaves its mark; the watchdog timer finds it,
//! tries again with half the budget, and at last ends that job with an error.

use crate::api::{Error, Phase};
use crate::app::App;
use crate::durable::{Job, Mark};
use crate::{generation_job, generations, model_job, system};

/// A round that has not come after this long (nanoseconds) is taken for failed.
const PATIENCE: u64 = 5_000_000_000;
/// Tries before a job is given up.
const ATTEMPTS: u32 = 4;

/// The job whose turn it is.
fn next_job(app: &App) -> Option<Job> {
    match app.phase() {
        Phase::Verifying | Phase::Preparing | Phase::Restoring => return Some(Job::Model),
        Phase::Ready => {}
        _ => return None,
    }
    let open = &app.heap.open;
    let after = open.iter().find(|id| **id > app.control.turn);
    after.or(open.first()).map(|id| Job::Generation(*id))
}

/// Sends the next round if there is work and none is out; saves the control record.
pub fn schedule(app: &mut App) {
    if app.control.mark.is_none()
        && let Some(job) = next_job(app)
    {
        send(app, job, 0);
    }
    let wake = match &app.control.mark {
        Some(mark) => mark.sent + PATIENCE,
        None if app.control.entropy.is_none() => system::time() + PATIENCE,
        None => 0,
    };
    system::wake_at(wake);
    app.save();
}

fn send(app: &mut App, job: Job, attempt: u32) {
    let sequence = app.control.next_sequence;
    app.control.next_sequence += 1;
    // While the canister stops, calls to itself would be refused: the watchdog sends it later.
    // So it does if the call cannot be sent.
    let sent = !system::is_stopping() && system::send_round(sequence);
    app.control.mark = Some(Mark {
        sequence,
        job,
        attempt: if sent {
            attempt
        } else {
            attempt.saturating_sub(1)
        },
        sent: system::time(),
    });
}

/// A round has come.
pub fn run(app: &mut App, sequence: u64) {
    let Some(mark) = app.control.mark.filter(|m| m.sequence == sequence) else {
        return;
    };
    let budget = app.control.config.round_instructions >> mark.attempt;
    let job = match (mark.job, app.phase()) {
        (Job::Generation(id), Phase::Ready) => Job::Generation(id),
        // The heap was lost to an upgrade since the round was sent.
        _ => Job::Model,
    };
    match job {
        Job::Model => model_job::run(app, budget),
        Job::Generation(id) => {
            generation_job::run(app, id, budget);
            app.control.turn = id;
        }
    }
    app.control.mark = None;
    app.control.rounds += 1;
    schedule(app);
    let used = system::instructions();
    if used > app.control.max_message_instructions {
        app.control.max_message_instructions = used;
        app.save();
    }
}

/// The timer has fired: after an upgrade, or because a round did not end.
pub fn watchdog(app: &mut App) {
    ask_for_entropy(app);
    if let Some(mark) = app.control.mark
        && system::time() >= mark.sent + PATIENCE
    {
        app.control.mark = None;
        if mark.attempt + 1 < ATTEMPTS {
            send(app, mark.job, mark.attempt + 1);
        } else {
            give_up(app, mark.job);
        }
    }
    schedule(app);
}

fn give_up(app: &mut App, job: Job) {
    let error = Error::RoundFailed(format!(
        "a round failed {ATTEMPTS} times: see the canister's log"
    ));
    system::log(&format!("{job:?} is given up after {ATTEMPTS} attempts"));
    match job {
        Job::Generation(id) => generations::end(app, id, error),
        Job::Model => {
            app.heap.loading = None;
            app.control.model.phase = Phase::Failed;
            app.control.model.error = Some(error);
        }
    }
}

/// After an install or an upgrade: whatever was out is sent anew from the first timer.
pub fn restart(app: &mut App) {
    app.control.mark = None;
    app.save();
    system::wake_at(system::time());
}

fn ask_for_entropy(app: &mut App) {
    if app.control.entropy.is_none() && !app.heap.entropy_asked {
        app.heap.entropy_asked = system::ask_random(entropy_came, 0);
    }
}

extern "C" fn entropy_came(_environment: usize) {
    crate::app::with(|app| {
        app.heap.entropy_asked = false;
        if let Some(bytes) = system::random_bytes() {
            app.control.entropy = Some(bytes);
        }
        schedule(app);
    });
}

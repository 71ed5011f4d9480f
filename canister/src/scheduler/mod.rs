//! Rounds: a message of its own for each piece of work, that nobody waits for.
//!
//! The driver writes a mark ("attempt k of job j, sequence s") and sends the round to this canister,
//! one-way. The round works, clears the mark and has the next one sent, all in one message: either
//! all of it happened or none. A round that traps leaves its mark; the watchdog timer finds it,
//! tries again with half the budget, and at last ends that job with an error.

use crate::api::{Error, LogLevel};
use crate::app::App;
use crate::durable::{Job, Mark};
use crate::generation_job::Turn;
use crate::{cycles, generation_job, generations, logs, migration, model_job, models, system};

/// A round that has not come after this long (nanoseconds) is taken for failed.
const PATIENCE: u64 = 5_000_000_000;
/// While there are no cycles for work: how often to look (nanoseconds).
const LOOK_AGAIN: u64 = 30_000_000_000;
/// Instructions below which another turn is not begun in a round.
const LEAST_TURN: u64 = 12_000_000;
/// Tries before a job is given up.
const ATTEMPTS: u32 = 4;
/// Rounds a generation may lose without getting anywhere between them: some may have ended only
/// because they did next to nothing.
const MOST_LOST: u32 = 8;

/// The job whose turn it is.
fn next_job(app: &App) -> Option<Job> {
    if !migration::done(app) {
        return Some(Job::Migration);
    }
    let model = models::next_work(app);
    let generation = next_generation(app);
    // While one model is made ready the others go on answering, a round each.
    match model.filter(|_| generation.is_none() || !app.heap.model_had_turn) {
        Some(shelf) => Some(Job::Model(shelf)),
        None => generation.map(Job::Generation),
    }
}

/// The generation whose turn it is, of those whose models are in the heap.
fn next_generation(app: &App) -> Option<u64> {
    app.queue.next(|shelf| app.heap.loaded.contains_key(&shelf))
}

/// Whether a job that was sent can still be done.
fn still(app: &App, job: Job) -> bool {
    match job {
        Job::Migration => !migration::done(app),
        Job::Model(shelf) => models::has_work(app, shelf),
        Job::Generation(id) => {
            let shelf = app.queue.shelf(id);
            shelf.is_some_and(|shelf| app.heap.loaded.contains_key(&shelf))
        }
    }
}

/// Sends the next round if there is work, cycles for it, and none is out; saves the control record.
pub fn schedule(app: &mut App) {
    let mut wake = 0;
    if app.control.mark.is_none()
        && let Some(job) = next_job(app)
    {
        let paused = cycles::enough(app).err();
        pause(app, paused.as_ref());
        match paused {
            None => send(app, job, 0),
            Some(_) => wake = system::time() + LOOK_AGAIN,
        }
    }
    if let Some(mark) = &app.control.mark {
        wake = mark.sent + PATIENCE;
    } else if wake == 0 && app.control.entropy.is_none() {
        wake = system::time() + PATIENCE;
    }
    system::wake_at(wake);
    app.save();
}

/// Says so when work stops for want of cycles, and when it goes on.
fn pause(app: &mut App, why: Option<&Error>) {
    match (why, app.control.paused.is_some()) {
        (Some(Error::LowCycles(text)), before) => {
            app.control.paused = Some(text.clone());
            if !before {
                logs::add(app, LogLevel::Warning, None, format!("paused: {text}"));
            }
        }
        (_, true) => {
            app.control.paused = None;
            logs::add(app, LogLevel::Info, None, "work goes on".into());
        }
        _ => {}
    }
}

fn send(app: &mut App, job: Job, attempt: u32) {
    let sequence = app.control.next_sequence;
    app.control.next_sequence += 1;
    // While the canister stops, calls to itself would be refused: the watchdog sends it later.
    // So it does if the call cannot be sent.
    let went = !system::is_stopping() && system::send_round(sequence);
    app.control.mark = Some(Mark {
        sequence,
        job,
        attempt: if went {
            attempt
        } else {
            attempt.saturating_sub(1)
        },
        went,
        sent: system::time(),
    });
}

/// A round has come.
pub fn run(app: &mut App, sequence: u64) {
    let Some(mark) = app.control.mark.filter(|m| m.sequence == sequence) else {
        return;
    };
    let budget = app.control.config.round_instructions >> mark.attempt;
    // The heap may have been lost to an upgrade since the round was sent, or its job be done with.
    let job = Some(mark.job)
        .filter(|job| still(app, *job))
        .or_else(|| next_job(app));
    app.heap.model_had_turn = matches!(job, Some(Job::Model(_)));
    match job {
        None => {}
        Some(Job::Migration) => migration::run(app, budget),
        Some(Job::Model(shelf)) => {
            model_job::run(app, shelf, budget);
            app.control.totals.model_instructions += system::instructions();
        }
        Some(Job::Generation(id)) => turns(app, id, budget, mark.attempt),
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

/// A round of generations: of one, or of several if one ends early or others wait. Two turns a round
/// where callers compete: shares even out twice as fast.
fn turns(app: &mut App, first: u64, budget: u64, attempt: u32) {
    let two = app.queue.callers() > 1 && budget >= 4 * LEAST_TURN;
    let turn = if two { budget / 2 } else { budget };
    let mut id = first;
    // A generation may have all of the round if it is the first: a piece may be as large.
    let mut full = Some(app.control.config.round_instructions);
    loop {
        let start = system::instructions();
        let limit = (start + turn).min(budget);
        let charge = app.queue.next_charge(id);
        let ran = generation_job::run(app, id, limit, full.take());
        if ran == Turn::Advanced {
            app.queue.advance(id);
        }
        let ran = ran != Turn::TooSmall;
        app.control.turn = id;
        let now = system::instructions();
        if let (Some(charge), true) = (charge, ran) {
            let App {
                queue,
                accounts,
                control,
                ..
            } = app;
            let used = (now - start, turn);
            queue.charge(id, &charge, used, control.rounds, accounts);
            control.served = control.served.max(charge.share);
        }
        // A round that is tried again is for one generation, so that it is known which one fails.
        if attempt > 0 || !ran || now + LEAST_TURN + budget / 8 > budget {
            return;
        }
        match next_generation(app) {
            Some(next) => id = next,
            None => return,
        }
    }
}

/// The timer has fired: after an upgrade, or because a round did not end.
pub fn watchdog(app: &mut App) {
    ask_for_entropy(app);
    if let Some(mark) = app.control.mark
        && system::time() >= mark.sent + PATIENCE
    {
        app.control.mark = None;
        app.control.totals.rounds_lost += u64::from(mark.went);
        // What failed may have been the heap's size: all caches are in stable memory as well.
        app.heap.running.clear();
        let lost = match mark.job {
            Job::Generation(id) if mark.went => app.queue.lose(id),
            _ => 0,
        };
        if mark.attempt + 1 < ATTEMPTS && lost < MOST_LOST {
            send(app, mark.job, mark.attempt + 1);
        } else {
            give_up(app, mark.job);
        }
    }
    schedule(app);
}

fn give_up(app: &mut App, job: Job) {
    let error =
        Error::RoundFailed("its rounds failed again and again: see the canister's log".into());
    let text = format!("{job:?} is given up: its rounds failed again and again");
    logs::add(app, LogLevel::Error, None, text);
    match job {
        Job::Generation(id) => generations::end(app, id, error),
        // Nothing works without it: it is tried on.
        Job::Migration => {}
        Job::Model(shelf) => model_job::fail(app, shelf, error),
    }
}

/// After an install or an upgrade: whatever was out is sent anew from the first timer.
pub fn restart(app: &mut App) {
    migration::renew(app);
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

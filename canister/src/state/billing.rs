//! Cycles: not to freeze, and what callers pay.

use crate::api::{Error, LogLevel};
use crate::app::App;
use crate::durable::Record;
use crate::{logs, system};
use candid::Principal;

/// What storing a GiB for a second costs (13-node subnet).
const GIB_SECOND: u128 = 127_000;

/// Whether there are cycles for work: what is left above the freezing threshold is at least what the
/// settings say.
pub fn enough(app: &App) -> Result<(), Error> {
    let (liquid, least) = (system::liquid_cycles(), app.control.config.min_cycles);
    if liquid >= least {
        return Ok(());
    }
    Err(Error::LowCycles(format!(
        "{liquid} cycles are left above the freezing threshold, {least} are needed to work: top up \
         the canister"
    )))
}

/// Days until nothing is left above the freezing threshold if no work is done.
pub fn days_left() -> u64 {
    let bytes = u128::from(system::heap_bytes() + system::stable_bytes());
    let a_day = (bytes * GIB_SECOND * 86_400) >> 30;
    (system::liquid_cycles() / a_day.max(1)) as u64
}

/// Whether a principal is a canister's.
fn is_canister(who: &Principal) -> bool {
    who.as_slice().len() <= 10 && who.as_slice().last() == Some(&1)
}

fn cost(tokens: u64, price: u128) -> u128 {
    u128::from(tokens).saturating_mul(price).div_ceil(1_000_000)
}

/// What `who` has to pay for a million tokens: canisters pay the price, others cannot.
pub fn price(app: &App, who: &Principal) -> u128 {
    if !is_canister(who) || system::is_controller(who) {
        return 0;
    }
    app.control.config.cycles_per_million_tokens
}

/// Whether the call has brought enough cycles for `tokens`.
pub fn can_pay(price: u128, tokens: u64) -> Result<(), Error> {
    let required = cost(tokens, price);
    let attached = if required == 0 {
        0
    } else {
        system::cycles_attached()
    };
    if attached >= required {
        return Ok(());
    }
    Err(Error::PaymentRequired { required, attached })
}

/// Takes what `tokens` cost from the call's cycles; the rest goes back with the answer.
pub fn take(price: u128, tokens: u64) -> u128 {
    match cost(tokens, price) {
        0 => 0,
        cost => system::accept_cycles(cost),
    }
}

/// A generation has ended: what it did not use of what was paid goes back, to the cycle.
pub fn refund(app: &mut App, record: &Record, used: u64) {
    let mut due = record.paid.saturating_sub(cost(used, record.price));
    let mut account = app.accounts.get(&record.owner);
    due += std::mem::take(&mut account.owed);
    if due == 0 {
        return;
    }
    if !system::deposit_cycles(&record.owner, due) {
        // It goes with the next.
        account.owed = due;
        let text = format!("{due} cycles could not be sent back to {}", record.owner);
        logs::add(app, LogLevel::Warning, None, text);
    }
    app.accounts.put(&record.owner, account);
}

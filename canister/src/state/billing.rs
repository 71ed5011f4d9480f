//! Cycles: when there are too few to work, and what callers pay.

use super::accounts::Accounts;
use super::log::Log;
use crate::runtime;
use crate::stable::records::{Config, GenerationRecord, LogLevel};
use candid::Principal;
use interface::{Error, prices};

/// Checks that there are cycles for work: at least `min_cycles` above the freezing threshold.
///
/// # Errors
/// [`Error::LowCycles`].
pub(crate) fn check_cycles(config: &Config) -> Result<(), Error> {
    let (liquid, needed) = (runtime::liquid_cycles(), config.min_cycles);
    if liquid >= needed {
        return Ok(());
    }
    Err(Error::LowCycles(format!(
        "{liquid} cycles are left above the freezing threshold, work needs {needed}: top up the \
         canister"
    )))
}

/// Returns the days until nothing is left above the freezing threshold if no work is done.
pub(crate) fn days_left() -> u64 {
    let a_day = prices::storage_a_day(runtime::heap_bytes() + runtime::stable_bytes());
    (runtime::liquid_cycles() / u128::from(a_day).max(1)) as u64
}

/// Returns `true` if a principal is a canister's.
fn is_canister(who: &Principal) -> bool {
    who.as_slice().len() <= 10 && who.as_slice().last() == Some(&1)
}

fn cost(tokens: u64, price: u128) -> u128 {
    u128::from(tokens).saturating_mul(price).div_ceil(1_000_000)
}

/// Returns what `who` has to pay for a million tokens (cycles): canisters pay the price, others
/// cannot.
pub(crate) fn price(config: &Config, who: &Principal) -> u128 {
    if !is_canister(who) || runtime::is_controller(who) {
        return 0;
    }
    config.cycles_per_million_tokens
}

/// Checks that the call has attached enough cycles for `tokens`.
///
/// # Errors
/// [`Error::PaymentRequired`].
pub(crate) fn check_payment(price: u128, tokens: u64) -> Result<(), Error> {
    let required = cost(tokens, price);
    let attached = match required {
        0 => 0,
        _ => runtime::cycles_attached(),
    };
    if attached >= required {
        return Ok(());
    }
    Err(Error::PaymentRequired { required, attached })
}

/// Accepts what `tokens` cost from the cycles that are attached; the rest goes back with the reply.
/// Returns what was accepted.
pub(crate) fn accept_payment(price: u128, tokens: u64) -> u128 {
    match cost(tokens, price) {
        0 => 0,
        cost => runtime::accept_cycles(cost),
    }
}

/// Sends back what a generation that has ended was paid for and did not use.
pub(crate) fn refund(accounts: &mut Accounts, log: &mut Log, record: &GenerationRecord, used: u64) {
    let mut due = record.paid.saturating_sub(cost(used, record.price));
    let mut account = accounts.get(&record.owner);
    due += std::mem::take(&mut account.owed);
    if due == 0 {
        return;
    }
    if !runtime::deposit_cycles(&record.owner, due) {
        // It goes with the next refund.
        account.owed = due;
        let text = format!("{due} cycles could not be sent back to {}", record.owner);
        log.add(LogLevel::Warning, None, text);
    }
    accounts.put(&record.owner, account);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stable::records::test_generation;

    /// A canister's principal: ten bytes, the last of them 1.
    fn canister() -> Principal {
        Principal::from_slice(&[0, 0, 0, 0, 0, 0, 0, 9, 1, 1])
    }

    #[test]
    fn canisters_pay_and_get_back_what_was_not_used() {
        let config = Config {
            cycles_per_million_tokens: 3_000_000,
            ..Config::from(interface::Config::default())
        };
        let price = price(&config, &canister());
        assert_eq!(price, 3_000_000);
        assert_eq!(super::price(&config, &Principal::anonymous()), 0);
        runtime::set(|s| s.attached = 299);
        assert_eq!(
            check_payment(price, 100),
            Err(Error::PaymentRequired {
                required: 300,
                attached: 299
            })
        );
        runtime::set(|s| s.attached = 1_000);
        check_payment(price, 100).unwrap();
        assert_eq!(accept_payment(price, 100), 300);
        let mut record = test_generation(1, canister());
        (record.paid, record.price) = (300, price);
        let (mut accounts, mut log) = (Accounts::open(), Log::open());
        refund(&mut accounts, &mut log, &record, 60);
        assert_eq!(runtime::get().deposits, [(canister(), 120)]);
    }

    #[test]
    fn a_refund_that_cannot_be_sent_goes_with_the_next_one() {
        let mut record = test_generation(1, canister());
        (record.paid, record.price) = (10, 1_000_000);
        let (mut accounts, mut log) = (Accounts::open(), Log::open());
        runtime::set(|s| s.calls_go = false);
        refund(&mut accounts, &mut log, &record, 4);
        assert_eq!(accounts.get(&canister()).owed, 6);
        runtime::set(|s| s.calls_go = true);
        refund(&mut accounts, &mut log, &record, 9);
        assert_eq!(runtime::get().deposits, [(canister(), 7)]);
        assert_eq!(accounts.get(&canister()).owed, 0);
    }

    #[test]
    fn work_stops_before_the_canister_freezes() {
        let config = Config::from(interface::Config::default());
        runtime::set(|s| s.liquid_cycles = config.min_cycles);
        assert!(check_cycles(&config).is_ok());
        runtime::set(|s| s.liquid_cycles -= 1);
        assert!(matches!(check_cycles(&config), Err(Error::LowCycles(_))));
    }
}

//! Who may generate, and how much.

use super::accounts::{Accounts, DAY};
use crate::runtime;
use crate::stable::records::{Access, Config, Role};
use candid::Principal;
use interface::Error;

/// Checks that a principal may generate at all. Controllers always may.
///
/// # Errors
/// [`Error::Unauthorized`].
pub(crate) fn check_may_generate(
    config: &Config,
    accounts: &Accounts,
    who: &Principal,
) -> Result<(), Error> {
    if runtime::is_controller(who) {
        return Ok(());
    }
    let refused = |why: &str| Err(Error::Unauthorized(why.into()));
    match (accounts.get(who).role, config.access) {
        (Role::Banned, _) => refused("a controller has banned you from generating"),
        (Role::Allowed, _) | (_, Access::Anyone) => Ok(()),
        (_, Access::SignedIn) if *who != Principal::anonymous() => Ok(()),
        (_, Access::SignedIn) => refused("only signed-in callers may generate: use an identity"),
        (_, Access::AllowList) => refused("only callers on the controllers' list may generate"),
        (_, Access::Controllers) => refused("only controllers may generate"),
    }
}

/// Checks that a principal may use `tokens` more now (0: that it may use any).
///
/// # Errors
/// [`Error::QuotaExceeded`].
pub(crate) fn check_quota(
    config: &Config,
    accounts: &Accounts,
    who: &Principal,
    tokens: u64,
) -> Result<(), Error> {
    if runtime::is_controller(who) {
        return Ok(());
    }
    let now = runtime::time();
    let account = accounts.today(who, now);
    let exceeds =
        |limit: u64, used: u64, wanted: u64| limit > 0 && used.saturating_add(wanted) > limit;
    let full = |what: &str, limit, used, resets_ns| {
        Err(Error::QuotaExceeded {
            what: what.into(),
            limit,
            used,
            resets_ns,
        })
    };
    let wanted = tokens.max(1);
    if exceeds(config.tokens_per_day, account.tokens, wanted) {
        let tomorrow = (now / DAY + 1) * DAY;
        let limit = config.tokens_per_day;
        return full("tokens a day", limit, account.tokens, Some(tomorrow));
    }
    if exceeds(config.tokens_in_flight, account.in_flight, wanted) {
        let limit = config.tokens_in_flight;
        return full("tokens in flight", limit, account.in_flight, None);
    }
    let (limit, used) = (
        u64::from(config.generations_per_caller),
        u64::from(account.generations),
    );
    if exceeds(limit, used, 1) {
        return full("generations at once", limit, used, None);
    }
    Ok(())
}

/// Reserves tokens for a generation that begins.
pub(crate) fn reserve(accounts: &mut Accounts, who: &Principal, tokens: u64) {
    let mut account = accounts.today(who, runtime::time());
    account.tokens += tokens;
    account.in_flight += tokens;
    account.generations += 1;
    accounts.put(who, account);
}

/// Releases the reservation of a generation that has ended: what it did not use is given back.
pub(crate) fn release_reservation(
    accounts: &mut Accounts,
    who: &Principal,
    reserved: u64,
    used: u64,
) {
    let mut account = accounts.today(who, runtime::time());
    account.in_flight = account.in_flight.saturating_sub(reserved);
    account.tokens = account.tokens.saturating_sub(reserved.saturating_sub(used));
    account.generations = account.generations.saturating_sub(1);
    accounts.put(who, account);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(change: impl FnOnce(&mut Config)) -> (Config, Accounts, Principal) {
        let mut config = Config::from(interface::Config::default());
        change(&mut config);
        (config, Accounts::open(), Principal::from_slice(&[1, 2, 3]))
    }

    #[test]
    fn access_says_who_may_and_a_role_says_more() {
        let (mut config, mut accounts, who) = setup(|_| {});
        let nobody = Principal::anonymous();
        let may = |config: &Config, accounts: &Accounts, who: &Principal| {
            check_may_generate(config, accounts, who).is_ok()
        };
        for (access, somebody, anonymous) in [
            (Access::Anyone, true, true),
            (Access::SignedIn, true, false),
            (Access::AllowList, false, false),
            (Access::Controllers, false, false),
        ] {
            config.access = access;
            assert_eq!(may(&config, &accounts, &who), somebody, "{access:?}");
            assert_eq!(may(&config, &accounts, &nobody), anonymous, "{access:?}");
        }
        let mut set = |role| {
            let mut account = accounts.get(&who);
            account.role = role;
            accounts.put(&who, account);
            may(&config, &accounts, &who)
        };
        assert!(set(Role::Allowed));
        assert!(!set(Role::Banned));
        runtime::set(|s| s.controllers = vec![who]);
        assert!(may(&config, &accounts, &who), "controllers always may");
    }

    #[test]
    fn a_day_has_its_tokens_and_the_next_one_begins_anew() {
        let (config, mut accounts, who) = setup(|c| c.tokens_per_day = 100);
        let check = |accounts: &Accounts, tokens| check_quota(&config, accounts, &who, tokens);
        reserve(&mut accounts, &who, 70);
        assert!(check(&accounts, 30).is_ok());
        let Err(Error::QuotaExceeded {
            limit,
            used,
            resets_ns,
            ..
        }) = check(&accounts, 31)
        else {
            panic!("31 tokens more are too many");
        };
        assert_eq!((limit, used), (100, 70));
        release_reservation(&mut accounts, &who, 70, 20);
        assert!(check(&accounts, 80).is_ok(), "50 came back");
        assert!(check(&accounts, 81).is_err());
        runtime::set(|s| s.time = resets_ns.unwrap());
        assert!(check(&accounts, 100).is_ok());
    }

    #[test]
    fn tokens_in_flight_and_generations_at_once_are_bounded() {
        let (config, mut accounts, who) = setup(|c| {
            c.tokens_in_flight = 50;
            c.generations_per_caller = 2;
        });
        reserve(&mut accounts, &who, 20);
        assert!(check_quota(&config, &accounts, &who, 31).is_err());
        reserve(&mut accounts, &who, 20);
        let what = match check_quota(&config, &accounts, &who, 5) {
            Err(Error::QuotaExceeded { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(what, "generations at once");
        release_reservation(&mut accounts, &who, 20, 20);
        assert!(check_quota(&config, &accounts, &who, 5).is_ok());
    }
}

//! Who may generate, and how much.

use crate::accounts::DAY;
use crate::api::{Access, AccessChange, AccountInfo, Error, LogLevel, Role};
use crate::app::App;
use crate::{logs, system};
use candid::Principal;

/// Most principals in one call.
const MAX_CHANGES: usize = 1_000;

/// Whether a principal may generate at all. Controllers may always.
pub fn may_generate(app: &App, who: &Principal) -> Result<(), Error> {
    if system::is_controller(who) {
        return Ok(());
    }
    let role = app.accounts.get(who).role;
    let refused = |why: &str| Err(Error::Unauthorized(why.into()));
    match (role, app.control.config.access) {
        (Role::Banned, _) => refused("a controller has banned you from generating"),
        (Role::Allowed, _) | (_, Access::Anyone) => Ok(()),
        (_, Access::SignedIn) if *who != Principal::anonymous() => Ok(()),
        (_, Access::SignedIn) => refused("only signed-in callers may generate: use an identity"),
        (_, Access::AllowList) => refused("only callers on the controllers' list may generate"),
        (_, Access::Controllers) => refused("only controllers may generate"),
    }
}

/// Whether a principal may use `tokens` more now (0: whether it may use any).
pub fn within_quota(app: &App, who: &Principal, tokens: u64) -> Result<(), Error> {
    if system::is_controller(who) {
        return Ok(());
    }
    let config = &app.control.config;
    let now = system::time();
    let account = app.accounts.today(who, now);
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

/// Sets tokens aside for a generation that begins.
pub fn reserve(app: &mut App, who: &Principal, tokens: u64) {
    let mut account = app.accounts.today(who, system::time());
    account.tokens += tokens;
    account.in_flight += tokens;
    account.generations += 1;
    app.accounts.put(who, account);
}

/// A generation has ended: what it did not use of what was set aside is given back.
pub fn settle(app: &mut App, who: &Principal, reserved: u64, used: u64) {
    let mut account = app.accounts.today(who, system::time());
    account.in_flight = account.in_flight.saturating_sub(reserved);
    account.tokens = account.tokens.saturating_sub(reserved.saturating_sub(used));
    account.generations = account.generations.saturating_sub(1);
    app.accounts.put(who, account);
}

/// Says of principals whether they may generate.
pub fn set(app: &mut App, changes: &[AccessChange]) -> Result<(), Error> {
    if !system::caller_is_controller() {
        return Err(Error::Unauthorized(
            "only a controller may say who may generate".into(),
        ));
    }
    if changes.len() > MAX_CHANGES {
        return Err(Error::InvalidArgument(format!(
            "{} changes: at most {MAX_CHANGES} in one call",
            changes.len()
        )));
    }
    for change in changes {
        let mut account = app.accounts.get(&change.principal);
        account.role = change.role;
        app.accounts.put(&change.principal, account);
        let text = format!("{} is {:?}", change.principal, change.role);
        logs::add(app, LogLevel::Info, Some(system::caller()), text);
    }
    app.save();
    Ok(())
}

/// What a principal has used, and whether it may generate.
pub fn info(app: &App, who: Principal) -> AccountInfo {
    let now = system::time();
    let account = app.accounts.today(&who, now);
    let may = may_generate(app, &who).and_then(|()| within_quota(app, &who, 0));
    AccountInfo {
        may_generate: may.err(),
        tokens_today: account.tokens,
        tokens_in_flight: account.in_flight,
        generations: account.generations,
        chats: account.chats,
        resets_ns: (now / DAY + 1) * DAY,
    }
}

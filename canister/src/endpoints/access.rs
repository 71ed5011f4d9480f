//! `set_access` and `account`.

use super::require_controller;
use crate::runtime;
use crate::stable::records::LogLevel;
use crate::state::accounts::DAY;
use crate::state::{State, quota};
use interface::{AccessChange, AccountInfo, Error};

/// Most changes in one call.
const MAX_CHANGES: usize = 1_000;

/// Sets the roles of principals.
///
/// # Errors
/// [`Error::Unauthorized`], [`Error::InvalidArgument`] for too many changes.
pub(crate) fn set(state: &mut State, changes: &[AccessChange]) -> Result<(), Error> {
    require_controller()?;
    if changes.len() > MAX_CHANGES {
        return Err(Error::InvalidArgument(format!(
            "got {} changes, the maximum in one call is {MAX_CHANGES}",
            changes.len()
        )));
    }
    for change in changes {
        let mut account = state.accounts.get(&change.principal);
        account.role = change.role.into();
        state.accounts.put(&change.principal, account);
        let text = format!("{} is {:?}", change.principal, change.role);
        state.log.add(LogLevel::Info, Some(runtime::caller()), text);
    }
    Ok(())
}

/// Returns what the caller has used, and whether it may generate.
pub(crate) fn account(state: &State) -> AccountInfo {
    let (who, now) = (runtime::caller(), runtime::time());
    let (config, accounts) = (&state.control.config, &state.accounts);
    let account = accounts.today(&who, now);
    let may = quota::check_may_generate(config, accounts, &who)
        .and_then(|()| quota::check_quota(config, accounts, &who, 0));
    AccountInfo {
        may_generate: may.err(),
        tokens_today: account.tokens,
        tokens_in_flight: account.in_flight,
        generations: account.generations,
        chats: account.chats,
        resets_ns: (now / DAY + 1) * DAY,
    }
}

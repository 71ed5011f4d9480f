//! Repeating calls that may succeed a little later.

use crate::{Error, Result};
use std::time::Duration;

/// Attempts at one call, the first included.
const TRIES: u32 = 8;
// Tests of this crate do not wait that long.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 250 });
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Runs `call` until it succeeds, fails for good, or has failed [`TRIES`] times. `failed` gets each failure
/// that is followed by another attempt.
pub(crate) async fn retry<T, F>(
    mut failed: impl FnMut(&Error),
    mut call: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match call().await {
            Err(error) if error.is_transient() => failed(&error),
            outcome => return outcome,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    call().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    async fn tries(failures: u32, error: interface::Error) -> (u32, bool) {
        let count = Cell::new(0);
        let outcome = retry(
            |_| (),
            || {
                count.set(count.get() + 1);
                let fail = count.get() <= failures;
                let error = error.clone();
                async move {
                    if fail {
                        Err(Error::Canister(error))
                    } else {
                        Ok(())
                    }
                }
            },
        )
        .await;
        (count.get(), outcome.is_ok())
    }

    #[tokio::test]
    async fn tries_again_when_that_may_help() {
        let busy = || interface::Error::Busy(String::new());
        assert_eq!(tries(0, busy()).await, (1, true));
        assert_eq!(tries(3, busy()).await, (4, true));
        assert_eq!(tries(100, busy()).await, (TRIES, false));
    }

    #[tokio::test]
    async fn gives_up_at_once_when_it_will_not() {
        let refused = interface::Error::Unauthorized(String::new());
        assert_eq!(tries(100, refused).await, (1, false));
    }
}

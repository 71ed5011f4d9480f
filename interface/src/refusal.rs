//! Errors in the text of a refusal.
//!
//! `canister_inspect_message` can refuse a message only by trapping, so its error travels as text:
//! for people the error's name and what it says, for programs the error in Candid, in hexadecimal.
//!
//! ```text
//! refused: Busy: the queue is full (limit 64); try again later [4449444c…]
//! ```

use crate::Error;

const START: &str = "refused: ";

/// Returns the text of a refusal with this error.
pub fn encode(error: &Error) -> String {
    let bytes = candid::encode_one(error).unwrap_or_default();
    format!("{START}{}: {error} [{}]", error.name(), hex::encode(bytes))
}

/// Returns the error in a refusal's text, which may stand within a longer message.
///
/// Returns `None` if there is none, or one that this version does not know.
pub fn decode(text: &str) -> Option<Error> {
    let (_, refusal) = text.split_once(START)?;
    let line = refusal.lines().next()?;
    let (_, rest) = line.rsplit_once('[')?;
    let (digits, _) = rest.split_once(']')?;
    candid::decode_one(&hex::decode(digits).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_within_the_text_of_a_trap() {
        let errors = [
            Error::Busy("the queue [of all] is full: try again".into()),
            Error::QuotaExceeded {
                what: "tokens a day".into(),
                limit: 5,
                used: 4,
                resets_ns: Some(9),
            },
            Error::Cancelled,
        ];
        for error in errors {
            let trap = format!(
                "Canister called `ic0.trap` with message: '{}'.\nConsider …",
                encode(&error)
            );
            assert_eq!(decode(&trap), Some(error));
        }
    }

    #[test]
    fn an_unknown_error_stays_unknown() {
        #[derive(candid::CandidType)]
        enum Later {
            TooEarly,
        }
        let bytes = candid::encode_one(Later::TooEarly).unwrap_or_default();
        let text = format!("refused: TooEarly: wait [{}]", hex::encode(bytes));
        assert_eq!(decode(&text), None);
        assert_eq!(decode("refused: Busy: no digits"), None);
        assert_eq!(decode("something else"), None);
    }
}

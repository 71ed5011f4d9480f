//! Errors in the text of a refusal.
//!
//! `canister_inspect_message` can refuse a message only by trapping, so its error travels as text:
//! for people the error's name and what it says, for programs the error in Candid, in hexadecimal.
//!
//! ```text
//! refused: Busy: the queue is full (limit 64); try again later [4449444c016b01…]
//! ```
//!
//! `interface/tests/refusals.txt` has examples, which the page's decoder (`frontend/src/ic/refusal.ts`)
//! is tested with, too.

use crate::Error;
use candid::types::value::{IDLArgs, IDLValue};

const START: &str = "refused: ";

/// Returns the text of a refusal with this error: one line.
pub fn encode(error: &Error) -> String {
    let text = error.detail().replace(['\n', '\r'], " ");
    // An error that cannot be encoded is still read by people.
    let digits = candid(error).map_or_else(|_| String::new(), hex::encode);
    format!("{START}{}: {text} [{digits}]", error.name())
}

/// Returns the error in Candid as a value of its own variant's type: that of all errors is ten times as
/// long.
fn candid(error: &Error) -> Result<Vec<u8>, candid::Error> {
    let value = IDLValue::try_from_candid_type(error)?;
    IDLArgs::new(&[value]).to_bytes()
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
            Error::UnsupportedModel("two\nlines".into()),
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

    /// The examples are those that another decoder is tested with.
    #[test]
    fn examples_are_up_to_date() {
        let examples = [
            Error::Unauthorized("only a controller of this canister may do this".into()),
            Error::Busy("the queue [of all] is full (limit 64); try again later".into()),
            Error::WrongPhase {
                phase: "Empty".into(),
                hint: "upload a model: call upload_begin".into(),
            },
            Error::QuotaExceeded {
                what: "tokens a day".into(),
                limit: 5_000,
                used: 4_990,
                resets_ns: Some(1_700_000_000_000_000_000),
            },
            Error::PaymentRequired {
                required: 1 << 70,
                attached: 0,
            },
        ];
        let lines: Vec<String> = examples.iter().map(encode).collect();
        let stored: Vec<&str> = include_str!("../tests/refusals.txt").lines().collect();
        assert_eq!(stored, lines, "interface/tests/refusals.txt");
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

//! Reading fields of a case.

use super::case::CaseError;
use serde_json::Value;

pub(super) fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, CaseError> {
    value[key]
        .as_str()
        .ok_or_else(|| CaseError::Unknown(format!("no text {key:?} in {value}")))
}

pub(super) fn number(value: &Value, key: &str) -> Option<u64> {
    value[key].as_u64()
}

/// A whole number, which may be written as a text.
pub(super) fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64().map(i128::from),
    }
}

/// Compares and notes a difference.
pub(super) fn compare<T: PartialEq + std::fmt::Display>(
    step: &str,
    what: &str,
    expected: T,
    got: T,
    out: &mut Vec<String>,
) {
    if expected != got {
        out.push(format!("{step}: {what}: expected {expected}, got {got}"));
    }
}

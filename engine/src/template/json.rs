//! JSON as Python's `json.dumps` writes it with `ensure_ascii=False`, which is what published
//! templates were written for: `, ` and `: ` between things, nothing escaped for HTML.

use super::limits::{Budget, Limited};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};
use std::fmt::Write;

/// Nested lists and maps.
const DEPTH: usize = 32;
/// Widest indentation.
const MAX_INDENT: usize = 16;

/// The filter `tojson`, with `indent` where it is given.
///
/// # Errors
/// A value that JSON has no form for, or one too large.
pub fn tojson(budget: &Budget, value: &Value, options: &Kwargs) -> Result<Value, Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    if indent.is_some_and(|n| n > MAX_INDENT) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "indent is too wide",
        ));
    }
    let mut out = Limited::new(budget);
    put(&mut out, value, indent, 0)?;
    Ok(Value::from(out.text))
}

fn put(out: &mut Limited, value: &Value, indent: Option<usize>, depth: usize) -> Result<(), Error> {
    if depth > DEPTH {
        let why = "values are nested too deep";
        return Err(Error::new(ErrorKind::InvalidOperation, why));
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => write!(out, "null")?,
        ValueKind::Bool => write!(out, "{}", value.is_true())?,
        ValueKind::Number => write!(out, "{value}")?,
        ValueKind::String => text(out, value.as_str().unwrap_or(""))?,
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| (None, item));
            group(out, ['[', ']'], items, indent, depth)?;
        }
        ValueKind::Map => {
            let keys = value.try_iter()?.collect::<Vec<_>>();
            let items = keys
                .into_iter()
                .map(|key| value.get_item(&key).map(|item| (Some(key), item)))
                .collect::<Result<Vec<_>, _>>()?;
            group(out, ['{', '}'], items.into_iter(), indent, depth)?;
        }
        kind => {
            let why = format!("{kind} has no form in JSON");
            return Err(Error::new(ErrorKind::InvalidOperation, why));
        }
    }
    Ok(())
}

fn group(
    out: &mut Limited,
    [open, close]: [char; 2],
    items: impl Iterator<Item = (Option<Value>, Value)>,
    indent: Option<usize>,
    depth: usize,
) -> Result<(), Error> {
    out.write_char(open)?;
    let mut empty = true;
    let line = |out: &mut Limited, depth: usize| match indent {
        Some(width) => write!(out, "\n{:1$}", "", width * depth),
        None => Ok(()),
    };
    for (key, item) in items {
        match (empty, indent) {
            (true, _) => {}
            (false, Some(_)) => out.write_char(',')?,
            (false, None) => out.write_str(", ")?,
        }
        empty = false;
        line(out, depth + 1)?;
        if let Some(key) = key {
            text(out, &key.to_string())?;
            out.write_str(": ")?;
        }
        put(out, &item, indent, depth + 1)?;
    }
    if !empty {
        line(out, depth)?;
    }
    out.write_char(close)?;
    Ok(())
}

fn text(out: &mut Limited, s: &str) -> std::fmt::Result {
    out.write_char('"')?;
    for c in s.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\u{8}' => out.write_str("\\b")?,
            '\u{c}' => out.write_str("\\f")?,
            c if c < ' ' => write!(out, "\\u{:04x}", c as u32)?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

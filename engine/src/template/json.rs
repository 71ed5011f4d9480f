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

/// How to write JSON: the arguments of `json.dumps` that templates use.
struct Style {
    indent: Option<usize>,
    between: String,
    after_key: String,
    sort_keys: bool,
    ensure_ascii: bool,
}

/// The filter `tojson`, with `indent`, `separators`, `sort_keys` and `ensure_ascii`.
///
/// # Errors
/// A value that JSON has no form for, or one too large.
pub(super) fn tojson(budget: &Budget, value: &Value, args: &[Value]) -> Result<Value, Error> {
    let options = match args.last().map(|last| Kwargs::try_from(last.clone())) {
        Some(Ok(options)) => options,
        _ => Kwargs::from_iter(std::iter::empty::<(&str, Value)>()),
    };
    // transformers: tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False).
    let place = |i: usize| args.get(i).filter(|v| !v.is_kwargs()).cloned();
    let option = |i: usize, name: &str| -> Result<Option<Value>, Error> {
        let named = options.get::<Option<Value>>(name)?;
        Ok(named.or_else(|| place(i)).filter(|v| !v.is_none()))
    };
    let truth = |v: Option<Value>| v.is_some_and(|v| v.is_true());
    let ensure_ascii = truth(option(0, "ensure_ascii")?);
    let indent = option(1, "indent")?.map(usize::try_from).transpose()?;
    if indent.is_some_and(|n| n > MAX_INDENT) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "indent is too wide",
        ));
    }
    let (mut between, mut after_key) = (", ".to_owned(), ": ".to_owned());
    if indent.is_some() {
        between = ",".into();
    }
    if let Some(separators) = option(2, "separators")? {
        let text = |i| separators.get_item_by_index(i).map(|v| v.to_string());
        (between, after_key) = (text(0)?, text(1)?);
    }
    let style = Style {
        indent,
        between,
        after_key,
        sort_keys: truth(option(3, "sort_keys")?),
        ensure_ascii,
    };
    options.assert_all_used()?;
    let mut out = Limited::new(budget);
    put(&mut out, value, &style, 0)?;
    Ok(Value::from(out.text))
}

fn put(out: &mut Limited, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    if depth > DEPTH {
        let why = "values are nested too deep";
        return Err(Error::new(ErrorKind::InvalidOperation, why));
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => write!(out, "null")?,
        ValueKind::Bool => write!(out, "{}", value.is_true())?,
        ValueKind::Number if !value.is_integer() => {
            let number = f64::try_from(value.clone())?;
            out.write_str(&match number {
                n if n.is_nan() => "NaN".into(),
                n if n.is_infinite() => if n < 0.0 { "-Infinity" } else { "Infinity" }.into(),
                n => super::python::float(n),
            })?;
        }
        ValueKind::Number => write!(out, "{value}")?,
        ValueKind::String => text(out, value.as_str().unwrap_or(""), style)?,
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| (None, item));
            group(out, ['[', ']'], items, style, depth)?;
        }
        ValueKind::Map => {
            let mut keys = value.try_iter()?.collect::<Vec<_>>();
            if style.sort_keys {
                keys.sort();
            }
            let items = keys
                .into_iter()
                .map(|key| value.get_item(&key).map(|item| (Some(key), item)))
                .collect::<Result<Vec<_>, _>>()?;
            group(out, ['{', '}'], items.into_iter(), style, depth)?;
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
    style: &Style,
    depth: usize,
) -> Result<(), Error> {
    out.write_char(open)?;
    let mut empty = true;
    let line = |out: &mut Limited, depth: usize| match style.indent {
        Some(width) => write!(out, "\n{:1$}", "", width * depth),
        None => Ok(()),
    };
    for (key, item) in items {
        if !empty {
            out.write_str(&style.between)?;
        }
        empty = false;
        line(out, depth + 1)?;
        if let Some(key) = key {
            text(out, &key_text(&key), style)?;
            out.write_str(&style.after_key)?;
        }
        put(out, &item, style, depth + 1)?;
    }
    if !empty {
        line(out, depth)?;
    }
    out.write_char(close)?;
    Ok(())
}

/// Returns a key as `json.dumps` writes it.
fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::Bool => key.is_true().to_string(),
        ValueKind::None => "null".into(),
        _ => key.to_string(),
    }
}

fn text(out: &mut Limited, s: &str, style: &Style) -> std::fmt::Result {
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
            c if style.ensure_ascii && !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

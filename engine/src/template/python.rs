//! Values as Python prints them, and the operators, methods and filters of Python and jinja2 that
//! minijinja has not, or has otherwise. Published templates were written for jinja2
//! (docs.python.org, "Built-in Types"; jinja.palletsprojects.com, "Template Designer").

use super::limits::{Budget, Limited};
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, FormatStyle, Value, format_filter};
use std::fmt::Write;

/// Nested lists and maps.
const DEPTH: usize = 32;
/// Longest text that `center`, `zfill` and the like fill up to, and longest printed width.
const MAX_WIDTH: i64 = 4_096;

fn refused(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

/// Returns the text of a value as Python's `str` does.
///
/// # Errors
/// A text larger than the budget, or values nested too deep.
pub(super) fn str(budget: &Budget, value: &Value) -> Result<String, Error> {
    let mut out = Limited::new(budget);
    match value.as_str() {
        Some(text) => out.write_str(text).map_err(|_| too_much())?,
        None if value.is_undefined() => {}
        None => repr(&mut out, value, 0)?,
    }
    Ok(out.text)
}

fn too_much() -> Error {
    Error::from(ErrorKind::OutOfFuel)
}

/// Writes a value as Python's `repr` does.
fn repr(out: &mut Limited, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > DEPTH {
        return Err(refused("values are nested too deep"));
    }
    let full = |_| too_much();
    match value.kind() {
        ValueKind::Undefined => out.write_str("Undefined").map_err(full),
        ValueKind::None => out.write_str("None").map_err(full),
        ValueKind::Bool if value.is_true() => out.write_str("True").map_err(full),
        ValueKind::Bool => out.write_str("False").map_err(full),
        ValueKind::Number if !value.is_integer() => {
            let number = f64::try_from(value.clone())?;
            out.write_str(&float(number)).map_err(full)
        }
        ValueKind::String => quoted(out, value.as_str().unwrap_or("")).map_err(full),
        ValueKind::Seq | ValueKind::Iterable => {
            out.write_char('[').map_err(full)?;
            for (i, item) in value.try_iter()?.enumerate() {
                if i > 0 {
                    out.write_str(", ").map_err(full)?;
                }
                repr(out, &item, depth + 1)?;
            }
            out.write_char(']').map_err(full)
        }
        ValueKind::Map => {
            out.write_char('{').map_err(full)?;
            for (i, key) in value.try_iter()?.enumerate() {
                if i > 0 {
                    out.write_str(", ").map_err(full)?;
                }
                repr(out, &key, depth + 1)?;
                out.write_str(": ").map_err(full)?;
                repr(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.write_char('}').map_err(full)
        }
        _ => write!(out, "{value}").map_err(full),
    }
}

/// Writes a text in quotes: single ones, unless it has those and no double ones.
fn quoted(out: &mut Limited, text: &str) -> std::fmt::Result {
    let quote = match text.contains('\'') && !text.contains('"') {
        true => '"',
        false => '\'',
    };
    out.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            c if c == quote => write!(out, "\\{c}")?,
            c if c < ' ' || ('\u{7f}'..='\u{a0}').contains(&c) || c == '\u{ad}' => {
                write!(out, "\\x{:02x}", u32::from(c))?;
            }
            c => out.write_char(c)?,
        }
    }
    out.write_char(quote)
}

/// Returns a number as Python prints it: the shortest digits, with an exponent below 1e-4 and
/// from 1e16 on.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number < 0.0 { "-inf" } else { "inf" }.into();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = number.to_string();
    match text.contains('.') {
        true => text,
        false => text + ".0",
    }
}

/// Returns `value[start:stop:step]`.
///
/// # Errors
/// A step of 0, or a value that cannot be cut.
pub(super) fn slice(
    budget: &Budget,
    value: &Value,
    start: &Value,
    stop: &Value,
    step: &Value,
) -> Result<Value, Error> {
    let bound = |v: &Value| match v.is_none() || v.is_undefined() {
        true => Ok(None),
        false => i64::try_from(v.clone()).map(Some),
    };
    let step = bound(step)?.unwrap_or(1);
    if step == 0 {
        return Err(refused("slice step cannot be zero"));
    }
    let (start, stop) = (bound(start)?, bound(stop)?);
    // Python's slice.indices.
    let places = |len: usize| {
        let len = len as i64;
        let (low, high) = if step < 0 { (-1, len - 1) } else { (0, len) };
        let clamp = |at: Option<i64>, default: i64| match at {
            None => default,
            Some(at) if at < 0 => at.saturating_add(len).max(low),
            Some(at) => at.min(high),
        };
        let (mut at, end) = match step < 0 {
            true => (clamp(start, high), clamp(stop, low)),
            false => (clamp(start, low), clamp(stop, high)),
        };
        std::iter::from_fn(move || {
            let more = if step < 0 { at > end } else { at < end };
            let place = more.then_some(at as usize);
            at = at.saturating_add(step);
            place
        })
    };
    if let Some(text) = value.as_str() {
        budget.take(4 * text.len() as u64)?;
        let chars: Vec<char> = text.chars().collect();
        let part: String = places(chars.len()).filter_map(|i| chars.get(i)).collect();
        return Ok(Value::from(part));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            budget.size(value, false, 0)?;
            let items: Vec<Value> = value.try_iter()?.collect();
            let part = places(items.len()).filter_map(|i| items.get(i).cloned());
            Ok(part.collect::<Vec<Value>>().into())
        }
        ValueKind::Undefined | ValueKind::None => Ok(Value::from(Vec::<Value>::new())),
        kind => Err(refused(format!("a {kind} cannot be sliced"))),
    }
}

/// Returns `a % b`: a text formatted, or the remainder with the sign of `b`.
///
/// # Errors
/// Values that have no remainder, a division by 0, or a format that does not fit.
pub(super) fn remainder(budget: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    if let Some(form) = a.as_str() {
        let args: Vec<Value> = match b.kind() {
            ValueKind::Seq => b.try_iter()?.collect(),
            _ => vec![b.clone()],
        };
        return format(budget, FormatStyle::Printf, form, &args);
    }
    let error = || refused("these values have no remainder");
    if a.kind() != ValueKind::Number || b.kind() != ValueKind::Number {
        return Err(error());
    }
    if let (true, true) = (a.is_integer(), b.is_integer()) {
        let (a, b) = a.as_i64().zip(b.as_i64()).ok_or_else(error)?;
        let rest = a.checked_rem(b).ok_or_else(error)?;
        let turned = rest != 0 && (rest < 0) != (b < 0);
        return Ok(Value::from(if turned { rest + b } else { rest }));
    }
    let (a, b) = (f64::try_from(a.clone())?, f64::try_from(b.clone())?);
    if b == 0.0 {
        return Err(error());
    }
    Ok(Value::from(a - b * libm::floor(a / b)))
}

/// Returns a text in which `%s` or `{}` have become values.
///
/// # Errors
/// A format that does not fit the values, or is very wide.
pub(super) fn format(
    budget: &Budget,
    style: FormatStyle,
    form: &str,
    args: &[Value],
) -> Result<Value, Error> {
    // Widths are written in digits, or come from the values.
    let digits = form.split(|c: char| !c.is_ascii_digit());
    let wide = |n: &str| n.len() > 4 || n.parse::<i64>().is_ok_and(|n| n > MAX_WIDTH);
    if digits.into_iter().any(wide) || form.contains('*') {
        return Err(refused("a format is too wide"));
    }
    let texts = |v: &Value| match v.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map | ValueKind::None
            if !v.is_kwargs() =>
        {
            str(budget, v).map(Value::from)
        }
        _ => Ok(v.clone()),
    };
    let args = args.iter().map(texts).collect::<Result<Vec<_>, _>>()?;
    // Each place of a value can stand for all of the longest one.
    let longest = args.iter().filter_map(|v| Some(v.as_str()?.len())).max();
    let places = form.matches(['%', '{']).count() as u64;
    budget.take(places.saturating_mul(longest.unwrap_or(0) as u64 + MAX_WIDTH as u64))?;
    budget.take(form.len() as u64)?;
    format_filter(style, form, &args).map(Value::from)
}

/// Calls a method that minijinja's own list lacks, or counts in bytes; `None` if it is not here.
///
/// # Errors
/// Arguments that the method does not take.
pub(super) fn method(
    budget: &Budget,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    let Some(s) = value.as_str() else {
        return list_method(value, name, args);
    };
    let text = |i: usize| {
        let arg = args.get(i).and_then(Value::as_str);
        arg.ok_or_else(|| refused(format!("{name} takes a text")))
    };
    let number = |i: usize| args.get(i).and_then(Value::as_i64);
    let chars_before = |at: usize| s[..at].chars().count() as i64;
    let all = |test: fn(char) -> bool| Value::from(!s.is_empty() && s.chars().all(test));
    let cased = |upper: bool| {
        let wrong = |c: char| {
            if upper {
                c.is_lowercase()
            } else {
                c.is_uppercase()
            }
        };
        Value::from(s.chars().any(|c| c.is_alphabetic()) && !s.chars().any(wrong))
    };
    let found = |at: Option<usize>| match (at, name) {
        (Some(at), _) => Ok(Value::from(chars_before(at))),
        (None, "index" | "rindex") => Err(refused("substring not found")),
        (None, _) => Ok(Value::from(-1)),
    };
    let list = |parts: Vec<&str>| Value::from_iter(parts);
    Ok(Some(match name {
        "removeprefix" => Value::from(s.strip_prefix(text(0)?).unwrap_or(s)),
        "removesuffix" => Value::from(s.strip_suffix(text(0)?).unwrap_or(s)),
        "find" | "index" if args.len() == 1 => found(s.find(text(0)?))?,
        "rfind" | "rindex" if args.len() == 1 => found(s.rfind(text(0)?))?,
        "count" if args.len() == 1 => match text(0)? {
            "" => Value::from(s.chars().count() + 1),
            part => Value::from(s.matches(part).count()),
        },
        "partition" => {
            let separator = text(0)?;
            list(match s.split_once(separator) {
                Some((a, b)) => vec![a, separator, b],
                None => vec![s, "", ""],
            })
        }
        "rpartition" => {
            let separator = text(0)?;
            list(match s.rsplit_once(separator) {
                Some((a, b)) => vec![a, separator, b],
                None => vec!["", "", s],
            })
        }
        "rsplit" if args.first().is_some_and(|a| a.as_str().is_some()) => {
            let separator = text(0)?;
            let most = number(1).filter(|n| *n >= 0).unwrap_or(i64::MAX);
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            if separator.is_empty() {
                return Err(refused("empty separator"));
            }
            budget.take(64 * s.matches(separator).count() as u64)?;
            let mut parts: Vec<&str> = s.rsplitn(most.saturating_add(1), separator).collect();
            parts.reverse();
            list(parts)
        }
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric),
        "isspace" => all(char::is_whitespace),
        "isascii" => Value::from(s.is_ascii()),
        "isupper" => cased(true),
        "islower" => cased(false),
        "casefold" => Value::from(s.to_lowercase()),
        "swapcase" => Value::from(
            s.chars()
                .flat_map(|c| match c.is_uppercase() {
                    true => c.to_lowercase().collect::<Vec<_>>(),
                    false => c.to_uppercase().collect(),
                })
                .collect::<String>(),
        ),
        "zfill" | "center" | "ljust" | "rjust" => {
            let width = number(0).ok_or_else(|| refused(format!("{name} takes a width")))?;
            let fill = match name {
                "zfill" => "0",
                _ => args.get(1).and_then(Value::as_str).unwrap_or(" "),
            };
            pad(name, s, width, fill)?
        }
        "format" => format(budget, FormatStyle::StrFormat, s, args)?,
        _ => return Ok(None),
    }))
}

fn pad(name: &str, s: &str, width: i64, fill: &str) -> Result<Value, Error> {
    let len = s.chars().count() as i64;
    let missing = width.saturating_sub(len).max(0);
    if missing > MAX_WIDTH || fill.chars().count() != 1 {
        return Err(refused(format!(
            "{name} is too wide, or fills with no character"
        )));
    }
    let missing = missing as usize;
    let left = match name {
        "ljust" => 0,
        // Python puts the odd one left if the width is odd.
        "center" => missing / 2 + (missing & width as usize & 1),
        _ => missing,
    };
    let (sign, digits) = match s.strip_prefix(['-', '+']) {
        Some(digits) if name == "zfill" => s.split_at(s.len() - digits.len()),
        _ => ("", s),
    };
    let right = fill.repeat(missing - left);
    Ok(Value::from(format!(
        "{sign}{}{digits}{right}",
        fill.repeat(left)
    )))
}

fn list_method(value: &Value, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Ok(None);
    }
    Ok(match (name, args) {
        ("index", [wanted]) => match value.try_iter()?.position(|item| item == *wanted) {
            Some(at) => Some(Value::from(at)),
            None => return Err(refused("the list has no such entry")),
        },
        ("count", [wanted]) => {
            let count = value.try_iter()?.filter(|item| item == wanted).count();
            Some(Value::from(count))
        }
        ("copy", []) => Some(value.clone()),
        _ => None,
    })
}

/// The filter `int`: a default for what is no number, and a base.
///
/// # Errors
/// A base outside 2 to 36.
pub(super) fn int(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let named = args
        .last()
        .and_then(|last| Kwargs::try_from(last.clone()).ok());
    let option = |i: usize, name: &str| {
        let by_name = named.as_ref().and_then(|n| n.get::<Value>(name).ok());
        by_name.or_else(|| args.get(i).filter(|v| !v.is_kwargs()).cloned())
    };
    let default = option(0, "default").unwrap_or_else(|| Value::from(0));
    let base = option(1, "base").and_then(|b| b.as_i64()).unwrap_or(10);
    let base = u32::try_from(base).ok().filter(|b| (2..=36).contains(b));
    let base = base.ok_or_else(|| refused("int takes a base from 2 to 36"))?;
    if let Some(text) = value.as_str() {
        let text = text.trim().replace('_', "");
        let digits = match base {
            16 => text.trim_start_matches("0x").trim_start_matches("0X"),
            _ => &text,
        };
        if let Ok(number) = i64::from_str_radix(digits, base) {
            return Ok(Value::from(number));
        }
        return Ok(match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Value::from(number as i64),
            _ => default,
        });
    }
    Ok(match value.kind() {
        ValueKind::Bool => Value::from(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => value.clone(),
        ValueKind::Number => Value::from(f64::try_from(value.clone())? as i64),
        _ => default,
    })
}

/// The filter `join`: entries as they are printed, or an attribute of each.
///
/// # Errors
/// A value without entries, or a text larger than the budget.
pub(super) fn join(budget: &Budget, value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let named = args
        .last()
        .and_then(|last| Kwargs::try_from(last.clone()).ok());
    let option = |i: usize, name: &str| {
        let by_name = named.as_ref().and_then(|n| n.get::<Value>(name).ok());
        by_name.or_else(|| args.get(i).filter(|v| !v.is_kwargs()).cloned())
    };
    let separator = option(0, "d").map_or(Ok(String::new()), |d| str(budget, &d))?;
    let attribute = option(1, "attribute");
    let mut out = Limited::new(budget);
    if value.is_undefined() || value.is_none() {
        return Ok(Value::from(""));
    }
    for (i, mut item) in value.try_iter()?.enumerate() {
        if let Some(attribute) = &attribute {
            item = item.get_item(attribute)?;
        }
        if i > 0 {
            out.write_str(&separator).map_err(|_| too_much())?;
        }
        let text = str(budget, &item)?;
        out.write_str(&text).map_err(|_| too_much())?;
    }
    Ok(Value::from(out.text))
}

/// The filter `sum`: of numbers, or of an attribute of each entry.
///
/// # Errors
/// Entries that are no numbers.
pub(super) fn sum(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let named = args
        .last()
        .and_then(|last| Kwargs::try_from(last.clone()).ok());
    let option = |i: usize, name: &str| {
        let by_name = named.as_ref().and_then(|n| n.get::<Value>(name).ok());
        by_name.or_else(|| args.get(i).filter(|v| !v.is_kwargs()).cloned())
    };
    let attribute = option(0, "attribute");
    let mut whole = option(1, "start").and_then(|v| v.as_i64()).unwrap_or(0);
    let mut real = None;
    for mut item in value.try_iter()? {
        if let Some(attribute) = &attribute {
            item = item.get_item(attribute)?;
        }
        match item.as_i64().filter(|_| item.is_integer()) {
            Some(n) => {
                let sum = whole.checked_add(n);
                whole = sum.ok_or_else(|| refused("a sum is too large"))?;
            }
            None => real = Some(real.unwrap_or(0.0) + f64::try_from(item)?),
        }
    }
    Ok(match real {
        Some(real) => Value::from(real + whole as f64),
        None => Value::from(whole),
    })
}

/// The filter `e`: a text for HTML, as markupsafe writes it.
///
/// # Errors
/// A text larger than the budget.
pub(super) fn escape(budget: &Budget, value: &Value) -> Result<Value, Error> {
    let text = str(budget, value)?;
    budget.take(5 * text.len() as u64)?;
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    Ok(Value::from(
        text.replace('\'', "&#39;").replace('"', "&#34;"),
    ))
}

/// The filter `urlencode`: a text, or the pairs of a map as a query.
///
/// # Errors
/// A map that cannot be read.
pub(super) fn urlencode(value: &Value) -> Result<String, Error> {
    let quoted = |text: &str, slash: bool| {
        let mut out = String::new();
        for b in text.bytes() {
            match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                    out.push(char::from(b));
                }
                b'/' if slash => out.push('/'),
                b => out.push_str(&format!("%{b:02X}")),
            }
        }
        out
    };
    if value.kind() != ValueKind::Map {
        return Ok(quoted(&value.to_string(), true));
    }
    let mut pairs = Vec::new();
    for key in value.try_iter()? {
        let item = value.get_item(&key)?.to_string();
        pairs.push(format!(
            "{}={}",
            quoted(&key.to_string(), false),
            quoted(&item, false)
        ));
    }
    Ok(pairs.join("&"))
}

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Returns a time as Python's `datetime.strftime` writes it, in UTC and English; `seconds` since
/// 1970. The calendar is that of "days from civil" (H. Hinnant, chrono-Compatible Low-Level Date
/// Algorithms).
pub(super) fn strftime(seconds: i64, form: &str) -> String {
    let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * of_year + 2) / 153;
    let day = of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = year_of_era + 400 * era + i64::from(month <= 2);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let of_year = before[(month - 1) as usize] + day + i64::from(leap && month > 2);
    let weekday = (days + 3).rem_euclid(7);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    let twelve = (hour + 11) % 12 + 1;
    let (name, of) = (DAYS[weekday as usize], MONTHS[(month - 1) as usize]);
    let mut out = String::new();
    let mut chars = form.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut letter = chars.next();
        let bare = letter == Some('-');
        if bare {
            letter = chars.next();
        }
        let width = |n: usize| if bare { 0 } else { n };
        let mut two = |n: i64, w: usize| out.push_str(&format!("{n:0w$}", w = width(w)));
        match letter {
            Some('d') => two(day, 2),
            Some('m') => two(month, 2),
            Some('y') => two(year.rem_euclid(100), 2),
            Some('Y') => two(year, 0),
            Some('H') => two(hour, 2),
            Some('I') => two(twelve, 2),
            Some('M') => two(minute, 2),
            Some('S') => two(second, 2),
            Some('j') => two(of_year, 3),
            Some('w') => two((weekday + 1) % 7, 0),
            Some('u') => two(weekday + 1, 0),
            Some('f') => two(0, 6),
            Some('s') => two(seconds, 0),
            Some('e') => out.push_str(&format!("{day:2}")),
            Some('A') => out.push_str(name),
            Some('a') => out.push_str(&name[..3]),
            Some('B') => out.push_str(of),
            Some('b' | 'h') => out.push_str(&of[..3]),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('F') => out.push_str(&strftime(seconds, "%Y-%m-%d")),
            Some('T' | 'X') => out.push_str(&strftime(seconds, "%H:%M:%S")),
            Some('R') => out.push_str(&strftime(seconds, "%H:%M")),
            Some('D' | 'x') => out.push_str(&strftime(seconds, "%m/%d/%y")),
            Some('c') => out.push_str(&strftime(seconds, "%a %b %e %H:%M:%S %Y")),
            Some('Z' | 'z') => {}
            Some('%') => out.push('%'),
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

//! What a chat template may use up, for a file may come from anybody. Steps are minijinja's fuel; but
//! one step can double a text, or compare or search a long one. So a template's program is
//! rewritten before it runs: each step whose work or result depends on the size of values first
//! takes that size from a budget. Filters, tests and methods do so by themselves, and only those
//! that chat templates use are there.

use super::python;
use minijinja::machinery::{Instruction, Instructions, Token, tokenize};
use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, filters, tests};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes that one rendering may look at and make, all steps together.
const WORK: u64 = 64 << 20;
/// As how many bytes a list's entry counts.
const ENTRY: u64 = 64;
/// Words and signs between `{%` and `%}`.
const MAX_WORDS: usize = 256;
/// Conditions that begin with `elif`.
const MAX_ALTERNATIVES: usize = 64;
/// Nested lists and maps.
const DEPTH: u32 = 32;
/// Names that no template can spell.
const LOOK: &str = "\0look";
const COMPARE: &str = "\0compare";
const TAKE: &str = "\0take";
const CONCAT: &str = "\0concat";
const ADD: &str = "\0add";
const MULTIPLY: &str = "\0multiply";
const SLICE: &str = "\0slice";
const REMAINDER: &str = "\0remainder";

/// What is left of [`WORK`].
#[derive(Clone, Default)]
pub(super) struct Budget(Arc<AtomicU64>);

impl Budget {
    /// All of it, for another rendering.
    pub(super) fn refill(&self) {
        self.0.store(WORK, Relaxed);
    }

    pub(super) fn take(&self, n: u64) -> Result<(), Error> {
        match self.0.load(Relaxed).checked_sub(n) {
            Some(left) => {
                self.0.store(left, Relaxed);
                Ok(())
            }
            None => Err(Error::new(
                ErrorKind::OutOfFuel,
                "the template makes or looks at too much text",
            )),
        }
    }

    /// Takes a value's size: a text's bytes; a list's or map's entries and, if `deep`, theirs.
    pub(super) fn size(&self, value: &Value, deep: bool, depth: u32) -> Result<(), Error> {
        if let Some(s) = value.as_str() {
            return self.take(1 + s.len() as u64);
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable | ValueKind::Map if deep => {
                if depth == DEPTH {
                    return Err(refused("values are nested too deep"));
                }
                for item in value.try_iter()? {
                    self.size(&item, true, depth + 1)?;
                    if value.kind() == ValueKind::Map {
                        self.size(&value.get_item(&item)?, true, depth + 1)?;
                    }
                }
                self.take(ENTRY)
            }
            ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
                self.take(ENTRY * (1 + value.len().unwrap_or(0) as u64))
            }
            ValueKind::Bytes => Err(refused("bytes are not supported")),
            _ => self.take(ENTRY),
        }
    }
}

fn refused(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

/// Text that takes from the budget as it grows.
pub(super) struct Limited<'b> {
    pub text: String,
    budget: &'b Budget,
}

impl<'b> Limited<'b> {
    pub(super) fn new(budget: &'b Budget) -> Self {
        let text = String::new();
        Self { text, budget }
    }
}

impl Write for Limited<'_> {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.budget
            .take(s.len() as u64)
            .map_err(|_| std::fmt::Error)?;
        self.text.push_str(s);
        Ok(())
    }
}

/// Returns a value as it is printed.
fn printed(budget: &Budget, value: &Value) -> Result<String, Error> {
    if value.as_str().is_none() {
        budget.size(value, true, 0)?;
    }
    python::str(budget, value)
}

/// Checks that a template is shaped such that it can be compiled without deep recursion.
///
/// # Errors
/// A tag of very many words, or very many alternatives.
pub(super) fn check_shape(source: &str) -> Result<(), Error> {
    let (mut words, mut alternatives) = (0, 0);
    for token in tokenize(source, false, Default::default(), Default::default()) {
        match token?.0 {
            Token::TemplateData(_) | Token::BlockStart | Token::VariableStart => words = 0,
            Token::Ident("elif") => alternatives += 1,
            _ => words += 1,
        }
        if words > MAX_WORDS || alternatives > MAX_ALTERNATIVES {
            return Err(refused(
                "a tag is too long, or there are too many alternatives",
            ));
        }
    }
    Ok(())
}

/// A program of the same meaning that keeps to the budget.
///
/// # Errors
/// One that uses other templates or blocks: those would run as they are.
pub(super) fn limited<'s>(program: &Instructions<'s>) -> Result<Instructions<'s>, Error> {
    use Instruction as I;
    let call = |name, arguments| I::CallFunction(name, Some(arguments));
    let look = || [I::DupTop, call(LOOK, 1), I::DiscardTop];
    let compare = || [I::DupTop, call(COMPARE, 1), I::DiscardTop];
    let mut steps: Vec<(Instruction, Option<usize>)> = Vec::new();
    let mut new_index = Vec::new();
    let all = (0..).map_while(|i| program.get(i).map(|step| (i, step)));
    for (i, step) in all {
        new_index.push(steps.len() as u32);
        let mut built = false;
        let (before, step) = match step {
            I::EmitRaw(text) => {
                let size = I::LoadConst(Value::from(text.len()));
                (vec![size, call(TAKE, 1), I::DiscardTop], step.clone())
            }
            I::StringConcat => (Vec::new(), call(CONCAT, 2)),
            I::Add => (Vec::new(), call(ADD, 2)),
            I::Mul => (Vec::new(), call(MULTIPLY, 2)),
            I::Slice => (Vec::new(), call(SLICE, 4)),
            I::Rem => (Vec::new(), call(REMAINDER, 2)),
            I::Eq | I::Ne | I::Gt | I::Gte | I::Lt | I::Lte | I::In | I::CompareAndPreserve(_) => {
                (compare().into(), step.clone())
            }
            I::Include(_) | I::LoadBlocks | I::ExportLocals | I::CallBlock(_) | I::FastSuper => {
                return Err(refused("chat templates stand alone, without blocks"));
            }
            // What is built is no deeper than can be taken apart again.
            I::BuildList(_) | I::BuildMap(_) | I::BuildKwargs(_) => {
                built = true;
                (Vec::new(), step.clone())
            }
            I::SetAttr(_) => (compare().into(), step.clone()),
            I::PushLoop(_) | I::FastRecurse | I::CallObject(_) => (look().into(), step.clone()),
            _ => (Vec::new(), step.clone()),
        };
        let line = program.get_line(i);
        let after = if built { compare().into() } else { Vec::new() };
        let these = before.into_iter().chain([step]).chain(after);
        steps.extend(these.map(|s| (s, line)));
    }
    new_index.push(steps.len() as u32);
    let mut out = Instructions::new(program.name(), program.source());
    for (mut step, line) in steps {
        if let I::Iterate(to)
        | I::Jump(to)
        | I::JumpIfFalse(to)
        | I::JumpIfFalseOrPop(to)
        | I::JumpIfTrueOrPop(to)
        | I::BuildMacro(_, to, _) = &mut step
        {
            *to = new_index.get(*to as usize).copied().unwrap_or(u32::MAX);
        }
        match line.and_then(|l| u16::try_from(l).ok()) {
            Some(line) => out.add_with_line(step, line),
            None => out.add(step),
        };
    }
    Ok(out)
}

/// How a filter's, test's or method's work depends on its arguments.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    /// On texts and on the number of entries.
    Shallow,
    /// On everything within.
    Deep,
}

/// The texts that `replace` and `join` put in more than once.
fn repeated(budget: &Budget, name: &str, args: &[Value]) -> Result<(), Error> {
    let text = |i: usize| args.get(i).and_then(Value::as_str).unwrap_or("");
    match name {
        "replace" => {
            let times = match text(1).len() {
                0 => text(0).len() + 1,
                n => text(0).len() / n,
            };
            // Most often it is not there at all.
            let times = match text(0).contains(text(1)) {
                true => times as u64,
                false => 0,
            };
            budget.take(times.saturating_mul(text(2).len() as u64))
        }
        "join" => {
            // As a filter the list comes first, as a method the separator.
            let (list, separator) = match text(0) {
                "" => (args.first(), text(1)),
                separator => (args.get(1), separator),
            };
            let times = list.and_then(Value::len).unwrap_or(0) as u64;
            budget.take(times.saturating_mul(separator.len() as u64))
        }
        "indent" => {
            let width = args.get(1).and_then(Value::as_usize).unwrap_or(4) as u64;
            budget.take(width.saturating_mul(text(0).len() as u64 + 1))
        }
        _ => Ok(()),
    }
}

fn checked(
    budget: &Budget,
    name: &'static str,
    work: Work,
    inner: Value,
) -> impl Fn(&State, Rest<Value>) -> Result<Value, Error> + Send + Sync + 'static {
    let budget = budget.clone();
    move |state: &State, args: Rest<Value>| {
        for arg in args.iter() {
            budget.size(arg, work == Work::Deep, 0)?;
        }
        repeated(&budget, name, &args)?;
        let result = inner.call(state, &args)?;
        budget.size(&result, false, 0)?;
        Ok(result)
    }
}

/// Methods of Python's that templates call.
const METHODS: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "copy",
    "count",
    "endswith",
    "find",
    "format",
    "get",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isspace",
    "isupper",
    "items",
    "join",
    "keys",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "values",
    "zfill",
];

fn add(budget: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    let list = |v: &Value| matches!(v.kind(), ValueKind::Seq | ValueKind::Iterable);
    if a.as_str().is_some() && b.as_str().is_some() {
        return concat(budget, a, b);
    }
    if list(a) && list(b) {
        budget.size(a, false, 0)?;
        budget.size(b, false, 0)?;
        return Ok(a.try_iter()?.chain(b.try_iter()?).collect());
    }
    arithmetic(a, b, i64::checked_add, |a, b| a + b)
        .ok_or_else(|| refused("these values cannot be added"))
}

fn multiply(budget: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(text), Some(times)) = (a.as_str(), b.as_usize()) {
        budget.take((text.len() as u64).saturating_mul(times as u64))?;
        return Ok(Value::from(text.repeat(times)));
    }
    arithmetic(a, b, i64::checked_mul, |a, b| a * b)
        .ok_or_else(|| refused("these values cannot be multiplied"))
}

fn arithmetic(
    a: &Value,
    b: &Value,
    whole: fn(i64, i64) -> Option<i64>,
    real: fn(f64, f64) -> f64,
) -> Option<Value> {
    if a.kind() != ValueKind::Number || b.kind() != ValueKind::Number {
        return None;
    }
    match (a.is_integer(), b.is_integer()) {
        (true, true) => whole(a.as_i64()?, b.as_i64()?).map(Value::from),
        _ => {
            let (a, b) = (
                f64::try_from(a.clone()).ok()?,
                f64::try_from(b.clone()).ok()?,
            );
            Some(Value::from(real(a, b)))
        }
    }
}

fn concat(budget: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    let mut text = printed(budget, a)?;
    text.push_str(&printed(budget, b)?);
    Ok(Value::from(text))
}

/// An environment in which [`limited`] programs run.
pub(super) fn environment(budget: &Budget, fuel: u64) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_fuel(Some(fuel));
    env.set_recursion_limit(100);
    macro_rules! filters {
        ($($work:ident: $($name:literal $function:ident),*;)*) => {$($(
            let inner = Value::from_function(filters::$function);
            env.add_filter($name, checked(budget, $name, Work::$work, inner));
        )*)*};
    }
    filters! {
        Shallow: "abs" abs, "attr" attr, "batch" batch, "capitalize" capitalize, "count" length, "d" default, "default" default,
            "first" first, "float" float, "groupby" groupby, "indent" indent, "items" items, "last" last,
            "length" length, "list" list, "lower" lower, "map" map, "reject" reject,
            "rejectattr" rejectattr, "replace" replace, "reverse" reverse, "round" round,
            "safe" safe, "slice" slice, "select" select, "selectattr" selectattr, "title" title, "trim" trim,
            "upper" upper;
        Deep: "dictsort" dictsort, "max" max, "min" min, "sort" sort,
            "unique" unique;
    }
    macro_rules! tests {
        ($($work:ident: $($name:literal $function:ident),*;)*) => {$($(
            let inner = Value::from_function(tests::$function);
            env.add_test($name, checked(budget, $name, Work::$work, inner));
        )*)*};
    }
    tests! {
        Shallow: "boolean" is_boolean, "defined" is_defined, "divisibleby" is_divisibleby,
            "even" is_even, "false" is_false, "float" is_float, "integer" is_integer,
            "iterable" is_iterable, "mapping" is_mapping, "none" is_none, "number" is_number,
            "odd" is_odd, "sequence" is_sequence, "string" is_string, "true" is_true,
            "undefined" is_undefined;
        Deep: "eq" is_eq, "equalto" is_eq, "==" is_eq, "ne" is_ne, "!=" is_ne, "gt" is_gt,
            ">" is_gt, "ge" is_ge, ">=" is_ge, "lt" is_lt, "<" is_lt, "le" is_le, "<=" is_le,
            "in" is_in, "sameas" is_sameas;
    }
    let own = |work, name: &'static str, inner: Value| checked(budget, name, work, inner);
    macro_rules! own_filters {
        ($($work:ident $name:literal $function:expr;)*) => {$(
            env.add_filter($name, own(Work::$work, $name, Value::from_function($function)));
        )*};
    }
    let [b1, b2, b3, b4, b5] = std::array::from_fn(|_| budget.clone());
    own_filters! {
        Shallow "int" |v: &Value, args: Rest<Value>| python::int(v, args);
        Deep "sum" |v: &Value, args: Rest<Value>| python::sum(v, args);
        Deep "join" move |v: &Value, args: Rest<Value>| python::join(&b1, v, args);
        Deep "string" move |v: &Value| python::str(&b2, v);
        Deep "e" move |v: &Value| python::escape(&b3, v);
        Deep "format" move |form: &str, args: Rest<Value>| {
            python::format(&b5, minijinja::FormatStyle::Printf, form, &args)
        };
        Deep "urlencode" python::urlencode;
        Shallow "wordcount" |text: &str| text.split_whitespace().count();
    }
    env.add_filter("escape", move |v: &Value| python::escape(&b4, v));
    let callable = Value::from_function(|v: &Value| v.kind() == ValueKind::Plain);
    env.add_test("callable", own(Work::Shallow, "callable", callable));
    let lower = Value::from_function(|s: &str| s == s.to_lowercase());
    env.add_test("lower", own(Work::Shallow, "lower", lower));
    let upper = Value::from_function(|s: &str| s == s.to_uppercase());
    env.add_test("upper", own(Work::Shallow, "upper", upper));
    env.add_function("range", minijinja::functions::range);
    env.add_function("dict", minijinja::functions::dict);
    env.add_function("namespace", minijinja::functions::namespace);
    let b = budget.clone();
    env.add_function(LOOK, move |v: &Value| b.size(v, false, 0));
    let b = budget.clone();
    env.add_function(COMPARE, move |v: &Value| b.size(v, true, 0));
    let b = budget.clone();
    env.add_function(TAKE, move |n: u64| b.take(n));
    let b = budget.clone();
    env.add_function(CONCAT, move |x: &Value, y: &Value| concat(&b, x, y));
    let b = budget.clone();
    env.add_function(ADD, move |x: &Value, y: &Value| add(&b, x, y));
    let b = budget.clone();
    env.add_function(MULTIPLY, move |x: &Value, y: &Value| multiply(&b, x, y));
    let b = budget.clone();
    env.add_function(REMAINDER, move |x: &Value, y: &Value| {
        python::remainder(&b, x, y)
    });
    let b = budget.clone();
    env.add_function(
        SLICE,
        move |v: &Value, from: &Value, to: &Value, by: &Value| python::slice(&b, v, from, to, by),
    );
    let b = budget.clone();
    env.set_formatter(move |out: &mut Output, _: &State, value: &Value| {
        Ok(out.write_str(&printed(&b, value)?)?)
    });
    let b = budget.clone();
    env.set_unknown_method_callback(move |state, value, name, args| {
        if !METHODS.contains(&name) {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let all: Vec<Value> = std::iter::once(value).chain(args).cloned().collect();
        for arg in &all {
            b.size(arg, name == "join", 0)?;
        }
        repeated(&b, name, &all)?;
        let result = match (name, args) {
            ("join", [list]) => python::join(&b, list, Rest(vec![value.clone()]))?,
            _ => match python::method(&b, value, name, args)? {
                Some(result) => result,
                None => {
                    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)?
                }
            },
        };
        b.size(&result, false, 0)?;
        Ok(result)
    });
    env
}

//! The model's own chat template (Jinja, from the GGUF metadata), rendered with minijinja.
//!
//! Names of control tokens inside messages and tools are text: a mark is put into each before the
//! template sees it, and where marks come out of the template no control token is read.

mod fallback;
mod json;
mod limits;
mod python;

use crate::tokenizer::Tokenizer;
use crate::{Error, unsupported};
use limits::Budget;
use minijinja::machinery::{Vm, get_compiled_template, make_string_output};
use minijinja::value::Rest;
use minijinja::{AutoEscape, Environment, ErrorKind, Value, context};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use weights::GgufFile;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// Steps a template may take, so that no file can make it run for ever.
const FUEL: u64 = 1_000_000;
/// Longest template (bytes). The longest of real models have twenty thousand.
const MAX_TEMPLATE_BYTES: usize = 256 << 10;
/// Stands before the second character of a control token's name in a message: a private-use
/// character, which templates leave alone.
const MARK: char = '\u{F8FE}';
/// Stands for an answer whose tokens are known.
const ANSWER: char = '\u{F8FD}';
/// What templates that ask for the date are told unless the caller says otherwise: 26 July 2024,
/// that of Llama's own fallback, in seconds since 1970. A conversation rendered again must be the
/// same, whenever that is.
pub const DEFAULT_TIME: i64 = 1_721_952_000;

/// Names of the templates within the environment; the file has the second one as
/// `tokenizer.chat_template.tool_use`.
const CHAT: &str = "chat";
const TOOL_USE: &str = "tool_use";

/// Functions that the model may be told of, for templates that have a place for them.
#[derive(Debug, Clone, Default)]
pub struct Tools(Vec<Value>);

impl Tools {
    /// Each a JSON object, as transformers takes them: `{"type": "function", "function": {…}}`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for anything else, and for names of control tokens within.
    pub fn parse(tools: &[impl AsRef<str>], tokenizer: &Tokenizer) -> Result<Self, Error> {
        let parse = |(i, tool): (usize, &str)| {
            let refused = |why: String| Error::InvalidArgument(format!("tool {i}: {why}"));
            if tokenizer.control_names(tool).next().is_some() {
                return Err(refused("it names a control token".into()));
            }
            let value: Value = serde_json::from_str(tool).map_err(|e| refused(e.to_string()))?;
            match value.kind() {
                minijinja::value::ValueKind::Map => Ok(value),
                kind => Err(refused(format!("a JSON object is due, not a {kind}"))),
            }
        };
        let tools = tools.iter().map(AsRef::as_ref).enumerate();
        tools.map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A compiled chat template.
pub struct Template {
    env: Environment<'static>,
    budget: Budget,
    /// What `strftime_now` is told, in seconds since 1970.
    time: Arc<AtomicI64>,
    /// The name of the template for requests with tools; `None` if no template has a place for
    /// them.
    with_tools: Option<&'static str>,
}

impl Template {
    /// The file's template, or that of its architecture.
    ///
    /// # Errors
    /// A template that is too long or that Jinja cannot read.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, Error> {
        let key = "tokenizer.chat_template";
        let named = |name: &str| {
            let text = file.string(&format!("{key}{name}"));
            // An empty template is none.
            text.filter(|t| !t.trim().is_empty())
        };
        let ordinary = named("").or_else(|| named(".default"));
        let ordinary = ordinary.unwrap_or_else(|| {
            let text = |key| file.string(key).unwrap_or("");
            fallback::template(text("general.architecture"), text("tokenizer.ggml.pre"))
        });
        Self::new(ordinary, named(".tool_use"))
    }

    /// Compiles a template, and another for requests with tools.
    fn new(ordinary: &str, tool_use: Option<&str>) -> Result<Self, Error> {
        let key = "tokenizer.chat_template";
        let budget = Budget::default();
        let time = Arc::new(AtomicI64::new(DEFAULT_TIME));
        let mut env = limits::environment(&budget, FUEL);
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        let b = budget.clone();
        env.add_filter("tojson", move |value: &Value, args: Rest<Value>| {
            json::tojson(&b, value, &args)
        });
        env.add_function("raise_exception", |m: String| -> Result<String, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, m))
        });
        let (b, now) = (budget.clone(), time.clone());
        env.add_function("strftime_now", move |form: &str| {
            // The longest letter stands for a date and a time.
            b.take(32 * form.len() as u64)?;
            Ok::<_, minijinja::Error>(python::strftime(now.load(Relaxed), form))
        });
        let sources = [(CHAT, Some(ordinary)), (TOOL_USE, tool_use)];
        for (name, source) in sources {
            let Some(source) = source else { continue };
            let key = match name {
                CHAT => key.to_owned(),
                other => format!("{key}.{other}"),
            };
            if source.len() > MAX_TEMPLATE_BYTES {
                return Err(unsupported(format!(
                    "{key} has {} bytes, at most {MAX_TEMPLATE_BYTES} are supported",
                    source.len()
                )));
            }
            let bad = |e| unsupported(format!("{key}: {e}"));
            limits::check_shape(source).map_err(bad)?;
            env.add_template_owned(name, without_generation_tags(source))
                .map_err(bad)?;
            let template = env.get_template(name).map_err(refused)?;
            limits::limited(&get_compiled_template(&template).instructions).map_err(bad)?;
        }
        let with_tools = match tool_use {
            Some(_) => Some(TOOL_USE),
            None => ordinary.contains("tools").then_some(CHAT),
        };
        Ok(Self {
            env,
            budget,
            time,
            with_tools,
        })
    }

    /// Tells the template that it is this many seconds after the beginning of 1970 (UTC), for all
    /// that is rendered from now on. Without it, it is [`DEFAULT_TIME`].
    pub fn set_time(&self, seconds: i64) {
        // The years that a date can be written for.
        self.time.store(seconds.clamp(0, 253_402_300_799), Relaxed);
    }

    /// The text of a conversation, up to where the assistant is to answer.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the template refuses the messages, or does too much.
    pub fn render(
        &self,
        messages: &[Message],
        tools: &Tools,
        tokenizer: &Tokenizer,
    ) -> Result<String, Error> {
        let name = match tools.is_empty() {
            true => CHAT,
            false => self.with_tools.unwrap_or(CHAT),
        };
        let mut variables = BTreeMap::from([
            ("messages", Value::from_serialize(messages)),
            ("add_generation_prompt", Value::from(true)),
            ("bos_token", Value::from(tokenizer.bos_text())),
            ("eos_token", Value::from(tokenizer.eos_text())),
        ]);
        let tools = match tools.is_empty() {
            true => Value::from(()),
            false => Value::from(tools.0.clone()),
        };
        variables.insert("tools", tools);
        self.run(name, variables)
    }

    fn run(&self, name: &str, variables: BTreeMap<&str, Value>) -> Result<String, Error> {
        let template = self.env.get_template(name).map_err(refused)?;
        let compiled = get_compiled_template(&template);
        let program = limits::limited(&compiled.instructions).map_err(refused)?;
        let mut text = String::new();
        let blocks = BTreeMap::new();
        self.budget.refill();
        let vm = Vm::new(&self.env);
        let mut out = make_string_output(&mut text);
        let variables = context! { ..Value::from_serialize(variables) };
        vm.eval(&program, variables, &blocks, &mut out, AutoEscape::None)
            .map_err(refused)?;
        drop(out);
        Ok(text)
    }

    /// The tokens of a conversation, up to where the assistant is to answer. Names of control
    /// tokens inside the contents are text.
    pub fn encode(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>, Error> {
        self.encode_with_tools(messages, &Tools::default(), tokenizer)
    }

    /// The same for a model that may call `tools`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for tools where the template has no place for them.
    pub fn encode_with_tools(
        &self,
        messages: &[Message],
        tools: &Tools,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<u32>, Error> {
        if !tools.is_empty() && self.with_tools.is_none() {
            let why = "the model's chat template has no place for tools";
            return Err(Error::InvalidArgument(why.into()));
        }
        let messages: Vec<Message> = messages.iter().map(|m| marked(m, tokenizer)).collect();
        let (text, literal) = unmark(&self.render(&messages, tools, tokenizer)?);
        tokenizer.encode_template(&text, &literal)
    }

    /// Returns the tokens that follow an answer, whatever its own tokens are: those that end it,
    /// the next message, and what begins the next answer. `read` is the conversation that was
    /// answered. `None`: the next prompt is not what was read with something appended, because
    /// this template writes `read` or the answer otherwise when more follows (thinking that it
    /// drops, space that it trims), so that everything has to be read anew.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the template refuses the messages, or does too much.
    pub fn encode_next(
        &self,
        read: &[Message],
        answer: &str,
        next: &Message,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Vec<u32>>, Error> {
        let tools = Tools::default();
        let mut messages: Vec<Message> = read.iter().map(|m| marked(m, tokenizer)).collect();
        let before = self.render(&messages, &tools, tokenizer)?;
        messages.push(Message {
            role: "assistant".into(),
            content: ANSWER.into(),
        });
        messages.push(marked(next, tokenizer));
        let whole = self.render(&messages, &tools, tokenizer)?;
        let Some((now, rest)) = whole.split_once(ANSWER) else {
            return Ok(None);
        };
        if now != before {
            return Ok(None);
        }
        // The same with what was answered: the template may look at it.
        let answer = marked_text(answer, tokenizer);
        let expected = [now, &answer, rest].concat();
        if let Some(place) = messages.iter_mut().rev().nth(1) {
            place.content = answer;
        }
        if self.render(&messages, &tools, tokenizer)? != expected {
            return Ok(None);
        }
        let (text, literal) = unmark(rest);
        tokenizer.encode_more(&text, &literal).map(Some)
    }
}

/// transformers marks what the assistant says with `{% generation %}`, for training: here these
/// tags are conditions that always hold.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let Some(len) = rest[open..].find("%}") else {
            break;
        };
        let (before, tag) = (&rest[..open], &rest[open..open + len + 2]);
        out.push_str(before);
        out.push_str(
            &match tag.trim_matches(['{', '%', '}', '-', '+', ' ', '\t', '\n', '\r']) {
                "generation" => tag.replace("generation", "if true"),
                "endgeneration" => tag.replace("endgeneration", "endif"),
                _ => tag.into(),
            },
        );
        rest = &rest[open + len + 2..];
    }
    out.push_str(rest);
    out
}

/// A message with a mark in each name of a control token.
fn marked(m: &Message, tokenizer: &Tokenizer) -> Message {
    Message {
        role: marked_text(&m.role, tokenizer),
        content: marked_text(&m.content, tokenizer),
    }
}

fn marked_text(text: &str, tokenizer: &Tokenizer) -> String {
    let plain = match text.contains([MARK, ANSWER]) {
        true => text.replace([MARK, ANSWER], "").into(),
        false => std::borrow::Cow::Borrowed(text),
    };
    let mut out = String::with_capacity(plain.len());
    let mut done = 0;
    for at in tokenizer.control_names(&plain) {
        let first = plain[at..].chars().next().map_or(0, char::len_utf8);
        out.push_str(&plain[done..at + first]);
        out.push(MARK);
        done = at + first;
    }
    out.push_str(&plain[done..]);
    out
}

fn refused(e: minijinja::Error) -> Error {
    Error::InvalidArgument(format!(
        "the model's chat template refused the messages: {e}"
    ))
}

/// Takes the marks out; gives the places of the characters before them.
fn unmark(marked: &str) -> (String, Vec<Range<usize>>) {
    let mut text = String::with_capacity(marked.len());
    let mut literal = Vec::new();
    let mut pieces = marked.split(MARK);
    text.push_str(pieces.next().unwrap_or(""));
    for piece in pieces {
        if let Some(last) = text.chars().next_back() {
            literal.push(text.len() - last.len_utf8()..text.len());
        }
        text.push_str(piece);
    }
    (text, literal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_ranges() {
        let (text, ranges) = unmark(&format!("a<{MARK}|b|>é{MARK}c"));
        assert_eq!(text, "a<|b|>éc");
        assert_eq!(ranges, [1..2, 6..8]);
    }

    /// Texts by jinja2 3.1, set up as transformers does.
    const JINJA2: &[(&str, &str)] = &[
        ("{{ [1, 2, 3, 4, 5][::-1] }}", "[5, 4, 3, 2, 1]"),
        ("{{ [1, 2, 3, 4, 5][-1:0:-2] }}", "[5, 3]"),
        ("{{ 'añb😀c'[3:0:-1] }}|{{ 'abc'[5:] }}", "😀bñ|"),
        (
            "{{ {'a': none, 'b': [true, 1.0, \"it's\"]} }}",
            "{'a': None, 'b': [True, 1.0, \"it's\"]}",
        ),
        (
            "{{ 1e16 }} {{ 0.00001 }} {{ 123456.5 }}",
            "1e+16 1e-05 123456.5",
        ),
        (
            "{{ -7 % 3 }} {{ 7.5 % 2 }} {{ '%05.1f|%s' % (2.25, [1]) }}",
            "2 1.5 002.2|[1]",
        ),
        (
            "{{ [1, 'é']|tojson(ensure_ascii=true, separators=(',', ':')) }}",
            "[1,\"\\u00e9\"]",
        ),
        (
            "{{ {'b': 1, 'a': 2.0}|tojson(indent=1, sort_keys=true) }}",
            "{\n \"a\": 2.0,\n \"b\": 1\n}",
        ),
        (
            "{{ 'é</think>x'.find('x') }} {{ 'aXbXc'.rsplit('X', 1) }}",
            "9 ['aXb', 'c']",
        ),
        (
            "{{ 'a'.center(4, '*') }} {{ '-7'.zfill(4) }} {{ 'Ab'.swapcase() }}",
            "*a** -007 aB",
        ),
        (
            "{{ 'x'|int(3) }} {{ '0x1f'|int(0, 16) }} {{ '2.9'|int }}",
            "3 31 2",
        ),
        (
            "{{ [{'n': 1}, {'n': 2}]|sum(attribute='n') }} {{ [none, 1]|join('-') }}",
            "3 None-1",
        ),
        (
            "{{ strftime_now('%d %b %Y, %A, %j, %-m') }}",
            "26 Jul 2024, Friday, 208, 7",
        ),
    ];

    #[test]
    fn jinja2_says_the_same() -> Result<(), Error> {
        for (source, text) in JINJA2 {
            let got = Template::new(source, None)?.run(CHAT, BTreeMap::new())?;
            assert_eq!(got, *text, "{source}");
        }
        Ok(())
    }

    #[test]
    fn hostile_templates_end() -> Result<(), Error> {
        for source in [
            "{{ '%9999999d' % 1 }}",
            "{{ '%s%s' % ('a' * 60000000, 1) }}",
            "{{ 'a'.center(999999999) }}",
            "{{ ('a' * 20000000)[::-1] }}",
            "{% set ns = namespace(t='ab' * 1000) %}{% for i in range(90000) %}{% set x = ns.t[::-1] %}{% endfor %}",
            "{{ ('-' * 30000000).rsplit('-') }}",
        ] {
            let got = Template::new(source, None)?.run(CHAT, BTreeMap::new());
            assert!(got.is_err(), "{source}");
        }
        Ok(())
    }

    #[test]
    fn the_caller_may_give_the_time() -> Result<(), Error> {
        let template = Template::new("{{ strftime_now('%Y-%m-%d %H:%M:%S') }}", None)?;
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_868_799, "2000-02-29 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            template.set_time(seconds);
            assert_eq!(template.run(CHAT, BTreeMap::new())?, text);
        }
        Ok(())
    }

    #[test]
    fn errors_name_the_line() -> Result<(), Error> {
        let got = Template::new("a\nb\n{{ 1|nonsense }}", None);
        let got = got.and_then(|t| t.run(CHAT, BTreeMap::new()));
        assert!(got.is_err_and(|e| e.to_string().contains(":3")));
        Ok(())
    }

    #[test]
    fn generation_tags_are_conditions() {
        let source = "{% if x %}{%- generation -%}{{ y }}{%- endgeneration %}{% endif %} {% open";
        assert_eq!(
            without_generation_tags(source),
            "{% if x %}{%- if true -%}{{ y }}{%- endif %}{% endif %} {% open"
        );
    }
}

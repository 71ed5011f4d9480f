//! The model's own chat template (Jinja, from the GGUF metadata), rendered with minijinja.
//!
//! Names of control tokens inside messages and tools are text: a mark is put into each before the
//! template sees it, and where marks come out of the template no control token is read.

mod fallback;
mod json;
mod limits;

use crate::tokenizer::Tokenizer;
use crate::{Error, unsupported};
use limits::Budget;
use minijinja::machinery::{Vm, get_compiled_template, make_string_output};
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, ErrorKind, Value, context};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use weights::GgufFile;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: String,
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
/// What templates that ask for the date are told: that of Llama's own fallback. A conversation
/// rendered again must be the same, whenever that is.
const DATE: [(&str, &str); 6] = [
    ("%d", "26"),
    ("%b", "Jul"),
    ("%B", "July"),
    ("%m", "07"),
    ("%Y", "2024"),
    ("%y", "24"),
];

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
    /// Whether it has a place for tools.
    takes_tools: bool,
}

impl Template {
    /// The file's template, or that of its architecture.
    ///
    /// # Errors
    /// A template that is too long or that Jinja cannot read.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, Error> {
        let key = "tokenizer.chat_template";
        let source = file.string(key).unwrap_or_else(|| {
            let text = |key| file.string(key).unwrap_or("");
            fallback::template(text("general.architecture"), text("tokenizer.ggml.pre"))
        });
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(unsupported(format!(
                "{key} has {} bytes, at most {MAX_TEMPLATE_BYTES} are supported",
                source.len()
            )));
        }
        limits::check_shape(source).map_err(|e| unsupported(format!("{key}: {e}")))?;
        let budget = Budget::default();
        let mut env = limits::environment(&budget, FUEL);
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        let b = budget.clone();
        env.add_filter("tojson", move |value: &Value, options: Kwargs| {
            json::tojson(&b, value, &options)
        });
        env.add_function("raise_exception", |m: String| -> Result<String, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, m))
        });
        env.add_function("strftime_now", |form: &str| {
            let mut text = form.to_owned();
            for (name, value) in DATE {
                text = text.replace(name, value);
            }
            text
        });
        env.add_template_owned("chat", without_generation_tags(source))
            .map_err(|e| unsupported(format!("{key}: {e}")))?;
        let template = env.get_template("chat").map_err(refused)?;
        limits::limited(&get_compiled_template(&template).instructions)
            .map_err(|e| unsupported(format!("{key}: {e}")))?;
        Ok(Self {
            env,
            budget,
            takes_tools: source.contains("tools"),
        })
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
        let template = self.env.get_template("chat").map_err(refused)?;
        let compiled = get_compiled_template(&template);
        let program = limits::limited(&compiled.instructions).map_err(refused)?;
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
        if !tools.is_empty() && !self.takes_tools {
            let why = "the model's chat template has no place for tools";
            return Err(Error::InvalidArgument(why.into()));
        }
        let messages: Vec<Message> = messages.iter().map(|m| marked(m, tokenizer)).collect();
        let (text, literal) = unmark(&self.render(&messages, tools, tokenizer)?);
        tokenizer.encode_template(&text, &literal)
    }

    /// The tokens that follow an answer, whatever its own tokens are: those that end it, the next
    /// message, and what begins the next answer. `read` is the conversation that was answered.
    /// `None`: this template renders `read` otherwise when more follows, so that everything has to
    /// be read anew.
    pub fn encode_next(
        &self,
        read: &[Message],
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
    let plain = match m.content.contains([MARK, ANSWER]) {
        true => m.content.replace([MARK, ANSWER], "").into(),
        false => std::borrow::Cow::Borrowed(m.content.as_str()),
    };
    let mut content = String::with_capacity(plain.len());
    let mut done = 0;
    for at in tokenizer.control_names(&plain) {
        let first = plain[at..].chars().next().map_or(0, char::len_utf8);
        content.push_str(&plain[done..at + first]);
        content.push(MARK);
        done = at + first;
    }
    content.push_str(&plain[done..]);
    Message {
        role: m.role.clone(),
        content,
    }
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

    #[test]
    fn generation_tags_are_conditions() {
        let source = "{% if x %}{%- generation -%}{{ y }}{%- endgeneration %}{% endif %} {% open";
        assert_eq!(
            without_generation_tags(source),
            "{% if x %}{%- if true -%}{{ y }}{%- endif %}{% endif %} {% open"
        );
    }
}

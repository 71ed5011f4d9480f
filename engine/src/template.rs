//! The model's own chat template (Jinja, from the GGUF metadata), rendered with minijinja.

use crate::tokenizer::Tokenizer;
use crate::{Error, unsupported};
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;
use weights::GgufFile;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// Steps a template may take, so that no file can make it run for ever.
const FUEL: u64 = 1_000_000;
/// Marks around content while its place in the rendered text is looked for: private-use
/// characters, which `trim` and the like leave alone.
const OPEN: char = '\u{F8FE}';
const CLOSE: char = '\u{F8FF}';
/// Stands for an answer whose tokens are known.
const ANSWER: char = '\u{F8FD}';

/// ChatML, for models that come without a template.
const DEFAULT: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A compiled chat template.
pub struct Template {
    env: Environment<'static>,
}

impl Template {
    /// The file's template, or ChatML.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, Error> {
        let source = file.string("tokenizer.chat_template").unwrap_or(DEFAULT);
        let mut env = Environment::new();
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        env.set_fuel(Some(FUEL));
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.add_function(
            "raise_exception",
            |m: String| -> Result<String, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, m))
            },
        );
        env.add_template_owned("chat", source.to_owned())
            .map_err(|e| unsupported(format!("tokenizer.chat_template: {e}")))?;
        Ok(Self { env })
    }

    fn render(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<String, Error> {
        let template = self.env.get_template("chat").map_err(refused)?;
        template
            .render(context! {
                messages => messages,
                add_generation_prompt => true,
                bos_token => tokenizer.bos_text(),
                eos_token => tokenizer.eos_text(),
            })
            .map_err(refused)
    }

    /// The tokens of a conversation, up to where the assistant is to answer. Names of special
    /// tokens inside the contents are text.
    pub fn encode(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>, Error> {
        let plain = self.render(messages, tokenizer)?;
        if !messages.iter().any(|m| m.content.contains(['<', '['])) {
            return tokenizer.encode_template(&plain, &[]);
        }
        let marked: Vec<Message> = messages.iter().map(marked).collect();
        let (text, literal) = unmark(&self.render(&marked, tokenizer)?);
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
        let plain = |m: &Message| Message {
            role: m.role.clone(),
            content: m.content.replace([OPEN, CLOSE, ANSWER], ""),
        };
        let mut messages: Vec<Message> = read.iter().map(plain).collect();
        let before = self.render(&messages, tokenizer)?;
        messages.push(Message {
            role: "assistant".into(),
            content: ANSWER.into(),
        });
        messages.push(if next.content.contains(['<', '[']) {
            marked(next)
        } else {
            plain(next)
        });
        let whole = self.render(&messages, tokenizer)?;
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

/// A message whose content is enclosed in marks.
fn marked(m: &Message) -> Message {
    let content = m.content.replace([OPEN, CLOSE, ANSWER], "");
    Message {
        role: m.role.clone(),
        content: format!("{OPEN}{}{CLOSE}", content.trim()),
    }
}

fn refused(e: minijinja::Error) -> Error {
    Error::InvalidArgument(format!(
        "the model's chat template refused the messages: {e}"
    ))
}

/// Takes the marks out; gives the ranges they enclosed.
fn unmark(marked: &str) -> (String, Vec<std::ops::Range<usize>>) {
    let (mut text, mut ranges, mut open) = (String::with_capacity(marked.len()), Vec::new(), None);
    for c in marked.chars() {
        match c {
            OPEN => open = Some(text.len()),
            CLOSE => ranges.extend(open.take().map(|start| start..text.len())),
            c => text.push(c),
        }
    }
    (text, ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_ranges() {
        let (text, ranges) = unmark(&format!("a{OPEN}bé{CLOSE}c{OPEN}{CLOSE}"));
        assert_eq!(text, "abéc");
        assert_eq!(ranges, [1..4, 5..5]);
    }
}

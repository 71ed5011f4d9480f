//! What the model reads for a chat's next turn.
//!
//! The tokens of the history stay as they are (an answer's own tokens are never made from its text
//! again); what follows them is appended. Where that is not possible (the model or the template does
//! not allow it, or turns before have gone) the whole conversation is rendered and made into tokens
//! anew, and what the two have in common from the start need not be read again.

use crate::api::{Error, Overflow};
use crate::app::Loaded;
use crate::chat_store::ChatStore;
use crate::durable::Chat;
use engine::template::Message;

/// Tokens for the next turn.
pub struct NextTurn {
    pub tokens: Vec<u32>,
    /// Positions from the start whose tokens are those of the history.
    pub common: usize,
    /// Positions from the start that are the same for everybody who has the same system prompt.
    pub public: usize,
    /// Turns before this one (but the system prompt) are not read.
    pub first_read: u32,
    /// Whether the history was only appended to.
    pub appended: bool,
}

/// What is asked, and of which beginning of the chat.
pub struct Question<'a> {
    pub content: &'a str,
    /// Turns of the chat that stay.
    pub keep: u32,
    pub model: &'a [u8; 32],
    /// Longest context, and the tokens of it that the answer should have (both in tokens).
    pub context: usize,
    pub answer: usize,
}

/// The tokens of a chat's next turn.
///
/// # Errors
/// [`Error::PromptTooLong`] where it does not fit and the chat does not slide; refusals of the
/// template.
pub fn next_turn(
    store: &ChatStore,
    chat: &Chat,
    q: &Question<'_>,
    loaded: &Loaded,
) -> Result<NextTurn, Error> {
    let history = store.histories.get(&chat.id).unwrap_or_default().0;
    let next = message("user", q.content);
    let system = u32::from(chat.system);
    let mut first = if q.keep < chat.first_read {
        system
    } else {
        chat.first_read
    };
    let mut read = messages(store, chat, first, q.keep);

    let known = if q.keep < chat.turns {
        store
            .turns
            .get(&(chat.id, q.keep))
            .map(|t| t.start as usize)
    } else {
        Some(history.len())
    };
    let appendable = chat.model == *q.model && q.keep >= chat.aligned && q.keep > first;
    let turn = match known.filter(|k| appendable && *k <= history.len()) {
        Some(known) => {
            let (answer, answered) = read
                .split_last()
                .map_or(("", &read[..]), |(a, rest)| (a.content.as_str(), rest));
            loaded
                .template
                .encode_next(answered, answer, &next, &loaded.tokenizer)?
                .map(|more| NextTurn {
                    tokens: [&history[..known], &more].concat(),
                    common: known,
                    public: chat.public as usize,
                    first_read: first,
                    appended: true,
                })
        }
        None => None,
    };
    let mut turn = match turn {
        Some(turn) => turn,
        None => {
            read.push(next);
            let turn = whole(&read, first, system, &history, loaded)?;
            read.pop();
            turn
        }
    };
    if turn.tokens.len() + q.answer.min(q.context / 4) <= q.context && turn.tokens.len() < q.context
    {
        return Ok(turn);
    }
    if chat.overflow == Overflow::Slide {
        while turn.tokens.len() > q.context / 2 && first < q.keep {
            first = (first + 2).min(q.keep);
            read = messages(store, chat, first, q.keep);
            read.push(message("user", q.content));
            turn = whole(&read, first, system, &history, loaded)?;
        }
    }
    // The engine says what is too long.
    Ok(turn)
}

fn message(role: &str, content: &str) -> Message {
    Message {
        role: role.into(),
        content: content.into(),
    }
}

/// The system prompt and the turns from `first` up to `keep`.
fn messages(store: &ChatStore, chat: &Chat, first: u32, keep: u32) -> Vec<Message> {
    (0..u32::from(chat.system))
        .chain(first..keep)
        .filter_map(|turn| store.turns.get(&(chat.id, turn)))
        .map(|turn| Message {
            role: turn.role,
            content: turn.content,
        })
        .collect()
}

/// Everything rendered anew.
fn whole(
    read: &[Message],
    first_read: u32,
    system: u32,
    history: &[u32],
    loaded: &Loaded,
) -> Result<NextTurn, Error> {
    let tokens = loaded.template.encode(read, &loaded.tokenizer)?;
    Ok(NextTurn {
        common: common(&tokens, history),
        public: public(&read[..system as usize], &tokens, loaded),
        tokens,
        first_read,
        appended: false,
    })
}

/// How many tokens of a conversation come from its system prompt and the template alone.
pub fn public(system: &[Message], tokens: &[u32], loaded: &Loaded) -> usize {
    let mut other = system.to_vec();
    other.push(message("user", "."));
    let other = loaded.template.encode(&other, &loaded.tokenizer);
    other.map_or(0, |other| common(&other, tokens))
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

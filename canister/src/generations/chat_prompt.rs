//! What the model reads for a chat's next turn.
//!
//! The tokens of the history stay as they are (an answer's own tokens are never made from its text
//! again), and what follows them is appended. Where that is not possible (the model or the template
//! does not allow it, or earlier turns are gone) the whole conversation is rendered and tokenized
//! anew; what both have in common from the start need not be read again.

use crate::stable::ids::Sha256;
use crate::stable::records::{ChatRecord, Overflow};
use crate::state::chats::ChatStore;
use crate::state::convert::engine_error;
use crate::state::residency::Loaded;
use engine::template::Message;
use interface::Error;

/// The tokens of a chat's next turn.
pub(crate) struct NextTurn {
    pub tokens: Vec<u32>,
    /// Positions from the start whose tokens are those of the history.
    pub common: usize,
    /// Positions from the start that are the same for everybody with the same system prompt.
    pub public: usize,
    /// Turns before this one (but the system prompt) are not read.
    pub first_read: u32,
    /// Whether the history was only appended to.
    pub appended: bool,
}

/// A question, and the part of the chat that it follows.
pub(crate) struct Question<'a> {
    pub content: &'a str,
    /// Turns of the chat that stay.
    pub keep: u32,
    pub model: &'a Sha256,
    /// Longest context, and the part of it that the answer should have (tokens).
    pub context: usize,
    pub answer: usize,
}

/// Returns the tokens of a chat's next turn.
///
/// # Errors
/// Those of the template.
pub(crate) fn next_turn(
    store: &ChatStore,
    chat: &ChatRecord,
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
            .get(&(chat.id.0, q.keep))
            .map(|t| t.start as usize)
    } else {
        Some(history.len())
    };
    let appendable = chat.model == Some(*q.model) && q.keep >= chat.aligned && q.keep > first;
    let turn = match known.filter(|k| appendable && *k <= history.len()) {
        Some(known) => {
            let (answer, answered) = read
                .split_last()
                .map_or(("", &read[..]), |(a, rest)| (a.content.as_str(), rest));
            loaded
                .template
                .encode_next(answered, answer, &next, &loaded.tokenizer)
                .map_err(engine_error)?
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
    // Whether it is too long is checked with the request.
    Ok(turn)
}

fn message(role: &str, content: &str) -> Message {
    Message {
        role: role.into(),
        content: content.into(),
    }
}

/// Returns the system prompt and the turns from `first` up to `keep`.
fn messages(store: &ChatStore, chat: &ChatRecord, first: u32, keep: u32) -> Vec<Message> {
    (0..u32::from(chat.system))
        .chain(first..keep)
        .filter_map(|turn| store.turns.get(&(chat.id.0, turn)))
        .map(|turn| Message {
            role: turn.role,
            content: turn.content,
        })
        .collect()
}

/// Renders everything anew.
fn whole(
    read: &[Message],
    first_read: u32,
    system: u32,
    history: &[u32],
    loaded: &Loaded,
) -> Result<NextTurn, Error> {
    let tokens = loaded
        .template
        .encode(read, &loaded.tokenizer)
        .map_err(engine_error)?;
    Ok(NextTurn {
        common: common(&tokens, history),
        public: public(&read[..system as usize], &tokens, loaded),
        tokens,
        first_read,
        appended: false,
    })
}

/// Returns how many tokens of a conversation come from its system prompt and the template alone.
pub(crate) fn public(system: &[Message], tokens: &[u32], loaded: &Loaded) -> usize {
    let mut other = system.to_vec();
    other.push(message("user", "."));
    let other = loaded.template.encode(&other, &loaded.tokenizer);
    other.map_or(0, |other| common(&other, tokens))
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

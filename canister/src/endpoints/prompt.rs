//! `prompt`: one call that is answered when its generation is done, for command lines.
//!
//! An update can wait only on another call, so it waits on calls that take a consensus round each:
//! the management canister's `raw_rand`. When the canister is asked to stop, the answer is the
//! generation's id, so that stopping never waits for a long answer.

use super::generations;
use crate::generations::engine_state;
use crate::runtime;
use crate::stable::ids::GenerationId;
use crate::state::{State, read_state};
use interface::{Answer, Error, GenerateArgs, Input, Message, Started};

/// Starts the generation of a question.
///
/// # Errors
/// Those of [`generations::generate`].
pub(crate) fn start(state: &mut State, text: String) -> Result<Started, Error> {
    let args = GenerateArgs {
        input: Input::Chat(vec![Message {
            role: "user".into(),
            content: text,
        }]),
        ..GenerateArgs::default()
    };
    generations::generate(state, runtime::caller(), args)
}

/// Replies to this message as soon as the generation is done.
pub(crate) fn reply_when_done(started: Result<Started, Error>) {
    match started {
        Ok(started) => wait(started.id),
        Err(e) => reply(Err(e)),
    }
}

fn wait(id: u64) {
    if !runtime::ask_random(round_passed, id) {
        reply(Err(Error::Busy(format!(
            "this call cannot wait for the answer: read generation {id}"
        ))));
    }
}

/// A round has passed: replies if the generation is done.
extern "C" fn round_passed(environment: usize) {
    let id = runtime::callback_number(environment);
    match read_state(|state| answer(state, id)) {
        Some(result) => reply(result),
        None if runtime::is_stopping() => reply(Err(Error::Stopping { id })),
        None => wait(id),
    }
}

fn answer(state: &State, id: u64) -> Option<Result<Answer, Error>> {
    let Some(r) = state.generations.get(&GenerationId(id)) else {
        return Some(Err(Error::NotFound(format!("generation {id} is gone"))));
    };
    Some(match r.end.clone()? {
        Err(e) => Err(e.into()),
        Ok(_) => Ok(Answer {
            id,
            prompt_tokens: r.prompt_tokens,
            generated_tokens: engine_state::answer_tokens(&r).len() as u32,
            instructions: r.prompt_instructions + r.generate_instructions,
            seed: r.options.seed,
            text: r.text,
        }),
    })
}

fn reply(result: Result<Answer, Error>) {
    match candid::encode_one(result) {
        Ok(bytes) => runtime::reply(&bytes),
        Err(e) => runtime::reject(&format!("the reply cannot be encoded: {e}")),
    }
}

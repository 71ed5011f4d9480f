//! `prompt`: one call that answers when its generation is done, for command lines.
//!
//! An update can wait only on another call, so it waits on calls that take a consensus round each:
//! the management canister's `raw_rand`. When the canister is asked to stop, the answer is the
//! generation's id, so that stopping never waits for a long answer.

use crate::api::{Answer, Error, GenerateArgs, Input, Message};
use crate::app::{self, App};
use crate::{generations, system};

/// Starts the generation and the wait.
pub fn begin(text: String) {
    let caller = system::caller();
    let args = GenerateArgs {
        input: Input::Chat(vec![Message {
            role: "user".into(),
            content: text,
        }]),
        options: None,
        model: None,
        tools: None,
    };
    match app::with(|app| generations::start(app, caller, args)) {
        Ok(started) => wait(started.id),
        Err(e) => reply(Err(e)),
    }
}

fn wait(id: u64) {
    if !system::ask_random(look, id) {
        reply(Err(Error::Busy(format!(
            "the answer cannot be waited for: read generation {id}"
        ))));
    }
}

/// A round has passed: is it done?
extern "C" fn look(environment: usize) {
    let number = system::callback_number(environment);
    match app::with(|app| answer(app, number)) {
        Some(result) => reply(result),
        None if system::is_stopping() => reply(Err(Error::Stopping { id: number })),
        None => wait(number),
    }
}

fn answer(app: &App, id: u64) -> Option<Result<Answer, Error>> {
    let Some(r) = app.records.get(&id) else {
        return Some(Err(Error::NotFound(format!("generation {id} is gone"))));
    };
    Some(match r.end.as_ref()? {
        Err(e) => Err(e.clone()),
        Ok(_) => Ok(Answer {
            id,
            prompt_tokens: r.prompt_tokens,
            generated_tokens: r.generated().len() as u32,
            instructions: r.prompt_instructions + r.generate_instructions,
            seed: r.options.seed,
            text: r.text,
        }),
    })
}

fn reply(result: Result<Answer, Error>) {
    let bytes = candid::encode_one(result).unwrap_or_default();
    ic0::msg_reply_data_append(&bytes);
    ic0::msg_reply();
}

//! `generate`, `generation` and `cancel`.

use crate::generations::start::Prompt;
use crate::generations::{admission, chat_prompt, engine_state, finish, start};
use crate::runtime;
use crate::stable::ids::GenerationId;
use crate::stable::records::GenerationRecord;
use crate::state::convert::{end_state, engine_error};
use crate::state::{State, check_migrated};
use candid::Principal;
use engine::template::{Message, Tools};
use interface::{
    Error, GenerateArgs, Generation, GenerationArgs, GenerationState, Input, QueuePlace, Started,
};
use serde_bytes::ByteBuf;

/// Starts a generation for `owner`.
///
/// # Errors
/// Those of [`admission::admit`], of the template, and of quota and payment.
pub(crate) fn generate(
    state: &mut State,
    owner: Principal,
    args: GenerateArgs,
) -> Result<Started, Error> {
    let (mut request, loaded) =
        admission::admit(state, &owner, args.model.as_deref(), args.options)?;
    let tokenizer = &loaded.tokenizer;
    let tools = args.tools.unwrap_or_default();
    let tools = Tools::parse(&tools, tokenizer).map_err(engine_error)?;
    let (tokens, public) = match args.input {
        Input::Prompt(_) if !tools.is_empty() => {
            return Err(Error::InvalidArgument(
                "tools are for chats: a prompt has no place for them".into(),
            ));
        }
        Input::Prompt(text) => (tokenizer.encode_plain(&text).map_err(engine_error)?, 0),
        Input::Chat(messages) if messages.is_empty() => {
            return Err(Error::InvalidArgument(
                "the chat is empty; expected at least one message".into(),
            ));
        }
        Input::Chat(messages) => {
            let messages: Vec<Message> = messages
                .into_iter()
                .map(|m| Message {
                    role: m.role,
                    content: m.content,
                })
                .collect();
            let tokens = loaded
                .template
                .encode_with_tools(&messages, &tools, tokenizer)
                .map_err(engine_error)?;
            let system = usize::from(messages[0].role == "system");
            let public = chat_prompt::public(&messages[..system], &tokens, loaded);
            (tokens, public)
        }
    };
    request.check_prompt(&tokens)?;
    request.check_quota_and_payment(state, &owner, tokens.len(), 0)?;
    request.resolve_seed(state)?;
    let prompt = Prompt {
        tokens,
        block_table: Vec::new(),
        computed: 0,
        public,
        chat: None,
    };
    Ok(start::start(state, owner, prompt, request))
}

fn find(state: &State, id: u64) -> Result<GenerationRecord, Error> {
    let caller = runtime::caller();
    state
        .generations
        .get(&GenerationId(id))
        .filter(|r| r.owner == caller || runtime::caller_is_controller())
        .ok_or_else(|| Error::NotFound(format!("you have no generation {id}")))
}

/// Returns what a generation has produced, from a byte and a token on.
///
/// # Errors
/// [`Error::NotFound`].
pub(crate) fn view(state: &State, args: &GenerationArgs) -> Result<Generation, Error> {
    let r = find(state, args.id)?;
    let from = r.text.floor_char_boundary(args.from_byte as usize);
    let answer = engine_state::answer_tokens(&r);
    let first = (args.from_token as usize).min(answer.len());
    Ok(Generation {
        id: r.id.0,
        state: match r.end.clone() {
            Some(end) => end_state(end),
            None if r.slices == 0 => GenerationState::Waiting,
            None if answer.is_empty() => GenerationState::Prefilling,
            None => GenerationState::Generating,
        },
        text: r.text[from..].to_owned(),
        token_ids: answer[first..].to_vec(),
        next_byte: r.text.len() as u32,
        next_token: answer.len() as u32,
        prompt_tokens: r.prompt_tokens,
        prompt_tokens_done: r.computed.min(r.prompt_tokens),
        generated_tokens: answer.len() as u32,
        seed: r.options.seed,
        rounds: r.slices,
        prompt_instructions: r.prompt_instructions,
        generate_instructions: r.generate_instructions,
        max_message_instructions: r.max_message_instructions,
        cached_tokens: r.cached,
        chat: r.chat.map(|(id, _)| id.0),
        queue: (r.end.is_none() && r.slices == 0).then(|| queue_place(state, r.id)),
        recent_rounds: r.recent.iter().map(|s| (*s).into()).collect(),
        model_sha256: ByteBuf::from(r.model.0),
    })
}

/// Returns how long a generation that has not run yet waits at most.
fn queue_place(state: &State, id: GenerationId) -> QueuePlace {
    let budget = state.control.config.round_instructions;
    let in_flight = u32::from(state.control.in_flight.is_some());
    let slices = state
        .queue
        .slices_before(id, budget)
        .saturating_add(in_flight);
    QueuePlace {
        position: state.queue.position(id),
        wait_rounds: slices,
        wait_instructions: u64::from(slices) * budget,
    }
}

/// Ends a generation; what it has produced stays to be read.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Busy`] while an older layout is converted.
pub(crate) fn cancel(state: &mut State, id: u64) -> Result<(), Error> {
    check_migrated(&state.control)?;
    let record = find(state, id)?;
    if record.end.is_none() {
        finish::fail(state, record.id, Error::Cancelled);
    }
    Ok(())
}

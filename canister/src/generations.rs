//! Starting generations, reading what they have produced, cancelling them.

use crate::api::{self, Error, GenerateArgs, GenerationState, Input, Phase, Started};
use crate::app::App;
use crate::durable::{Record, StoredOptions};
use crate::{rounds, system};
use candid::Principal;
use engine::SamplerOptions;
use engine::generation::{Generation, Request};
use engine::template::Message;
use sha2::{Digest, Sha256};

/// Tokens an answer has at most if the caller does not say.
const DEFAULT_MAX_TOKENS: u32 = 256;
/// Ended generations that are kept to be read.
const KEPT: u64 = 1_000;
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 256;

/// Starts a generation for `owner`.
pub fn start(app: &mut App, owner: Principal, args: GenerateArgs) -> Result<Started, Error> {
    let phase = app.phase();
    let Some(loaded) = &app.heap.loaded else {
        let hint = match phase {
            Phase::Empty | Phase::Uploading => "upload a model first",
            Phase::Failed => "the last upload failed: see status, then upload again",
            _ => "the model is being made ready: try again when status says Ready",
        };
        return Err(Error::WrongPhase {
            phase: phase.name(),
            hint: hint.into(),
        });
    };
    let config = &app.control.config;
    if app.heap.open.len() >= config.max_generations as usize {
        return Err(Error::Busy(format!(
            "{} generations wait or run, as many as may: try again later",
            app.heap.open.len()
        )));
    }
    let tokens = match args.input {
        Input::Prompt(text) => loaded.tokenizer.encode_plain(&text)?,
        Input::Chat(messages) if messages.is_empty() => {
            return Err(Error::InvalidArgument(
                "the chat has no messages: give at least one".into(),
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
            loaded.template.encode(&messages, &loaded.tokenizer)?
        }
    };
    let context = config
        .max_context_tokens
        .min(loaded.model.config.context_length as u32);
    let o = args.options.unwrap_or_default();
    let stops = o.stop.unwrap_or_default();
    if stops.len() > MAX_STOPS
        || stops
            .iter()
            .any(|s| s.is_empty() || s.len() > MAX_STOP_BYTES)
    {
        return Err(Error::InvalidArgument(format!(
            "stop: at most {MAX_STOPS} texts of 1 to {MAX_STOP_BYTES} bytes"
        )));
    }
    let max_tokens = o.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    if max_tokens == 0 {
        return Err(Error::InvalidArgument(
            "max_tokens is 0: ask for at least 1".into(),
        ));
    }
    let mut sampler = SamplerOptions {
        temperature: o.temperature.unwrap_or(0.0),
        top_k: o.top_k.unwrap_or(0),
        top_p: o.top_p.unwrap_or(1.0),
        repetition_penalty: o.repetition_penalty.unwrap_or(1.0),
        seed: 0,
    };
    let request = Request {
        sampler,
        max_tokens: max_tokens as usize,
        max_context: context as usize,
        stops: stops.clone(),
    };
    // The engine's own checks of prompt and options.
    let checked = Generation::new(0, request, tokens)?;
    sampler.seed = match o.seed {
        Some(seed) => seed,
        None => draw_seed(app)?,
    };
    let id = app.control.next_id;
    app.control.next_id += 1;
    let prompt_tokens = checked.prompt_tokens as u32;
    app.put(Record {
        owner,
        id,
        options: StoredOptions {
            temperature: sampler.temperature,
            top_k: sampler.top_k,
            top_p: sampler.top_p,
            repetition_penalty: sampler.repetition_penalty,
            seed: sampler.seed,
            max_tokens,
            max_context: context,
            stops,
        },
        tokens: checked.tokens,
        prompt_tokens,
        computed: 0,
        stage: 0,
        x: Vec::new(),
        text: String::new(),
        pending: Vec::new(),
        prompt_instructions: 0,
        generate_instructions: 0,
        end: None,
        rounds: 0,
        max_message_instructions: 0,
        slots: Vec::new(),
    });
    app.heap.open.push(id);
    forget_oldest(app);
    rounds::schedule(app);
    Ok(Started {
        id,
        prompt_tokens,
        seed: sampler.seed,
    })
}

fn draw_seed(app: &mut App) -> Result<u64, Error> {
    let Some(entropy) = app.control.entropy else {
        return Err(Error::Busy(
            "randomness has been asked of the IC and not come yet: try again, or give a seed"
                .into(),
        ));
    };
    app.control.seeds_drawn += 1;
    let digest = Sha256::new()
        .chain_update(entropy)
        .chain_update(app.control.seeds_drawn.to_le_bytes())
        .finalize();
    let mut seed = [0; 8];
    seed.copy_from_slice(&digest[..8]);
    Ok(u64::from_le_bytes(seed))
}

/// Drops the oldest ended generations beyond those that are kept.
fn forget_oldest(app: &mut App) {
    while app.records.len() > KEPT + app.heap.open.len() as u64 {
        let open = &app.heap.open;
        let Some(id) = app.records.keys().find(|id| !open.contains(id)) else {
            return;
        };
        app.records.remove(&id);
    }
}

fn find(app: &App, id: u64) -> Result<Record, Error> {
    let caller = system::caller();
    app.records
        .get(&id)
        .filter(|r| r.owner == caller || system::caller_is_controller())
        .ok_or_else(|| Error::NotFound(format!("you have no generation {id}")))
}

/// What a generation has produced, from a byte and a token on.
pub fn view(app: &App, args: &api::ViewArgs) -> Result<api::Generation, Error> {
    let r = find(app, args.id)?;
    let mut from = (args.from_byte as usize).min(r.text.len());
    while !r.text.is_char_boundary(from) {
        from -= 1;
    }
    let generated = r.generated();
    let first = (args.from_token as usize).min(generated.len());
    Ok(api::Generation {
        id: r.id,
        state: match &r.end {
            Some(Ok(finish)) => GenerationState::Finished(*finish),
            Some(Err(e)) => GenerationState::Failed(e.clone()),
            None if r.rounds == 0 => GenerationState::Waiting,
            None if generated.is_empty() => GenerationState::Prefilling,
            None => GenerationState::Generating,
        },
        text: r.text[from..].to_owned(),
        token_ids: generated[first..].to_vec(),
        next_byte: r.text.len() as u32,
        next_token: generated.len() as u32,
        prompt_tokens: r.prompt_tokens,
        prompt_tokens_done: r.computed.min(r.prompt_tokens),
        generated_tokens: generated.len() as u32,
        seed: r.options.seed,
        rounds: r.rounds,
        prompt_instructions: r.prompt_instructions,
        generate_instructions: r.generate_instructions,
        max_message_instructions: r.max_message_instructions,
    })
}

/// Ends a generation; what it has produced stays to be read.
pub fn cancel(app: &mut App, id: u64) -> Result<(), Error> {
    if find(app, id)?.end.is_none() {
        app.end(id, Some(Error::Cancelled));
        rounds::schedule(app);
    }
    Ok(())
}

//! Starting generations, reading what they have produced, cancelling them.

use crate::aliases::{self, DEFAULT};
use crate::api::{self, Error, GenerateArgs, GenerationState, Input, Phase, QueuePlace, Started};
use crate::app::{App, Loaded};
use crate::blocks::{self, BLOCK};
use crate::durable::{Record, StoredOptions};
use crate::pages::Page;
use crate::{access, chats, cycles, migration, models, rounds, system};
use candid::Principal;
use engine::inference::generation::Generation;
use engine::template::{Message, Tools};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

/// Tokens an answer has at most if the caller does not say.
const DEFAULT_MAX_TOKENS: u32 = 256;
/// Ended generations that are kept to be read.
const KEPT: u64 = 1_000;
/// Bytes by which stable memory may grow before the next check.
const STABLE_RESERVE: u64 = 16 << 20;
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 256;

/// The model that callers ask for (without a name: the default one) and its shelf, if it is ready.
pub fn ready<'a>(app: &'a App, model: Option<&str>) -> Result<(u8, &'a Loaded), Error> {
    migration::check(app)?;
    let shelf = match model {
        None | Some(DEFAULT) => aliases::default_shelf(app),
        Some(name) => Some(aliases::resolve(app, name)?),
    };
    let loaded = shelf.and_then(|shelf| Some((shelf, app.heap.loaded.get(&shelf)?)));
    loaded.ok_or_else(|| {
        let phase = shelf.map_or(Phase::Empty, |shelf| models::phase(app, shelf));
        let hint = match phase {
            Phase::Empty if app.library.iter().next().is_some() => {
                "no model is the default: a controller has to call alias_set"
            }
            Phase::Empty | Phase::Uploading => "upload a model first",
            Phase::Failed => "the last upload failed: see status, then upload again",
            Phase::Stored => "the model is not in use: a controller has to call alias_set for it",
            _ => "the model is being made ready: try again when status says Ready",
        };
        Error::WrongPhase {
            phase: phase.name(),
            hint: hint.into(),
        }
    })
}

/// What a generation is to be, checked; its prompt comes later.
pub struct Wish {
    /// Of the model that is asked.
    shelf: u8,
    options: StoredOptions,
    seed: Option<u64>,
}

impl Wish {
    /// Longest context (tokens).
    pub fn context(&self) -> usize {
        self.options.max_context as usize
    }

    /// Longest answer (tokens).
    pub fn max_tokens(&self) -> usize {
        self.options.max_tokens as usize
    }

    /// The engine's own checks of prompt and options.
    pub fn check(&self, tokens: &[u32]) -> Result<(), Error> {
        let request = self.options.to_request();
        Ok(Generation::check(&request, tokens)?)
    }

    /// Whether the owner's quota and the call's cycles allow it. `cached`: prompt tokens that need
    /// not be read.
    pub fn afford(
        &self,
        app: &App,
        owner: &Principal,
        prompt: usize,
        cached: usize,
    ) -> Result<(), Error> {
        let tokens = self.tokens(prompt, cached);
        access::within_quota(app, owner, tokens)?;
        cycles::can_pay(cycles::price(app, owner), tokens)
    }

    /// Tokens it reads and draws at most.
    fn tokens(&self, prompt: usize, cached: usize) -> u64 {
        let room = self.context().saturating_sub(prompt);
        (prompt - cached.min(prompt) + self.max_tokens().min(room)) as u64
    }

    /// Draws the seed if the caller gave none.
    pub fn draw_seed(&mut self, app: &mut App) -> Result<(), Error> {
        self.options.seed = match self.seed {
            Some(seed) => seed,
            None => draw_seed(app)?,
        };
        Ok(())
    }
}

/// Whether there is room in the queue and in stable memory.
pub fn room(app: &App) -> Result<(), Error> {
    let config = &app.control.config;
    if app.queue.len() >= config.max_generations as usize {
        return Err(Error::Busy(format!(
            "{} generations wait or run, as many as may: try again later",
            app.queue.len()
        )));
    }
    stable_room(app)
}

/// Whether stable memory may grow by what records and chats could need.
pub fn stable_room(app: &App) -> Result<(), Error> {
    let (have, most) = (system::stable_bytes(), app.control.config.max_stable_bytes);
    if have + STABLE_RESERVE > most {
        return Err(Error::OutOfMemory(format!(
            "stable memory has {have} bytes, {most} are allowed (max_stable_bytes)"
        )));
    }
    Ok(())
}

/// Whether `owner` may start a generation now, and with these options.
pub fn admit(
    app: &App,
    owner: Principal,
    model: Option<&str>,
    options: Option<api::Options>,
) -> Result<Wish, Error> {
    let (shelf, loaded) = ready(app, model)?;
    access::may_generate(app, &owner)?;
    room(app)?;
    cycles::enough(app)?;
    let config = &app.control.config;
    let context = config
        .max_context_tokens
        .min(loaded.model.config.context_length as u32);
    let o = options.unwrap_or_default();
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
    let options = StoredOptions {
        temperature: o.temperature.unwrap_or(0.0),
        top_k: o.top_k.unwrap_or(0),
        top_p: o.top_p.unwrap_or(1.0),
        repetition_penalty: o.repetition_penalty.unwrap_or(1.0),
        seed: 0,
        max_tokens: max_tokens.min(config.max_output_tokens),
        max_context: context,
        stops,
    };
    Ok(Wish {
        shelf,
        options,
        seed: o.seed,
    })
}

/// What a generation reads first.
pub struct Prompt {
    pub tokens: Vec<u32>,
    /// Pages that hold the first `computed` positions.
    pub pages: Vec<Page>,
    pub computed: usize,
    /// Positions that anybody may share.
    pub public: usize,
    pub chat: Option<(u64, u32)>,
}

/// Starts a generation for `owner`.
pub fn start(app: &mut App, owner: Principal, args: GenerateArgs) -> Result<Started, Error> {
    let model = args.model.as_deref();
    let mut wish = admit(app, owner, model, args.options)?;
    let (_, loaded) = ready(app, model)?;
    let tools = Tools::parse(&args.tools.unwrap_or_default(), &loaded.tokenizer)?;
    let (tokens, public) = match args.input {
        Input::Prompt(_) if !tools.is_empty() => {
            return Err(Error::InvalidArgument(
                "tools are for chats: a prompt has no place for them".into(),
            ));
        }
        Input::Prompt(text) => (loaded.tokenizer.encode_plain(&text)?, 0),
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
            let (template, tokenizer) = (&loaded.template, &loaded.tokenizer);
            let tokens = template.encode_with_tools(&messages, &tools, tokenizer)?;
            let system = usize::from(messages[0].role == "system");
            let public = crate::chat_prompt::public(&messages[..system], &tokens, loaded);
            (tokens, public)
        }
    };
    wish.check(&tokens)?;
    wish.afford(app, &owner, tokens.len(), 0)?;
    wish.draw_seed(app)?;
    let prompt = Prompt {
        tokens,
        pages: Vec::new(),
        computed: 0,
        public,
        chat: None,
    };
    let started = begin(app, owner, prompt, wish);
    rounds::schedule(app);
    Ok(started)
}

/// Puts a checked generation in the queue. To be followed by [`rounds::schedule`].
pub fn begin(app: &mut App, owner: Principal, mut prompt: Prompt, wish: Wish) -> Started {
    let id = app.control.next_id;
    app.control.next_id += 1;
    let shelf = wish.shelf;
    let model = app.library.get(shelf).map_or([0; 32], |m| m.sha256);
    share(app, shelf, &owner, &model, &mut prompt);
    let (prompt_tokens, seed) = (prompt.tokens.len() as u32, wish.options.seed);
    let reserved = wish.tokens(prompt.tokens.len(), prompt.computed);
    access::reserve(app, &owner, reserved);
    let price = cycles::price(app, &owner);
    let paid = cycles::take(price, reserved);
    let weight = match system::is_controller(&owner) {
        true => app.control.config.controller_weight,
        false => 1,
    };
    app.put(Record {
        owner,
        id,
        options: wish.options,
        tokens: prompt.tokens,
        prompt_tokens,
        computed: prompt.computed as u32,
        stage: 0,
        x: Vec::new(),
        text: String::new(),
        pending: Vec::new(),
        prompt_instructions: 0,
        generate_instructions: 0,
        end: None,
        rounds: 0,
        max_message_instructions: 0,
        pages: prompt.pages,
        public: prompt.public as u32,
        cached: prompt.computed as u32,
        chat: prompt.chat,
        model,
        created: system::time(),
        recent: Vec::new(),
        reserved,
        paid,
        price,
    });
    let App {
        queue,
        accounts,
        control,
        ..
    } = app;
    queue.add(id, shelf, (owner, weight), control.served, accounts);
    forget_oldest(app);
    Started {
        id,
        prompt_tokens,
        seed,
    }
}

/// Takes over complete blocks that are in the cache already, as many as there are. At least one
/// token is left to be read, for its logits.
fn share(app: &mut App, shelf: u8, owner: &Principal, model: &[u8; 32], prompt: &mut Prompt) {
    let readable = &prompt.tokens[..prompt.tokens.len().saturating_sub(1)];
    let names = blocks::keys(model, owner, prompt.public, readable);
    for (b, key) in names.enumerate() {
        if (b + 1) * BLOCK <= prompt.computed {
            continue;
        }
        let Some(page) = app.pages.find(shelf, &key) else {
            return;
        };
        for own in prompt.pages.split_off(b.min(prompt.pages.len())) {
            app.pages.release(own);
        }
        prompt.pages.push(page);
        prompt.computed = (b + 1) * BLOCK;
    }
}

/// Ends a generation that has not ended, with an error.
pub fn end(app: &mut App, id: u64, error: Error) {
    if let Some(mut record) = app.records.get(&id).filter(|r| r.end.is_none()) {
        record.end = Some(Err(error));
        finish(app, record);
    }
    app.heap.running.remove(&id);
    app.queue.remove(id);
}

/// A generation has ended: its cache goes to its chat or is freed, its record stays to be read.
pub fn finish(app: &mut App, mut record: Record) {
    chats::ended(app, &mut record);
    for page in std::mem::take(&mut record.pages) {
        app.pages.release(page);
    }
    record.x = Vec::new();
    record.stage = 0;
    let id = record.id;
    app.heap.running.remove(&id);
    app.queue.remove(id);
    let read = u64::from(
        record
            .computed
            .min(record.prompt_tokens)
            .saturating_sub(record.cached),
    );
    let drawn = record.generated().len() as u64;
    let used = (read + drawn).min(record.reserved);
    access::settle(app, &record.owner, record.reserved, used);
    cycles::refund(app, &record, used);
    let totals = &mut app.control.totals;
    totals.prompt_tokens += read;
    totals.cached_tokens += u64::from(record.cached);
    totals.generated_tokens += drawn;
    match record.end {
        Some(Ok(_)) => totals.generations_finished += 1,
        _ => totals.generations_failed += 1,
    }
    app.put(record);
    models::tidy(app);
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
    while app.records.len() > KEPT + app.queue.len() as u64 {
        let Some(id) = app.records.keys().find(|id| !app.queue.contains(*id)) else {
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
        cached_tokens: r.cached,
        chat: r.chat.map(|(id, _)| id),
        queue: (r.end.is_none() && r.rounds == 0).then(|| place(app, r.id)),
        recent_rounds: r.recent,
        model_sha256: ByteBuf::from(r.model),
    })
}

/// How long a generation that has not run yet has to wait at most.
fn place(app: &App, id: u64) -> QueuePlace {
    let budget = app.control.config.round_instructions;
    let out = u32::from(app.control.mark.is_some());
    let rounds = app.queue.rounds_before(id, budget).saturating_add(out);
    QueuePlace {
        position: app.queue.position(id),
        wait_rounds: rounds,
        wait_instructions: u64::from(rounds) * budget,
    }
}

/// Ends a generation; what it has produced stays to be read.
pub fn cancel(app: &mut App, id: u64) -> Result<(), Error> {
    migration::check(app)?;
    if find(app, id)?.end.is_none() {
        end(app, id, Error::Cancelled);
        rounds::schedule(app);
    }
    Ok(())
}

//! Chats: conversations that are kept, each its owner's only.

use crate::api::{
    self, ChatCreateArgs, ChatHistory, ChatHistoryArgs, ChatInfo, ChatListArgs, ChatSendArgs,
    ChatTurn, Error, GenerationState, Started,
};
use crate::app::App;
use crate::blocks::BLOCK;
use crate::chat_prompt::{self, Question};
use crate::durable::{Chat, History, Record, Turn};
use crate::generations::{self, Prompt};
use crate::{access, rounds, system};
use candid::Principal;
use serde_bytes::ByteBuf;

const MAX_TITLE_BYTES: usize = 200;
/// Of a title made from the first question.
const TITLE_CHARS: usize = 60;
const MAX_SYSTEM_BYTES: usize = 256 << 10;
const MAX_TURNS: u32 = 10_000;
const MAX_LISTED: u32 = 200;
/// Bytes of turns in one reply.
const HISTORY_BYTES: usize = 1 << 20;

fn own(app: &App, owner: Principal, id: u64) -> Result<Chat, Error> {
    let chat = app.chats.chats.get(&id).filter(|c| c.owner == owner);
    chat.ok_or_else(|| Error::NotFound(format!("you have no chat {id}")))
}

fn checked_title(title: String) -> Result<String, Error> {
    if title.len() > MAX_TITLE_BYTES {
        return Err(Error::InvalidArgument(format!(
            "title has {} bytes: at most {MAX_TITLE_BYTES} are allowed",
            title.len()
        )));
    }
    Ok(title)
}

fn info(chat: &Chat, running: Option<&Record>) -> ChatInfo {
    ChatInfo {
        id: chat.id,
        title: chat.title.clone(),
        created_ns: chat.created,
        updated_ns: chat.updated,
        turns: chat.turns,
        context_tokens: running.map_or(chat.tokens, |r| r.tokens.len() as u32),
        cached_tokens: running.map_or(chat.cached, |r| r.computed),
        overflow: chat.overflow,
        running: chat.running,
    }
}

fn current(app: &App, chat: &Chat) -> ChatInfo {
    let record = chat.running.and_then(|id| app.records.get(&id));
    info(chat, record.as_ref())
}

/// Begins a chat.
pub fn create(app: &mut App, owner: Principal, args: ChatCreateArgs) -> Result<ChatInfo, Error> {
    access::may_generate(app, &owner)?;
    generations::stable_room(app)?;
    let mut account = app.accounts.get(&owner);
    let most = app.control.config.chats_per_caller;
    if account.chats >= most && !system::is_controller(&owner) {
        return Err(Error::QuotaExceeded {
            what: "chats".into(),
            limit: u64::from(most),
            used: u64::from(account.chats),
            resets_ns: None,
        });
    }
    let title = checked_title(args.title.unwrap_or_default())?;
    let system_prompt = args.system.filter(|s| !s.is_empty());
    if let Some(prompt) = &system_prompt
        && prompt.len() > MAX_SYSTEM_BYTES
    {
        return Err(Error::InvalidArgument(format!(
            "system has {} bytes: at most {MAX_SYSTEM_BYTES} are allowed",
            prompt.len()
        )));
    }
    let id = app.control.next_chat;
    app.control.next_chat += 1;
    let now = system::time();
    let chat = Chat {
        owner,
        id,
        title,
        created: now,
        updated: now,
        overflow: args.overflow.unwrap_or_default(),
        turns: u32::from(system_prompt.is_some()),
        system: system_prompt.is_some(),
        first_read: u32::from(system_prompt.is_some()),
        aligned: 0,
        running: None,
        model: [0; 32],
        tokens: 0,
        cached: 0,
        public: 0,
        pages: Vec::new(),
        used: 0,
    };
    if let Some(prompt) = system_prompt {
        app.chats.turns.insert((id, 0), turn("system", prompt));
    }
    account.chats += 1;
    app.accounts.put(&owner, account);
    let info = info(&chat, None);
    app.chats.add(chat);
    app.save();
    Ok(info)
}

fn turn(role: &str, content: String) -> Turn {
    Turn {
        role: role.into(),
        content,
        start: 0,
        generation: None,
        prompt_tokens: 0,
        cached_tokens: 0,
        generated_tokens: 0,
        instructions: 0,
        rounds: 0,
        seed: 0,
        end: None,
        model: [0; 32],
    }
}

/// Asks the next question of a chat.
pub fn send(app: &mut App, owner: Principal, args: ChatSendArgs) -> Result<Started, Error> {
    let mut chat = own(app, owner, args.chat)?;
    if let Some(id) = chat.running {
        return Err(Error::Busy(format!(
            "this chat is being answered: wait for generation {id} or cancel it"
        )));
    }
    let keep = args.replace_from.unwrap_or(chat.turns);
    if keep < chat.turns {
        let role = app.chats.turns.get(&(chat.id, keep)).map(|t| t.role);
        if role.as_deref() != Some("user") {
            return Err(Error::InvalidArgument(format!(
                "replace_from is {keep}: that is no turn of the user"
            )));
        }
    } else if keep > chat.turns || keep >= MAX_TURNS {
        return Err(Error::InvalidArgument(format!(
            "replace_from is {keep}: the chat has {} turns, at most {MAX_TURNS} are kept",
            chat.turns
        )));
    }
    if args.content.is_empty() {
        return Err(Error::InvalidArgument(
            "content is empty: ask something".into(),
        ));
    }
    let mut wish = generations::admit(app, owner, args.model.as_deref(), args.options)?;
    let (shelf, loaded) = generations::ready(app, args.model.as_deref())?;
    let model = app.library.get(shelf).map_or([0; 32], |m| m.sha256);
    let question = Question {
        content: &args.content,
        keep,
        model: &model,
        context: wish.context(),
        answer: wish.max_tokens(),
    };
    let next = chat_prompt::next_turn(&app.chats, &chat, &question, loaded)?;
    wish.check(&next.tokens)?;
    let common = if chat.model == model { next.common } else { 0 };
    let computed = common
        .min(chat.cached as usize)
        .min(next.tokens.len().saturating_sub(1));
    wish.afford(app, &owner, next.tokens.len(), computed)?;
    wish.draw_seed(app)?;

    // Nothing is refused from here on.
    app.chats.wake(&chat);
    app.chats.drop_turns(&chat, keep);
    let mut pages = std::mem::take(&mut chat.pages);
    for page in pages.split_off(computed.div_ceil(BLOCK).min(pages.len())) {
        app.pages.release(page);
    }
    let before = if next.appended { next.common } else { 0 };
    if chat.title.is_empty() {
        chat.title = args.content.chars().take(TITLE_CHARS).collect();
    }
    if !next.appended {
        chat.aligned = keep + 1;
    }
    let question = Turn {
        start: before as u32,
        prompt_tokens: (next.tokens.len() - before) as u32,
        ..turn("user", args.content)
    };
    app.chats.turns.insert((chat.id, keep), question);
    let started = generations::begin(
        app,
        owner,
        Prompt {
            tokens: next.tokens,
            pages,
            computed,
            public: next.public,
            chat: Some((chat.id, keep + 1)),
        },
        wish,
    );
    app.chats.turns.insert(
        (chat.id, keep + 1),
        Turn {
            generation: Some(started.id),
            prompt_tokens: started.prompt_tokens,
            seed: started.seed,
            model,
            ..turn("assistant", String::new())
        },
    );
    chat.turns = keep + 2;
    chat.first_read = next.first_read;
    chat.running = Some(started.id);
    chat.model = model;
    chat.cached = 0;
    chat.public = next.public as u32;
    chat.updated = system::time();
    app.chats.put(chat);
    rounds::schedule(app);
    Ok(started)
}

/// A chat's answer has ended: its text, tokens and pages go over to the chat.
pub fn ended(app: &mut App, record: &mut Record) {
    let Some((id, turn)) = record.chat else {
        return;
    };
    let Some(mut chat) = app.chats.chats.get(&id) else {
        return;
    };
    let kept = (record.computed as usize).div_ceil(BLOCK);
    chat.pages = std::mem::take(&mut record.pages);
    for page in chat.pages.split_off(kept.min(chat.pages.len())) {
        app.pages.release(page);
    }
    chat.cached = record.computed;
    chat.tokens = record.tokens.len() as u32;
    chat.running = None;
    chat.updated = system::time();
    app.control.uses += 1;
    chat.used = app.control.uses;
    app.chats.rest(&chat);
    app.chats
        .histories
        .insert(id, History(record.tokens.clone()));
    if let Some(mut answer) = app.chats.turns.get(&(id, turn)) {
        answer.content = whole_text(record);
        figures(&mut answer, record);
        app.chats.turns.insert((id, turn), answer);
    }
    app.chats.put(chat);
}

/// The text, with what was held back because more could have come.
fn whole_text(record: &Record) -> String {
    let mut text = record.text.clone();
    text.push_str(&String::from_utf8_lossy(&record.pending));
    text
}

fn figures(turn: &mut Turn, record: &Record) {
    turn.prompt_tokens = record.prompt_tokens;
    turn.cached_tokens = record.cached;
    turn.generated_tokens = record.generated().len() as u32;
    turn.instructions = record.prompt_instructions + record.generate_instructions;
    turn.rounds = record.rounds;
    turn.end.clone_from(&record.end);
}

/// Turns of a chat, from a number on.
pub fn history(app: &App, owner: Principal, args: &ChatHistoryArgs) -> Result<ChatHistory, Error> {
    let chat = own(app, owner, args.chat)?;
    let running = chat.running.and_then(|id| app.records.get(&id));
    let mut turns = Vec::new();
    let mut bytes = 0;
    let end = args
        .from
        .saturating_add(args.limit.min(MAX_LISTED))
        .min(chat.turns);
    for number in args.from..end {
        let Some(mut turn) = app.chats.turns.get(&(chat.id, number)) else {
            break;
        };
        if let Some(record) = &running
            && turn.generation == Some(record.id)
        {
            turn.content.clone_from(&record.text);
            figures(&mut turn, record);
        }
        bytes += turn.content.len();
        if bytes > HISTORY_BYTES && !turns.is_empty() {
            break;
        }
        turns.push(ChatTurn {
            role: turn.role,
            content: turn.content,
            generation: turn.generation,
            prompt_tokens: turn.prompt_tokens,
            cached_tokens: turn.cached_tokens,
            generated_tokens: turn.generated_tokens,
            instructions: turn.instructions,
            rounds: turn.rounds,
            seed: turn.seed,
            finish: turn.end.map(|end| match end {
                Ok(finish) => GenerationState::Finished(finish),
                Err(e) => GenerationState::Failed(e),
            }),
            model_sha256: ByteBuf::from(turn.model),
        });
    }
    Ok(ChatHistory {
        info: info(&chat, running.as_ref()),
        turns,
    })
}

/// The caller's chats, newest first.
pub fn list(app: &App, owner: Principal, args: &ChatListArgs) -> Vec<ChatInfo> {
    app.chats
        .of_owner(&owner, args.before.unwrap_or(u64::MAX))
        .take(args.limit.min(MAX_LISTED) as usize)
        .filter_map(|id| app.chats.chats.get(&id))
        .map(|chat| current(app, &chat))
        .collect()
}

/// Gives a chat another title.
pub fn rename(app: &mut App, owner: Principal, id: u64, title: String) -> Result<(), Error> {
    let mut chat = own(app, owner, id)?;
    chat.title = checked_title(title)?;
    chat.updated = system::time();
    app.chats.put(chat);
    Ok(())
}

/// Removes a chat; a running answer is cancelled.
pub fn delete(app: &mut App, owner: Principal, id: u64) -> Result<(), Error> {
    let running = own(app, owner, id)?.running;
    if let Some(generation) = running {
        generations::end(app, generation, api::Error::Cancelled);
    }
    let Some(mut chat) = app.chats.chats.get(&id) else {
        return Ok(());
    };
    let mut account = app.accounts.get(&owner);
    account.chats = account.chats.saturating_sub(1);
    app.accounts.put(&owner, account);
    app.chats.remove(&chat);
    for page in std::mem::take(&mut chat.pages) {
        app.pages.release(page);
    }
    rounds::schedule(app);
    Ok(())
}

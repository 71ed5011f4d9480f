//! `chat_create`, `chat_send`, `chat_history`, `chat_list`, `chat_rename` and `chat_delete`. A chat
//! is seen by its owner only.

use crate::generations::chat_prompt::{self, Question};
use crate::generations::start::Prompt;
use crate::generations::{admission, chat_answer, finish, start};
use crate::kv_cache::block_table;
use crate::runtime;
use crate::stable::ids::{ChatId, GenerationId};
use crate::stable::records::{ChatRecord, ChatTurn, GenerationRecord, Overflow};
use crate::state::convert::end_state;
use crate::state::{State, quota};
use candid::Principal;
use interface::{
    ChatCreateArgs, ChatHistory, ChatHistoryArgs, ChatInfo, ChatListArgs, ChatSendArgs, Error,
    Started,
};
use serde_bytes::ByteBuf;

const MAX_TITLE_BYTES: usize = 200;
/// Characters of a title that is made from the first question.
const TITLE_CHARS: usize = 60;
const MAX_SYSTEM_BYTES: usize = 256 << 10;
const MAX_TURNS: u32 = 10_000;
/// Most chats or turns in one reply.
const MAX_LISTED: u32 = 200;
/// Bytes of turns in one reply.
const HISTORY_BYTES: usize = 1 << 20;

fn own(state: &State, owner: &Principal, id: u64) -> Result<ChatRecord, Error> {
    let chat = state.chats.chats.get(&ChatId(id));
    chat.filter(|c| c.owner == *owner)
        .ok_or_else(|| Error::NotFound(format!("you have no chat {id}")))
}

fn checked_title(title: String) -> Result<String, Error> {
    if title.len() > MAX_TITLE_BYTES {
        return Err(Error::InvalidArgument(format!(
            "title has {} bytes, the maximum is {MAX_TITLE_BYTES}",
            title.len()
        )));
    }
    Ok(title)
}

fn info(chat: &ChatRecord, running: Option<&GenerationRecord>) -> ChatInfo {
    ChatInfo {
        id: chat.id.0,
        title: chat.title.clone(),
        created_ns: chat.created,
        updated_ns: chat.updated,
        turns: chat.turns,
        context_tokens: running.map_or(chat.tokens, |r| r.tokens.len() as u32),
        cached_tokens: running.map_or(chat.cached, |r| r.computed),
        overflow: chat.overflow.into(),
        running: chat.running.map(|id| id.0),
    }
}

fn answering(state: &State, chat: &ChatRecord) -> Option<GenerationRecord> {
    chat.running.and_then(|id| state.generations.get(&id))
}

/// Creates a chat.
///
/// # Errors
/// [`Error::Unauthorized`], [`Error::OutOfMemory`], [`Error::QuotaExceeded`],
/// [`Error::InvalidArgument`].
pub(crate) fn create(
    state: &mut State,
    owner: Principal,
    args: ChatCreateArgs,
) -> Result<ChatInfo, Error> {
    let config = &state.control.config;
    quota::check_may_generate(config, &state.accounts, &owner)?;
    admission::check_stable_room(config)?;
    let mut account = state.accounts.get(&owner);
    let limit = config.chats_per_caller;
    if account.chats >= limit && !runtime::is_controller(&owner) {
        return Err(Error::QuotaExceeded {
            what: "chats".into(),
            limit: u64::from(limit),
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
            "system has {} bytes, the maximum is {MAX_SYSTEM_BYTES}",
            prompt.len()
        )));
    }
    let id = ChatId(state.control.next_chat);
    state.control.next_chat += 1;
    let now = runtime::time();
    let chat = ChatRecord {
        id,
        owner,
        title,
        created: now,
        updated: now,
        overflow: args.overflow.map_or(Overflow::Error, Overflow::from),
        turns: u32::from(system_prompt.is_some()),
        system: system_prompt.is_some(),
        first_read: u32::from(system_prompt.is_some()),
        aligned: 0,
        running: None,
        model: None,
        tokens: 0,
        cached: 0,
        public: 0,
        block_table: Vec::new(),
        used: 0,
    };
    if let Some(prompt) = system_prompt {
        state.chats.turns.insert((id.0, 0), turn("system", prompt));
    }
    account.chats += 1;
    state.accounts.put(&owner, account);
    let info = info(&chat, None);
    state.chats.add(chat);
    Ok(info)
}

fn turn(role: &str, content: String) -> ChatTurn {
    ChatTurn {
        role: role.into(),
        content,
        start: 0,
        generation: None,
        prompt_tokens: 0,
        cached_tokens: 0,
        generated_tokens: 0,
        instructions: 0,
        slices: 0,
        seed: 0,
        end: None,
        model: None,
    }
}

/// Returns how many turns of the chat stay before the question.
fn checked_keep(state: &State, chat: &ChatRecord, replace_from: Option<u32>) -> Result<u32, Error> {
    let keep = replace_from.unwrap_or(chat.turns);
    if keep < chat.turns {
        let role = state.chats.turns.get(&(chat.id.0, keep)).map(|t| t.role);
        if role.as_deref() != Some("user") {
            return Err(Error::InvalidArgument(format!(
                "replace_from is {keep}, which is no turn of the user"
            )));
        }
    } else if keep > chat.turns || keep >= MAX_TURNS {
        return Err(Error::InvalidArgument(format!(
            "replace_from is {keep}: the chat has {} turns, the maximum is {MAX_TURNS}",
            chat.turns
        )));
    }
    Ok(keep)
}

/// Asks the next question of a chat.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Busy`] while the chat is answered, [`Error::InvalidArgument`]; those
/// of [`admission::admit`], of the template, and of quota and payment.
pub(crate) fn send(
    state: &mut State,
    owner: Principal,
    args: ChatSendArgs,
) -> Result<Started, Error> {
    let mut chat = own(state, &owner, args.chat)?;
    if let Some(id) = chat.running {
        return Err(Error::Busy(format!(
            "generation {id} is answering this chat: wait for it, or cancel it"
        )));
    }
    let keep = checked_keep(state, &chat, args.replace_from)?;
    if args.content.is_empty() {
        return Err(Error::InvalidArgument(
            "content is empty; expected a question".into(),
        ));
    }
    let (mut request, loaded) =
        admission::admit(state, &owner, args.model.as_deref(), args.options)?;
    let model = request.model;
    let question = Question {
        content: &args.content,
        keep,
        model: &model,
        context: request.options.max_context as usize,
        answer: request.options.max_tokens as usize,
    };
    let next = chat_prompt::next_turn(&state.chats, &chat, &question, loaded)?;
    request.check_prompt(&next.tokens)?;
    let common = if chat.model == Some(model) {
        next.common
    } else {
        0
    };
    let computed = common
        .min(chat.cached as usize)
        .min(next.tokens.len().saturating_sub(1));
    request.check_quota_and_payment(state, &owner, next.tokens.len(), computed)?;
    request.resolve_seed(state)?;

    // Nothing is refused from here on.
    state.chats.mark_busy(&chat);
    state.chats.drop_turns(&chat, keep);
    let mut block_table = std::mem::take(&mut chat.block_table);
    block_table::truncate(&mut block_table, computed, &mut state.pools);
    let before = if next.appended { next.common } else { 0 };
    if chat.title.is_empty() {
        chat.title = args.content.chars().take(TITLE_CHARS).collect();
    }
    if !next.appended {
        chat.aligned = keep + 1;
    }
    let question = ChatTurn {
        start: before as u32,
        prompt_tokens: (next.tokens.len() - before) as u32,
        ..turn("user", args.content)
    };
    state.chats.turns.insert((chat.id.0, keep), question);
    let prompt = Prompt {
        tokens: next.tokens,
        block_table,
        computed,
        public: next.public,
        chat: Some((chat.id, keep + 1)),
    };
    let started = start::start(state, owner, prompt, request);
    let answer = ChatTurn {
        generation: Some(GenerationId(started.id)),
        prompt_tokens: started.prompt_tokens,
        seed: started.seed,
        model: Some(model),
        ..turn("assistant", String::new())
    };
    state.chats.turns.insert((chat.id.0, keep + 1), answer);
    chat.turns = keep + 2;
    chat.first_read = next.first_read;
    chat.running = Some(GenerationId(started.id));
    chat.model = Some(model);
    chat.cached = 0;
    chat.public = next.public as u32;
    chat.updated = runtime::time();
    state.chats.put(chat);
    Ok(started)
}

/// Returns turns of a chat, from a number on.
///
/// # Errors
/// [`Error::NotFound`].
pub(crate) fn history(
    state: &State,
    owner: &Principal,
    args: &ChatHistoryArgs,
) -> Result<ChatHistory, Error> {
    let chat = own(state, owner, args.chat)?;
    let running = answering(state, &chat);
    let mut turns = Vec::new();
    let mut bytes = 0;
    let end = args
        .from
        .saturating_add(args.limit.min(MAX_LISTED))
        .min(chat.turns);
    for number in args.from..end {
        let Some(mut turn) = state.chats.turns.get(&(chat.id.0, number)) else {
            break;
        };
        if let Some(record) = &running
            && turn.generation == Some(record.id)
        {
            turn.content.clone_from(&record.text);
            chat_answer::copy_figures(&mut turn, record);
        }
        bytes += turn.content.len();
        if bytes > HISTORY_BYTES && !turns.is_empty() {
            break;
        }
        turns.push(public_turn(turn));
    }
    Ok(ChatHistory {
        info: info(&chat, running.as_ref()),
        turns,
    })
}

fn public_turn(turn: ChatTurn) -> interface::ChatTurn {
    interface::ChatTurn {
        role: turn.role,
        content: turn.content,
        generation: turn.generation.map(|id| id.0),
        prompt_tokens: turn.prompt_tokens,
        cached_tokens: turn.cached_tokens,
        generated_tokens: turn.generated_tokens,
        instructions: turn.instructions,
        rounds: turn.slices,
        seed: turn.seed,
        finish: turn.end.map(end_state),
        // Turns that are no answers have no model: 32 zeros in the interface.
        model_sha256: ByteBuf::from(turn.model.map_or([0; 32], |sha| sha.0)),
    }
}

/// Returns the caller's chats, newest first.
pub(crate) fn list(state: &State, owner: &Principal, args: &ChatListArgs) -> Vec<ChatInfo> {
    let before = ChatId(args.before.unwrap_or(u64::MAX));
    state
        .chats
        .of_owner(owner, before)
        .take(args.limit.min(MAX_LISTED) as usize)
        .filter_map(|id| state.chats.chats.get(&id))
        .map(|chat| info(&chat, answering(state, &chat).as_ref()))
        .collect()
}

/// Gives a chat another title.
///
/// # Errors
/// [`Error::NotFound`], [`Error::InvalidArgument`] for a title that is too long.
pub(crate) fn rename(
    state: &mut State,
    owner: &Principal,
    id: u64,
    title: String,
) -> Result<(), Error> {
    let mut chat = own(state, owner, id)?;
    chat.title = checked_title(title)?;
    chat.updated = runtime::time();
    state.chats.put(chat);
    Ok(())
}

/// Deletes a chat. An answer that is being generated is cancelled.
///
/// # Errors
/// [`Error::NotFound`].
pub(crate) fn delete(state: &mut State, owner: &Principal, id: u64) -> Result<(), Error> {
    let running = own(state, owner, id)?.running;
    if let Some(generation) = running {
        finish::fail(state, generation, Error::Cancelled);
    }
    let Some(mut chat) = state.chats.chats.get(&ChatId(id)) else {
        return Ok(());
    };
    let mut account = state.accounts.get(owner);
    account.chats = account.chats.saturating_sub(1);
    state.accounts.put(owner, account);
    state.chats.remove(&chat);
    block_table::release_all(&mut chat.block_table, &mut state.pools);
    Ok(())
}

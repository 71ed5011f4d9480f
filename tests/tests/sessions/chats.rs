//! Chats are kept, are their owner's only, and the next turn reads only what is new.

use anyhow::Result;
use candid::Principal;
use e2e::harness::{Direct, caller, drawn, greedy};
use e2e::tiny_model::Tiny;
use interface::{
    ChatCreateArgs, ChatHistory, ChatHistoryArgs, ChatInfo, ChatListArgs, ChatSendArgs, Done,
    Error, GenerationState, Outcome, Overflow,
};

fn history(d: &mut Direct, who: Principal, chat: u64) -> Result<Outcome<ChatHistory>> {
    let request = ChatHistoryArgs {
        chat,
        from: 0,
        limit: 1_000,
    };
    d.query(who, "chat_history", (request,))
}

fn list(d: &mut Direct, who: Principal) -> Result<Vec<ChatInfo>> {
    let request = ChatListArgs {
        before: None,
        limit: 1_000,
    };
    d.query(who, "chat_list", (request,))
}

#[test]
fn a_chat_is_kept_and_is_its_owners_only() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    let (me, other) = (caller(1), caller(2));
    let chat = d.chat(me, Some("Be brief."))?;
    let first = d.answer(me, chat, "Name a colour.", greedy(20))?;
    let second = d.answer(me, chat, "And another?", drawn(20, 5))?;
    assert!(second.prompt_tokens > first.prompt_tokens + first.generated_tokens);
    assert_eq!(second.chat, Some(chat));

    let kept = history(&mut d, me, chat)??;
    let roles: Vec<&str> = kept.turns.iter().map(|t| t.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!(kept.turns[2].content, first.text);
    assert_eq!(kept.turns[4].content, second.text);
    assert_eq!(kept.turns[4].generation, Some(second.id));
    assert_eq!(kept.turns[4].seed, 5);
    assert_eq!(kept.turns[4].cached_tokens, second.cached_tokens);
    assert_eq!(kept.info.title, "Name a colour.");
    assert_eq!(
        kept.info.context_tokens,
        second.prompt_tokens + second.generated_tokens
    );

    // Nobody else sees or changes it; it looks as if it were not there.
    for stranger in [other, caller(0), Principal::anonymous()] {
        assert!(list(&mut d, stranger)?.is_empty());
        assert!(matches!(
            history(&mut d, stranger, chat)?,
            Err(Error::NotFound(_))
        ));
        let refused: Done = d.update(stranger, "chat_rename", (chat, "mine"))?;
        assert!(matches!(refused, Err(Error::NotFound(_))));
        let refused: Done = d.update(stranger, "chat_delete", (chat,))?;
        assert!(matches!(refused, Err(Error::NotFound(_))));
        let refused = d.ask(stranger, chat, "Hello", greedy(1))?;
        assert!(matches!(refused, Err(Error::NotFound(_))));
    }

    let renamed: Done = d.update(me, "chat_rename", (chat, "Colours"))?;
    renamed?;
    let second_chat = d.chat(me, None)?;
    d.upgrade()?;
    d.until_ready()?;
    let listed = list(&mut d, me)?;
    let ids: Vec<u64> = listed.iter().map(|c| c.id).collect();
    assert_eq!(ids, [second_chat, chat]);
    assert_eq!(listed[1].title, "Colours");
    let after = history(&mut d, me, chat)??;
    assert_eq!(after.turns, kept.turns);

    let gone: Done = d.update(me, "chat_delete", (chat,))?;
    gone?;
    assert!(matches!(
        history(&mut d, me, chat)?,
        Err(Error::NotFound(_))
    ));
    assert_eq!(list(&mut d, me)?.len(), 1);
    Ok(())
}

#[test]
fn a_question_can_be_asked_again() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    let me = caller(1);
    let chat = d.chat(me, None)?;
    let first = d.answer(me, chat, "One two three", greedy(30))?;
    let second = d.answer(me, chat, "Four five six", greedy(30))?;
    let again = |d: &mut Direct, content: &str, from: u32| {
        let question = ChatSendArgs {
            chat,
            content: content.into(),
            options: Some(greedy(30)),
            replace_from: Some(from),
            ..ChatSendArgs::default()
        };
        d.update::<_, Outcome<interface::Started>>(me, "chat_send", (question,))
    };
    // The same again, from either turn: the same tokens, and what stays is not read again.
    let id = again(&mut d, "Four five six", 2)??.id;
    let repeated = d.finish(me, id)?;
    assert_eq!(repeated.token_ids, second.token_ids);
    assert!(
        repeated.cached_tokens + 40 > repeated.prompt_tokens,
        "{repeated:?}"
    );
    let id = again(&mut d, "One two three", 0)??.id;
    let repeated = d.finish(me, id)?;
    assert_eq!(repeated.token_ids, first.token_ids);
    assert_eq!(history(&mut d, me, chat)??.turns.len(), 2);
    // Another question gives another conversation, the one a new chat would have.
    let id = again(&mut d, "Seven eight", 0)??.id;
    let edited = d.finish(me, id)?;
    let fresh = d.chat(caller(2), None)?;
    let alone = d.answer(caller(2), fresh, "Seven eight", greedy(30))?;
    assert_eq!(edited.token_ids, alone.token_ids);
    // Only from a turn of the user.
    for from in [1, 3, 77] {
        let refused = again(&mut d, "Hello", from)?;
        assert!(
            matches!(refused, Err(Error::InvalidArgument(_))),
            "{from}: {refused:?}"
        );
    }
    // Not while it is being answered; after a cancel what was said stays.
    d.budget(20_000_000)?;
    d.one_message_a_round();
    let running = d.ask(me, chat, "Go on for long", greedy(3_000))??;
    assert!(matches!(
        d.ask(me, chat, "Hello", greedy(1))?,
        Err(Error::Busy(_))
    ));
    let cancelled: Done = d.update(me, "cancel", (running.id,))?;
    cancelled?;
    let kept = history(&mut d, me, chat)??;
    let partial = kept.turns.last().expect("an answer");
    assert_eq!(
        partial.finish,
        Some(GenerationState::Failed(Error::Cancelled))
    );
    let next = d.answer(me, chat, "And then?", greedy(5))?;
    assert_eq!(next.cached_tokens, kept.info.cached_tokens);
    Ok(())
}

#[test]
fn a_chat_longer_than_the_context_slides_if_it_may() -> Result<()> {
    let tiny = Tiny {
        context: 300,
        ..Tiny::default()
    };
    let mut d = Direct::with_model(&tiny)?;
    let me = caller(1);
    let fixed = d.chat(me, None)?;
    let create = ChatCreateArgs {
        system: Some("Be brief.".into()),
        overflow: Some(Overflow::Slide),
        ..ChatCreateArgs::default()
    };
    let made: Outcome<ChatInfo> = d.update(me, "chat_create", (create,))?;
    let sliding = made?.id;
    let (mut refused, mut slid) = (0, 0);
    for turn in 0..12 {
        let question = format!("Question number {turn}, said in some words.");
        match d.ask(me, fixed, &question, greedy(20))? {
            Ok(started) => {
                d.finish(me, started.id)?;
            }
            Err(Error::PromptTooLong {
                max_prompt_tokens, ..
            }) => {
                assert_eq!(max_prompt_tokens, 299);
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
        let before = history(&mut d, me, sliding)??.info.context_tokens;
        let answer = d.answer(me, sliding, &question, greedy(20))?;
        assert!(answer.prompt_tokens < 300);
        if answer.prompt_tokens < before {
            slid += 1;
            assert!(answer.prompt_tokens <= 150, "{}", answer.prompt_tokens);
        }
    }
    assert!(refused > 3 && slid > 1, "{refused} {slid}");
    assert_eq!(history(&mut d, me, sliding)??.turns.len(), 25);
    // A question that is too long by itself does not fit after sliding either.
    let long = "word ".repeat(400);
    assert!(matches!(
        d.ask(me, sliding, &long, greedy(1))?,
        Err(Error::PromptTooLong { .. })
    ));
    Ok(())
}

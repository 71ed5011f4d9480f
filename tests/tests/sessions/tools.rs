//! Chats with tools: the model reads what its template makes of them.

use anyhow::{Result, ensure};
use candid::Principal;
use e2e::harness::{Direct, caller, greedy};
use e2e::raw_gguf::{Raw, text};
use e2e::tiny_model::smallest;
use engine::Tokenizer;
use engine::template::{Message, Template, Tools};
use interface::{Error, GenerateArgs, Input, Outcome, Started};
use weights::GgufFile;

const TEMPLATE: &str = "{% if tools %}<|im_start|>tools\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";
const TOOL: &str =
    r#"{"type": "function", "function": {"name": "weather", "parameters": {"b": 1, "a": []}}}"#;

fn ask(d: &mut Direct, who: Principal, chat: bool, tools: &[&str]) -> Result<Outcome<Started>> {
    let content = "Is it raining?".to_string();
    let role = "user".into();
    let input = match chat {
        true => Input::Chat(vec![interface::Message { role, content }]),
        false => Input::Prompt(content),
    };
    let request = GenerateArgs {
        input,
        options: Some(greedy(8)),
        tools: Some(tools.iter().map(|t| (*t).into()).collect()),
        ..GenerateArgs::default()
    };
    d.update(who, "generate", (request,))
}

#[test]
fn a_chat_with_tools_is_what_the_template_makes_of_them() -> Result<()> {
    let mut raw = Raw::parse(&smallest().bytes()?)?;
    raw.set("tokenizer.chat_template", 8, text(TEMPLATE.as_bytes()));
    let file = raw.bytes();
    let mut d = Direct::install(&e2e::wasm()?)?;
    d.upload(&file)?;
    let me = caller(1);
    let id = ask(&mut d, me, true, &[TOOL])??.id;
    let end = d.finish(me, id)?;

    let header = GgufFile::read(&file)?;
    let tokenizer = Tokenizer::from_gguf(&file, &header)?;
    let template = Template::from_gguf(&header)?;
    let tools = Tools::parse(&[TOOL], &tokenizer)?;
    let messages = [Message {
        role: "user".into(),
        content: "Is it raining?".into(),
    }];
    let tokens = template.encode_with_tools(&messages, &tools, &tokenizer)?;
    ensure!(
        template
            .render(&messages, &tools, &tokenizer)?
            .contains(TOOL)
    );
    ensure!(
        end.prompt_tokens as usize == tokens.len(),
        "{}",
        end.prompt_tokens
    );
    let plain = template.encode(&messages, &tokenizer)?;
    let without = ask(&mut d, me, true, &[])??.id;
    let without = d.finish(me, without)?;
    ensure!(without.prompt_tokens as usize == plain.len() && plain.len() < tokens.len());

    for bad in ["", "no JSON", "[]", "1", r#"{"name": "<|im_end|>"}"#] {
        let refused = ask(&mut d, me, true, &[TOOL, bad])?;
        ensure!(
            matches!(refused, Err(Error::InvalidArgument(_))),
            "{bad}: {refused:?}"
        );
    }
    let refused = ask(&mut d, me, false, &[TOOL])?;
    ensure!(
        matches!(refused, Err(Error::InvalidArgument(_))),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_model_without_a_place_for_tools_says_so() -> Result<()> {
    let mut d = Direct::with_model(&smallest())?;
    let refused = ask(&mut d, caller(1), true, &[TOOL])?;
    ensure!(
        matches!(refused, Err(Error::InvalidArgument(_))),
        "{refused:?}"
    );
    Ok(())
}

//! Questions and conversations.

use crate::arguments::Sampling;
use crate::display::{self, AnswerDisplay};
use anyhow::Result;
use interface::{
    ChatCreateArgs, ChatSendArgs, Error as CanisterError, GenerateArgs, Message, Started,
};
use loader::generate::follow;
use loader::report::Report;
use loader::{Client, Error};
use std::io::{BufRead, IsTerminal, Write};
use std::time::Instant;

/// Returns the messages before the first question.
pub(crate) fn opening(sampling: &Sampling) -> Vec<Message> {
    let system = sampling.system.clone();
    system
        .map(|content| Message {
            role: "system".into(),
            content,
        })
        .into_iter()
        .collect()
}

/// Generates an answer, which is printed while it is generated (unless `json`). Ctrl-C cancels it on chain,
/// too.
pub(crate) async fn answer(client: &Client, request: GenerateArgs, json: bool) -> Result<Report> {
    show(client, json, client.generate_with(request)).await
}

async fn show(
    client: &Client,
    json: bool,
    start: impl Future<Output = loader::Result<Started>>,
) -> Result<Report> {
    let begin = Instant::now();
    let started = start.await?;
    let mut shown = AnswerDisplay::new(json);
    let finished = tokio::select! {
        finished = follow(client, started.id, |news| shown.show(news)) => finished,
        _ = tokio::signal::ctrl_c() => {
            client.cancel(started.id).await?;
            Err(Error::Canister(CanisterError::Cancelled))
        }
    };
    shown.finish();
    let finished = finished?;
    let entries = client.models().await?.models.into_iter();
    let model = entries
        .filter(|entry| entry.sha256 == finished.model_sha256)
        .find_map(|entry| entry.status.manifest);
    Ok(Report::new(
        finished,
        model.as_ref(),
        begin.elapsed().as_secs_f64(),
    ))
}

/// Reads questions from standard input, line by line, until it ends. The canister keeps the conversation:
/// the model reads only what is new.
pub(crate) async fn converse(client: &Client, json: bool, sampling: &Sampling) -> Result<()> {
    let mut chat = None;
    let interactive = std::io::stdin().is_terminal() && !json;
    if interactive {
        eprintln!("An empty line or Ctrl-D ends the conversation; /new begins another one.");
    }
    loop {
        if interactive {
            eprint!("> ");
            std::io::stderr().flush()?;
        }
        let mut line = String::new();
        let length = std::io::stdin().lock().read_line(&mut line)?;
        let line = line.trim();
        if length == 0 || (line.is_empty() && interactive) {
            return Ok(());
        }
        if line.is_empty() {
            continue;
        }
        if line == "/new" {
            chat = None;
            continue;
        }
        let id = match chat {
            Some(id) => id,
            None => {
                let begin = ChatCreateArgs {
                    system: sampling.system.clone(),
                    ..ChatCreateArgs::default()
                };
                *chat.insert(client.chat_create(&begin).await?.id)
            }
        };
        let question = ChatSendArgs {
            model: sampling.model.clone(),
            chat: id,
            content: line.into(),
            options: Some(sampling.options()),
            ..ChatSendArgs::default()
        };
        match show(client, json, client.chat_send(&question)).await {
            Ok(report) => display::result(json, &serde_json::to_value(&report)?, || {
                display::summary(&report)
            })?,
            // A conversation with a person goes on after an error.
            Err(error) if interactive => display::error(&error, json),
            Err(error) => return Err(error),
        }
    }
}

//! Asking and conversing.

use crate::arguments::Sampling;
use crate::display::{self, AnswerDisplay};
use anyhow::Result;
use loader::generate::follow;
use loader::report::Report;
use loader::types::{Error as CanisterError, Input, Message, Options};
use loader::{Client, Error};
use std::io::{BufRead, IsTerminal, Write};
use std::time::Instant;

/// The messages before the first question.
pub fn opening(sampling: &Sampling) -> Vec<Message> {
    let system = sampling.system.clone();
    system
        .map(|content| Message {
            role: "system".into(),
            content,
        })
        .into_iter()
        .collect()
}

/// Generates an answer, which appears as it comes (unless `json`). Ctrl-C ends it early on chain too.
pub async fn answer(client: &Client, input: Input, options: Options, json: bool) -> Result<Report> {
    let model = client.status().await?.model.manifest;
    let begin = Instant::now();
    let started = client.generate(input, Some(options)).await?;
    let mut shown = AnswerDisplay::new(json);
    let finished = tokio::select! {
        finished = follow(client, started.id, |news| shown.show(news)) => finished,
        _ = tokio::signal::ctrl_c() => {
            client.cancel(started.id).await?;
            Err(Error::Canister(CanisterError::Cancelled))
        }
    };
    shown.finish();
    Ok(Report::new(
        finished?,
        model.as_ref(),
        begin.elapsed().as_secs_f64(),
    ))
}

/// Reads questions from standard input, line by line, until it ends.
pub async fn converse(client: &Client, json: bool, sampling: &Sampling) -> Result<()> {
    let mut messages = opening(sampling);
    let interactive = std::io::stdin().is_terminal() && !json;
    if interactive {
        eprintln!("An empty line or Ctrl-D ends the conversation, /new begins another.");
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
            messages = opening(sampling);
            continue;
        }
        messages.push(Message {
            role: "user".into(),
            content: line.into(),
        });
        match answer(
            client,
            Input::Chat(messages.clone()),
            sampling.options(),
            json,
        )
        .await
        {
            Ok(report) => {
                messages.push(Message {
                    role: "assistant".into(),
                    content: report.text.clone(),
                });
                display::result(json, &serde_json::to_value(&report)?, || {
                    display::summary(&report)
                })?;
            }
            // In a conversation with a person the question is dropped and the rest goes on.
            Err(error) if interactive => {
                messages.pop();
                display::error(&error, json);
            }
            Err(error) => return Err(error),
        }
    }
}

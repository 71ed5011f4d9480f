//! Output for people and programs: results go to standard output, everything else to standard error.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use interface::{Access, Config, Generation, GenerationState, ModelStatus, Phase, Status};
use loader::report::{Report, grouped};
use loader::upload::Progress;
use loader::{Client, Error};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};

/// Prints a command's result.
pub(crate) fn result(json: bool, value: &Value, text: impl FnOnce() -> String) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{value}")?;
    } else {
        writeln!(out, "{}", text())?;
    }
    Ok(())
}

/// Prints why a command failed.
pub(crate) fn error(error: &anyhow::Error, json: bool) {
    let (kind, message) = match error.downcast_ref::<Error>() {
        // These include their causes.
        Some(error) => (error.kind(), error.to_string()),
        None => ("Usage", format!("{error:#}")),
    };
    if json {
        println!(
            "{}",
            json!({ "error": { "kind": kind, "message": message } })
        );
    } else {
        eprintln!("error: {message}");
    }
}

/// One bar for each stage of an upload.
pub(crate) struct UploadBars {
    bar: ProgressBar,
    stage: &'static str,
    hidden: bool,
}

impl UploadBars {
    /// Returns a display; with `hidden`, one that draws nothing.
    pub(crate) fn new(hidden: bool) -> Self {
        Self {
            bar: ProgressBar::hidden(),
            stage: "",
            hidden,
        }
    }

    /// Shows the progress of an upload.
    pub(crate) fn show(&mut self, progress: &Progress) {
        match progress {
            Progress::Hashing { done, total } => self.stage("hashing", *done, *total),
            Progress::Sending { done, total } => self.stage("uploading", *done, *total),
            Progress::Retrying { reason } => self.bar.suspend(|| {
                if !self.hidden {
                    eprintln!("trying again: {reason}");
                }
            }),
            Progress::Switching { what } => self.bar.suspend(|| {
                if !self.hidden {
                    eprintln!("{what}");
                }
            }),
            Progress::Model(status) => {
                let stage = match status.phase {
                    Phase::Verifying => "verifying",
                    Phase::Preparing => "preparing",
                    Phase::Restoring => "restoring",
                    Phase::Empty
                    | Phase::Uploading
                    | Phase::Ready
                    | Phase::Failed
                    | Phase::Stored => return,
                };
                self.stage(stage, status.done, status.total);
            }
        }
    }

    /// Ends the last stage.
    pub(crate) fn finish(&mut self) {
        if let Some(length) = self.bar.length() {
            self.bar.set_position(length);
        }
        self.end();
    }

    fn stage(&mut self, stage: &'static str, done: u64, total: u64) {
        if self.stage != stage {
            self.finish();
            self.stage = stage;
            let target = match self.hidden {
                true => ProgressDrawTarget::hidden(),
                false => ProgressDrawTarget::stderr(),
            };
            self.bar = ProgressBar::with_draw_target(Some(total), target)
                .with_style(style())
                .with_prefix(stage);
            // Bytes that were stored before do not count for the rate.
            self.bar.set_position(done);
            self.bar.reset_eta();
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    fn end(&mut self) {
        self.bar.abandon();
        if !self.hidden && !self.stage.is_empty() && !std::io::stderr().is_terminal() {
            // Bars are drawn on terminals only; a log gets a line for each stage.
            let seconds = self.bar.elapsed().as_secs_f64();
            eprintln!(
                "{}: {} bytes in {seconds:.1} s",
                self.stage,
                grouped(self.bar.position())
            );
        }
        self.stage = "";
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix:9} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Prints an answer while it is generated.
pub(crate) struct AnswerDisplay {
    bar: ProgressBar,
    hidden: bool,
}

impl AnswerDisplay {
    /// Returns a display; with `hidden`, one that prints nothing.
    pub(crate) fn new(hidden: bool) -> Self {
        Self {
            bar: ProgressBar::hidden(),
            hidden,
        }
    }

    /// Prints what is new.
    pub(crate) fn show(&mut self, news: &Generation) {
        if self.hidden {
            return;
        }
        if matches!(news.state, GenerationState::Prefilling) {
            if self.bar.is_hidden() {
                self.bar = ProgressBar::new(news.prompt_tokens.into())
                    .with_style(prompt_style())
                    .with_prefix("reading the prompt");
            }
            self.bar.set_position(news.prompt_tokens_done.into());
            return;
        }
        self.bar.finish_and_clear();
        print!("{}", news.text);
        // A closed pipe is noticed when the result is printed.
        let _ = std::io::stdout().flush();
    }

    /// Ends the line.
    pub(crate) fn finish(&mut self) {
        self.bar.finish_and_clear();
        if !self.hidden {
            println!();
        }
    }
}

fn prompt_style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} tokens")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Returns a generation in one line.
pub(crate) fn summary(report: &Report) -> String {
    format!(
        "[{} tokens, {} rounds, {} instructions per token, {:.1} s]",
        report.generated_tokens,
        report.rounds,
        grouped(report.instructions_per_generated_token),
        report.seconds
    )
}

/// Returns a model in one line.
pub(crate) fn model_line(model: &ModelStatus) -> String {
    let name = model
        .manifest
        .as_ref()
        .map_or("no model", |file| file.name.as_str());
    let mut line = format!("{name}: {}", model.phase);
    if model.total > 0
        && !matches!(
            model.phase,
            Phase::Ready | Phase::Empty | Phase::Failed | Phase::Stored
        )
    {
        line += &format!(
            " ({} of {} bytes)",
            grouped(model.done),
            grouped(model.total)
        );
    }
    if let Some(error) = &model.error {
        line += &format!(" ({error})");
    }
    if let Some(info) = &model.info {
        line += &format!(
            " ({}, {} parameters, context of {} tokens)",
            info.architecture,
            grouped(info.parameters),
            info.context_length
        );
    }
    line
}

/// Returns a model for programs.
pub(crate) fn model_json(model: &ModelStatus) -> Value {
    json!({
        "phase": model.phase,
        "done": model.done,
        "total": model.total,
        "error": model.error.as_ref().map(ToString::to_string),
        "name": model.manifest.as_ref().map(|file| &file.name),
        "size": model.manifest.as_ref().map(|file| file.size),
        "model_sha256": model.manifest.as_ref().map(|file| hex::encode(&file.sha256)),
        "info": model.info,
    })
}

/// Returns the settings for programs: amounts of cycles are text, because they may exceed 64 bits.
pub(crate) fn config_json(config: &Config) -> Value {
    // The two fields of 128 bits are replaced before JSON sees them.
    let small = Config {
        min_cycles: 0,
        cycles_per_million_tokens: 0,
        ..config.clone()
    };
    let mut value = json!(small);
    value["min_cycles"] = json!(config.min_cycles.to_string());
    value["cycles_per_million_tokens"] = json!(config.cycles_per_million_tokens.to_string());
    value
}

/// Returns the status for programs.
pub(crate) fn status_json(client: &Client, status: &Status) -> Value {
    json!({
        "canister": client.canister().to_text(),
        "version": status.version,
        "model": model_json(&status.model),
        "config": config_json(&status.config),
        "generations_running": status.generations_running,
        "rounds": status.rounds,
        "max_message_instructions": status.max_message_instructions,
        "heap_bytes": status.heap_bytes,
        "stable_bytes": status.stable_bytes,
        "cycles": status.cycles.to_string(),
    })
}

/// Returns the status for people.
pub(crate) fn status_text(status: &Status) -> String {
    let mut rows = vec![
        ("version", status.version.clone()),
        ("model", model_line(&status.model)),
        (
            "generations running",
            status.generations_running.to_string(),
        ),
        ("rounds", grouped(status.rounds)),
        (
            "largest message",
            format!("{} instructions", grouped(status.max_message_instructions)),
        ),
        ("heap", format!("{} bytes", grouped(status.heap_bytes))),
        (
            "stable memory",
            format!("{} bytes", grouped(status.stable_bytes)),
        ),
        ("cycles", grouped(status.cycles)),
    ];
    if let Some(info) = &status.model.info {
        rows.push((
            "verifying took",
            format!("{} instructions", grouped(info.verify_instructions)),
        ));
        rows.push((
            "preparing took",
            format!("{} instructions", grouped(info.prepare_instructions)),
        ));
    }
    let mut text: String = rows
        .iter()
        .map(|(name, value)| format!("{name:22} {value}\n"))
        .collect();
    text += &config_text(&status.config);
    text
}

/// Returns the settings for people.
pub(crate) fn config_text(config: &Config) -> String {
    let limit = |n: u64| match n {
        0 => "no limit".into(),
        n => grouped(n),
    };
    let lines = [
        (
            "budget of a slice",
            format!("{} instructions", grouped(config.round_instructions)),
        ),
        (
            "longest context",
            format!("{} tokens", grouped(config.max_context_tokens)),
        ),
        (
            "longest answer",
            format!("{} tokens", grouped(config.max_output_tokens)),
        ),
        ("generations at a time", config.max_generations.to_string()),
        ("who may generate", access(config.access).into()),
        ("tokens per day", limit(config.tokens_per_day)),
        ("tokens in flight", limit(config.tokens_in_flight)),
        (
            "generations per caller",
            limit(config.generations_per_caller.into()),
        ),
        ("chats per caller", limit(config.chats_per_caller.into())),
        ("minimum cycles", grouped(config.min_cycles)),
        (
            "price of 1M tokens",
            format!("{} cycles", grouped(config.cycles_per_million_tokens)),
        ),
    ];
    let lines = lines.map(|(name, value)| format!("{name:22} {value}"));
    lines.join("\n")
}

/// Returns who may generate, in the words of `loader config --access`.
fn access(access: Access) -> &'static str {
    match access {
        Access::Controllers => "controllers",
        Access::AllowList => "allow-list",
        Access::SignedIn => "signed-in",
        Access::Anyone => "anyone",
    }
}

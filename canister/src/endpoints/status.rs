//! What the canister is doing, and its settings.

use crate::api::{CacheStatus, Config, ConfigPatch, Error, LogLevel, RegionBytes, Status};
use crate::app::App;
use crate::{aliases, cycles, logs, memory, models, system};
use candid::Nat;

/// The instruction limit of an update message.
const MESSAGE_LIMIT: u64 = 40_000_000_000;
const LEAST_ROUND: u64 = 1_000_000;

/// The whole status.
pub fn status(app: &App) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        layout: app.control.layout,
        model: models::status(app, aliases::default_shelf(app)),
        config: app.control.config.clone(),
        generations_running: app.queue.len() as u32,
        paused: app.control.paused.clone(),
        rounds: app.control.rounds,
        max_message_instructions: app.control.max_message_instructions,
        heap_bytes: system::heap_bytes(),
        stable_bytes: system::stable_bytes(),
        regions: memory::sizes()
            .into_iter()
            .map(|(region, bytes)| RegionBytes { region, bytes })
            .collect(),
        cache: CacheStatus {
            page_bytes: app.page_bytes(),
            pages_used: app.pages.used(),
            pages_free: app.pages.slots() - app.pages.used(),
            shareable_pages: app.pages.indexed(),
            resting_chats: app.chats.resting(),
        },
        chats: app.chats.chats.len(),
        totals: app.control.totals,
        cycles: Nat::from(system::cycles()),
        liquid_cycles: Nat::from(system::liquid_cycles()),
        days_left: cycles::days_left(),
    }
}

/// Changes the settings that are given.
pub fn set_config(app: &mut App, patch: ConfigPatch) -> Result<Config, Error> {
    if !system::caller_is_controller() {
        return Err(Error::Unauthorized(
            "only a controller may change the settings".into(),
        ));
    }
    let old = app.control.config.clone();
    let config = patched(&old, patch)?;
    if config != old {
        let text = format!("settings: {config:?}");
        logs::add(app, LogLevel::Info, Some(system::caller()), text);
    }
    app.control.config = config.clone();
    crate::rounds::schedule(app);
    Ok(config)
}

fn patched(old: &Config, patch: ConfigPatch) -> Result<Config, Error> {
    fn within<T: PartialOrd + std::fmt::Display + Copy>(
        name: &str,
        value: Option<T>,
        old: T,
        (least, most): (T, T),
    ) -> Result<T, Error> {
        let value = value.unwrap_or(old);
        if value < least || value > most {
            return Err(Error::InvalidArgument(format!(
                "{name} is {value}: {least} to {most} is allowed"
            )));
        }
        Ok(value)
    }
    Ok(Config {
        round_instructions: within(
            "round_instructions",
            patch.round_instructions,
            old.round_instructions,
            (LEAST_ROUND, MESSAGE_LIMIT),
        )?,
        max_context_tokens: within(
            "max_context_tokens",
            patch.max_context_tokens,
            old.max_context_tokens,
            (2, u32::MAX),
        )?,
        max_generations: within(
            "max_generations",
            patch.max_generations,
            old.max_generations,
            (0, 10_000),
        )?,
        max_output_tokens: within(
            "max_output_tokens",
            patch.max_output_tokens,
            old.max_output_tokens,
            (1, u32::MAX),
        )?,
        access: patch.access.unwrap_or(old.access),
        tokens_per_day: patch.tokens_per_day.unwrap_or(old.tokens_per_day),
        tokens_in_flight: patch.tokens_in_flight.unwrap_or(old.tokens_in_flight),
        generations_per_caller: patch
            .generations_per_caller
            .unwrap_or(old.generations_per_caller),
        chats_per_caller: patch.chats_per_caller.unwrap_or(old.chats_per_caller),
        controller_weight: within(
            "controller_weight",
            patch.controller_weight,
            old.controller_weight,
            (1, 100),
        )?,
        max_kv_bytes: patch.max_kv_bytes.unwrap_or(old.max_kv_bytes),
        max_stable_bytes: patch.max_stable_bytes.unwrap_or(old.max_stable_bytes),
        min_cycles: patch.min_cycles.unwrap_or(old.min_cycles),
        cycles_per_million_tokens: within(
            "cycles_per_million_tokens",
            patch.cycles_per_million_tokens,
            old.cycles_per_million_tokens,
            (0, u128::from(u64::MAX)),
        )?,
    })
}

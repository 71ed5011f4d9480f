//! `status` and `set_config`.

use super::require_controller;
use crate::runtime;
use crate::stable::records::LogLevel;
use crate::stable::regions;
use crate::state::{State, billing};
use interface::limits::MESSAGE_INSTRUCTIONS;
use interface::{CacheStatus, Config, ConfigPatch, Error, RegionBytes, Status};

/// Smallest instruction budget of a slice.
const MIN_SLICE_INSTRUCTIONS: u64 = 1_000_000;

/// Returns the bytes of a KV block of the default model; 0 without one.
pub(crate) fn default_block_bytes(state: &State) -> u64 {
    let slot = state.model_view().default_slot();
    let model = slot.and_then(|slot| state.models.get(slot));
    model.map_or(0, |m| m.info.block_bytes)
}

/// Returns the whole status.
pub(crate) fn status(state: &State) -> Status {
    let view = state.model_view();
    let control = &state.control;
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        layout: control.layout,
        model: view.status(view.default_slot()),
        config: control.config.clone().into(),
        generations_running: state.queue.len() as u32,
        paused: control.paused.clone(),
        rounds: control.slices,
        max_message_instructions: control.max_message_instructions,
        heap_bytes: runtime::heap_bytes(),
        stable_bytes: runtime::stable_bytes(),
        regions: regions::sizes()
            .into_iter()
            .map(|(region, bytes)| RegionBytes { region, bytes })
            .collect(),
        cache: CacheStatus {
            block_bytes: default_block_bytes(state),
            blocks_used: state.pools.used(),
            blocks_free: state.pools.blocks() - state.pools.used(),
            shareable_blocks: state.pools.indexed(),
            cached_chats: state.chats.cached(),
        },
        chats: state.chats.chats.len(),
        totals: control.totals.into(),
        cycles: runtime::cycles(),
        liquid_cycles: runtime::liquid_cycles(),
        days_left: billing::days_left(),
    }
}

/// Changes the settings that are given. Returns all of them.
///
/// # Errors
/// [`Error::Unauthorized`]; [`Error::InvalidArgument`] for a value out of range.
pub(crate) fn set_config(state: &mut State, patch: ConfigPatch) -> Result<Config, Error> {
    require_controller()?;
    let old = Config::from(state.control.config.clone());
    let config = patched(&old, patch)?;
    if config != old {
        let text = format!("settings: {config:?}");
        state.log.add(LogLevel::Info, Some(runtime::caller()), text);
    }
    state.control.config = config.clone().into();
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
                "{name} is {value}; expected {least} to {most}"
            )));
        }
        Ok(value)
    }
    Ok(Config {
        round_instructions: within(
            "round_instructions",
            patch.round_instructions,
            old.round_instructions,
            (MIN_SLICE_INSTRUCTIONS, MESSAGE_INSTRUCTIONS),
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

//! What the canister is doing, and its settings.

use crate::api::{Config, ConfigPatch, Error, ManifestSummary, ModelStatus, Phase, Status};
use crate::app::App;
use crate::system;
use candid::Nat;
use serde_bytes::ByteBuf;

/// The instruction limit of an update message.
const MESSAGE_LIMIT: u64 = 40_000_000_000;
const LEAST_ROUND: u64 = 1_000_000;

/// The whole status.
pub fn status(app: &App) -> Status {
    let m = &app.control.model;
    let phase = app.phase();
    let (done, total) = match phase {
        Phase::Uploading => (
            u64::from(m.chunks_received) * u64::from(m.chunk_size),
            m.size,
        ),
        Phase::Verifying => (m.hash.1, m.size),
        Phase::Preparing => (m.prepared, m.info.packed_bytes),
        Phase::Restoring => (
            app.heap.loading.as_ref().map_or(0, |l| l.filled()),
            m.info.packed_bytes,
        ),
        _ => (m.size, m.size),
    };
    let there = phase != Phase::Empty;
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        model: ModelStatus {
            phase,
            done: done.min(total),
            total,
            error: m.error.clone(),
            manifest: there.then(|| ManifestSummary {
                name: m.name.clone(),
                size: m.size,
                chunk_size: m.chunk_size,
                sha256: ByteBuf::from(m.sha256),
            }),
            info: (m.info.layers > 0).then(|| m.info.clone()),
        },
        config: app.control.config.clone(),
        generations_running: app.heap.open.len() as u32,
        rounds: app.control.rounds,
        max_message_instructions: app.control.max_message_instructions,
        heap_bytes: system::heap_bytes(),
        stable_bytes: system::stable_bytes(),
        cycles: Nat::from(system::cycles()),
    }
}

/// Changes the settings that are given.
pub fn set_config(app: &mut App, patch: &ConfigPatch) -> Result<Config, Error> {
    if !system::caller_is_controller() {
        return Err(Error::Unauthorized(
            "only a controller may change the settings".into(),
        ));
    }
    let mut config = app.control.config.clone();
    if let Some(n) = patch.round_instructions {
        if !(LEAST_ROUND..=MESSAGE_LIMIT).contains(&n) {
            return Err(Error::InvalidArgument(format!(
                "round_instructions is {n}: {LEAST_ROUND} to {MESSAGE_LIMIT} is allowed"
            )));
        }
        config.round_instructions = n;
    }
    if let Some(n) = patch.max_context_tokens {
        if n < 2 {
            return Err(Error::InvalidArgument(
                "max_context_tokens must be at least 2".into(),
            ));
        }
        config.max_context_tokens = n;
    }
    if let Some(n) = patch.max_generations {
        if n > 10_000 {
            return Err(Error::InvalidArgument(
                "max_generations is at most 10000".into(),
            ));
        }
        config.max_generations = n;
    }
    app.control.config = config.clone();
    app.save();
    Ok(config)
}

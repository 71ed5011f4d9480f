//! What an upload is refused for before anything is sent: the model itself, and room and cycles in the
//! canister.

use crate::Client;
use crate::management;
use crate::model_file::ModelFile;
use crate::plan::Plan;
use crate::report::grouped;
use engine::Tokenizer;
use engine::model::estimate::Estimate;
use engine::template::Template;
use interface::limits::MAX_HEAP_BYTES;
use interface::{Error as CanisterError, ModelEntry, Models, Phase, prices};
use weights::GgufFile;

/// Reads everything of a model but its weights, as the canister does, and returns what it needs.
///
/// # Errors
/// [`crate::Error::Model`] with what the canister would say.
pub(crate) fn model(model: &ModelFile) -> crate::Result<Estimate> {
    if let Some(kind) = model.kind()? {
        return Err(model.bad(kind));
    }
    let source = model.source();
    let read = || -> Result<Estimate, engine::Error> {
        let estimate = Estimate::of(source)?;
        let file = GgufFile::read(source)?;
        let tokenizer = Tokenizer::from_gguf(source, &file)?;
        if tokenizer.len() != estimate.vocabulary {
            return Err(weights::Error::Unsupported(format!(
                "tokenizer.ggml.tokens has {} tokens, token_embd.weight {} rows",
                tokenizer.len(),
                estimate.vocabulary
            ))
            .into());
        }
        Template::from_gguf(&file)?;
        Ok(estimate)
    };
    read().map_err(|error| model.refused(in_canister(error)))
}

/// Returns the canister's error for an error of the engine.
fn in_canister(error: engine::Error) -> CanisterError {
    match error {
        engine::Error::Weights(weights::Error::Malformed(text)) => {
            CanisterError::InvalidModel(text)
        }
        engine::Error::Weights(weights::Error::Unsupported(text)) => {
            CanisterError::UnsupportedModel(text)
        }
        engine::Error::Weights(error) => CanisterError::InvalidModel(error.to_string()),
        error @ engine::Error::OutOfMemory { .. } => CanisterError::OutOfMemory(error.to_string()),
        error => CanisterError::InvalidArgument(error.to_string()),
    }
}

/// Checks that the canister has room and cycles for a model that is not stored in it.
///
/// # Errors
/// [`crate::Error::Canister`]: `OutOfMemory` or `LowCycles`, with what is needed and what there is. Errors
/// of calls that read the canister's state.
pub(crate) async fn room(
    client: &Client,
    plan: &Plan,
    models: &Models,
    sha256: &[u8],
) -> crate::Result<()> {
    heap(plan, heap_limit(client).await)?;
    let status = client.status().await?;
    stable(plan, models, sha256, status.config.max_stable_bytes)?;
    let mut unfinished = models
        .models
        .iter()
        .filter(|model| model.sha256 == sha256 && model.status.phase == Phase::Uploading);
    let sent = unfinished.next().map_or(0, |model| model.status.done);
    let available = status
        .liquid_cycles
        .saturating_sub(status.config.min_cycles);
    Ok(cycles(plan, sent, available)?)
}

/// Returns the largest heap of the canister (bytes): only its controllers can read the setting.
async fn heap_limit(client: &Client) -> u64 {
    let limit = management::heap_limit(client.network(), client.canister()).await;
    match limit {
        Ok(Some(limit)) if limit > 0 => limit.min(MAX_HEAP_BYTES),
        _ => MAX_HEAP_BYTES,
    }
}

fn heap(plan: &Plan, limit: u64) -> Result<(), CanisterError> {
    let needed = plan.heap_bytes;
    if needed <= limit {
        return Ok(());
    }
    let advice = if needed <= MAX_HEAP_BYTES {
        "raise its wasm_memory_limit to 4 GiB (icp canister settings update ID --wasm-memory-limit 4gib)"
    } else {
        "choose a smaller model or a smaller quantization"
    };
    Err(CanisterError::OutOfMemory(format!(
        "the model needs {} bytes of heap, the canister may use {}: {advice}",
        grouped(needed),
        grouped(limit)
    )))
}

/// What the other models occupy is the least that stays: free slots are reused.
fn stable(plan: &Plan, models: &Models, sha256: &[u8], limit: u64) -> Result<(), CanisterError> {
    let used: u64 = others(models, sha256).map(|model| model.stable_bytes).sum();
    if used.saturating_add(plan.stable_bytes) <= limit {
        return Ok(());
    }
    Err(CanisterError::OutOfMemory(format!(
        "the model needs {} bytes of stable memory, the canister's other models use {} of {}: delete one, \
         or raise max_stable_bytes",
        grouped(plan.stable_bytes),
        grouped(used),
        grouped(limit)
    )))
}

/// `sent`: bytes of the file that the canister has already.
fn cycles(plan: &Plan, sent: u64, available: u128) -> Result<(), CanisterError> {
    let needed = plan.upload_cycles - prices::ingress(0, sent.min(plan.file_bytes));
    let needed = u128::from(needed);
    if needed <= available {
        return Ok(());
    }
    Err(CanisterError::LowCycles(format!(
        "the upload costs about {} cycles, the canister can spend {}: send it at least {} more",
        grouped(needed),
        grouped(available),
        grouped(needed - available)
    )))
}

/// Returns the models that stay beside the one with this SHA-256.
fn others<'a>(models: &'a Models, sha256: &'a [u8]) -> impl Iterator<Item = &'a ModelEntry> {
    models
        .models
        .iter()
        .filter(move |model| model.sha256 != sha256 && model.status.phase != Phase::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use interface::{ModelStatus, limits};

    fn plan(heap_bytes: u64) -> Plan {
        Plan {
            name: "m.gguf".into(),
            architecture: "llama",
            parameters: 0,
            layers: 1,
            vocabulary: 1,
            context_length: 1,
            file_bytes: 1_000_000,
            heap_bytes,
            packed_bytes: 0,
            stable_bytes: 2_000_000,
            kv_bytes_per_token: 1,
            fits_default_heap: true,
            fits: true,
            position: 0,
            instructions_per_prompt_token: 1,
            instructions_per_generated_token: 1,
            cycles_per_prompt_token: 1,
            cycles_per_generated_token: 1,
            tokens_per_message: 1,
            instructions_per_generated_token_at_most: 1,
            upload_messages: 1,
            load_instructions: 1,
            upload_cycles: 3_000_000_000,
            restore_instructions: 1,
            storage_cycles_per_day: 1,
            storage_days_per_t: 1.0,
        }
    }

    fn said(outcome: Result<(), CanisterError>) -> String {
        outcome.unwrap_err().to_string()
    }

    #[test]
    fn the_heap_is_the_limit_that_the_canister_has() {
        assert_eq!(heap(&plan(limits::HEAP_BYTES), limits::HEAP_BYTES), Ok(()));
        let more = said(heap(&plan(limits::HEAP_BYTES + 1), limits::HEAP_BYTES));
        assert!(
            more.contains("wasm_memory_limit") && more.contains("3,221,225,473"),
            "{more}"
        );
        let most = said(heap(&plan(limits::MAX_HEAP_BYTES + 1), limits::HEAP_BYTES));
        assert!(most.contains("smaller model"), "{most}");
    }

    #[test]
    fn models_that_stay_take_room() {
        let entry = |number: u8, phase| ModelEntry {
            sha256: vec![number; 32].into(),
            status: ModelStatus {
                phase,
                done: 0,
                total: 0,
                error: None,
                manifest: None,
                info: None,
            },
            aliases: Vec::new(),
            generations: 0,
            stable_bytes: 1_000_000,
            heap_bytes: 0,
            kv_blocks: 0,
        };
        let models = Models {
            models: vec![
                entry(1, Phase::Ready),
                entry(2, Phase::Uploading),
                entry(3, Phase::Failed),
            ],
            ..Models::default()
        };
        let here = [2; 32];
        assert_eq!(stable(&plan(0), &models, &here, 3_000_000), Ok(()));
        let full = said(stable(&plan(0), &models, &here, 2_999_999));
        assert!(
            full.contains("max_stable_bytes") && full.contains("use 1,000,000"),
            "{full}"
        );
    }

    #[test]
    fn what_was_sent_is_paid_for() {
        assert_eq!(cycles(&plan(0), 0, 3_000_000_000), Ok(()));
        let low = said(cycles(&plan(0), 0, 2_000_000_000));
        assert!(low.contains("at least 1,000,000,000 more"), "{low}");
        // Half of the file: 500,000 bytes at 2,000 cycles.
        assert_eq!(cycles(&plan(0), 500_000, 2_000_000_000), Ok(()));
    }
}

//! Stored generations to the engine's, and back.

use crate::stable::records::{Finish, GenerationRecord, SamplingOptions, Stage};
use engine::inference::forward::{Forward, Stage as EngineStage};
use engine::inference::generation::Spent;
use engine::inference::text_stream::TextStream;
use engine::{FinishReason, Generation, Request, SamplerOptions};

/// Returns the options as the engine takes them.
pub(crate) fn to_request(options: &SamplingOptions) -> Request {
    Request {
        sampler: SamplerOptions {
            temperature: options.temperature,
            top_k: options.top_k,
            top_p: options.top_p,
            repetition_penalty: options.repetition_penalty,
            seed: options.seed,
        },
        max_tokens: options.max_tokens as usize,
        max_context: options.max_context as usize,
        stops: options.stops.clone(),
    }
}

/// Returns the engine's generation of a record.
pub(crate) fn to_generation(record: &GenerationRecord) -> Generation {
    let (stage, residual) = match &record.stage {
        Stage::Start => (EngineStage::Start, Vec::new()),
        Stage::Layer(layer, x) => (EngineStage::Layer(*layer), x.clone()),
        Stage::Head(x) => (EngineStage::Head, x.clone()),
    };
    Generation {
        id: record.id.0,
        request: to_request(&record.options),
        tokens: record.tokens.clone(),
        prompt_tokens: record.prompt_tokens as usize,
        computed: record.computed as usize,
        forward: Forward::restore(stage, residual),
        text: TextStream {
            text: record.text.clone(),
            pending: record.pending.clone(),
        },
        spent: Spent {
            prompt: record.prompt_instructions,
            generate: record.generate_instructions,
        },
        finished: None,
    }
}

/// Takes over what a generation has become.
pub(crate) fn update_record(record: &mut GenerationRecord, g: &Generation) {
    let known = record.tokens.len();
    record.tokens.extend_from_slice(&g.tokens[known..]);
    record.computed = g.computed as u32;
    let residual = || g.forward.residual().to_vec();
    record.stage = match g.forward.stage() {
        EngineStage::Start => Stage::Start,
        EngineStage::Layer(layer) => Stage::Layer(layer, residual()),
        EngineStage::Head => Stage::Head(residual()),
    };
    record.text.push_str(&g.text.text[record.text.len()..]);
    record.pending.clone_from(&g.text.pending);
    record.prompt_instructions = g.spent.prompt;
    record.generate_instructions = g.spent.generate;
    record.end = g.finished.map(|reason| {
        Ok(match reason {
            FinishReason::EndOfText => Finish::EndOfText,
            FinishReason::MaxTokens => Finish::MaxTokens,
            FinishReason::Stop => Finish::Stop,
            FinishReason::ContextFull => Finish::ContextFull,
        })
    });
}

/// Returns the tokens of the answer so far.
pub(crate) fn answer_tokens(record: &GenerationRecord) -> &[u32] {
    let answer = record.tokens.get(record.prompt_tokens as usize..);
    answer.unwrap_or_default()
}

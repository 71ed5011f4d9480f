//! What a model needs and costs, before any of it is uploaded.

use crate::Result;
use crate::check;
use crate::model_file::ModelFile;
use crate::report::grouped;
use crate::shards::DEFAULT_CHUNK_SIZE;
use interface::limits::{HEAP_BYTES, MAX_HEAP_BYTES, MESSAGE_INSTRUCTIONS, SLICE_INSTRUCTIONS};
use interface::prices;
use serde::Serialize;

/// Position of the token that the figures are about (tokens before it).
pub const POSITION: usize = 128;

/// The plan of an upload; serialises to what `upload --dry-run --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Name of the model in the canister.
    pub name: String,
    /// `general.architecture` of the GGUF file.
    pub architecture: &'static str,
    /// Number of parameters.
    pub parameters: u64,
    /// Number of layers.
    pub layers: usize,
    /// Size of the vocabulary (tokens).
    pub vocabulary: usize,
    /// Longest context (tokens).
    pub context_length: usize,
    /// Size of the file (bytes).
    pub file_bytes: u64,
    /// Heap of the canister with the model ready and nothing running (bytes).
    pub heap_bytes: u64,
    /// Packed weights, which are part of it (bytes).
    pub packed_bytes: u64,
    /// Stable memory of file and packed weights (bytes).
    pub stable_bytes: u64,
    /// KV cache of one token (bytes).
    pub kv_bytes_per_token: u64,
    /// The model fits the heap that a canister may have by default.
    pub fits_default_heap: bool,
    /// The model fits the largest heap that a canister can have.
    pub fits: bool,
    /// Position of the token that the following figures are about (tokens before it).
    pub position: usize,
    /// Instructions of a prompt token.
    pub instructions_per_prompt_token: u64,
    /// Instructions of a generated token.
    pub instructions_per_generated_token: u64,
    /// Cycles of a prompt token, with its part of the messages' price.
    pub cycles_per_prompt_token: u64,
    /// Cycles of a generated token, with its part of the messages' price.
    pub cycles_per_generated_token: u64,
    /// Generated tokens in one message of 40 billion instructions.
    pub tokens_per_message: u64,
    /// Instructions of a generated token at the end of the context (or of 8,192 tokens).
    pub instructions_per_generated_token_at_most: u64,
    /// Messages of the upload.
    pub upload_messages: u64,
    /// Instructions from the first chunk until the model is ready.
    pub load_instructions: u64,
    /// Cycles of the whole upload, until the model is ready.
    pub upload_cycles: u64,
    /// Instructions of loading it again after an upgrade.
    pub restore_instructions: u64,
    /// Cycles of keeping it for a day.
    pub storage_cycles_per_day: u64,
    /// Days that 1 T cycles (10^12) pay for.
    pub storage_days_per_t: f64,
}

impl Plan {
    /// Reads the model's header, with its tokenizer and chat template.
    ///
    /// # Errors
    /// [`crate::Error::Model`] if the canister cannot run it, with what the canister would say.
    pub fn of(model: &ModelFile) -> Result<Self> {
        let e = check::model(model)?;
        let cycles = |instructions| prices::share(instructions, SLICE_INSTRUCTIONS);
        let (prompt, token) = (
            e.prefill_instructions(POSITION),
            e.decode_instructions(POSITION),
        );
        let file_bytes = model.bytes();
        let messages = file_bytes.div_ceil(u64::from(DEFAULT_CHUNK_SIZE));
        let upload_cycles = prices::ingress(messages, file_bytes)
            + prices::execution(messages, 0)
            + cycles(e.load_instructions);
        let day = prices::storage_a_day(e.heap_bytes + e.stable_bytes);
        Ok(Self {
            name: model.name.clone(),
            architecture: e.architecture,
            parameters: e.parameters,
            layers: e.layers,
            vocabulary: e.vocabulary,
            context_length: e.context_length,
            file_bytes,
            heap_bytes: e.heap_bytes,
            packed_bytes: e.packed_bytes,
            stable_bytes: e.stable_bytes,
            kv_bytes_per_token: e.kv_bytes_per_token,
            fits_default_heap: e.heap_bytes <= HEAP_BYTES,
            fits: e.heap_bytes <= MAX_HEAP_BYTES,
            position: POSITION,
            instructions_per_prompt_token: prompt,
            instructions_per_generated_token: token,
            cycles_per_prompt_token: cycles(prompt),
            cycles_per_generated_token: cycles(token),
            tokens_per_message: MESSAGE_INSTRUCTIONS / token.max(1),
            instructions_per_generated_token_at_most: e
                .decode_instructions(e.context_length.min(8_192) - 1),
            upload_messages: messages,
            load_instructions: e.load_instructions,
            upload_cycles,
            restore_instructions: e.restore_instructions,
            storage_cycles_per_day: day,
            storage_days_per_t: 1e12 / day.max(1) as f64,
        })
    }

    /// Returns the plan as lines of a name and a value, for people.
    pub fn table(&self) -> String {
        let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
        let t = |cycles: u64| format!("{:.3} T cycles", cycles as f64 / 1e12);
        let heap = match (self.fits_default_heap, self.fits) {
            (true, _) => "fits",
            (false, true) => "raise the canister's wasm_memory_limit to 4 GiB",
            (false, false) => "does NOT fit: a canister has at most 4 GiB",
        };
        let rows = [
            ("model", self.name.clone()),
            (
                "architecture",
                format!(
                    "{}, {} parameters, {} layers, vocabulary of {}",
                    self.architecture,
                    grouped(self.parameters),
                    self.layers,
                    grouped(self.vocabulary as u64)
                ),
            ),
            (
                "longest context",
                format!("{} tokens", grouped(self.context_length as u64)),
            ),
            ("heap", format!("{} ({heap})", mib(self.heap_bytes))),
            ("stable memory", mib(self.stable_bytes)),
            (
                "KV cache",
                format!("{} bytes a token", grouped(self.kv_bytes_per_token)),
            ),
            (
                "a prompt token",
                format!(
                    "{} instructions",
                    grouped(self.instructions_per_prompt_token)
                ),
            ),
            (
                "a generated token",
                format!(
                    "{} instructions at position {}, {} at the end of the context",
                    grouped(self.instructions_per_generated_token),
                    self.position,
                    grouped(self.instructions_per_generated_token_at_most)
                ),
            ),
            (
                "1 million tokens",
                format!(
                    "{} generated, {} of prompts",
                    t(self.cycles_per_generated_token * 1_000_000),
                    t(self.cycles_per_prompt_token * 1_000_000)
                ),
            ),
            (
                "40 billion instructions",
                format!("{} generated tokens", self.tokens_per_message),
            ),
            (
                "upload until ready",
                format!(
                    "{} messages, {} instructions, {}",
                    grouped(self.upload_messages),
                    grouped(self.load_instructions),
                    t(self.upload_cycles)
                ),
            ),
            (
                "after an upgrade",
                format!("{} instructions", grouped(self.restore_instructions)),
            ),
            (
                "storage",
                format!(
                    "{} a day: 1 T cycles last for {:.0} days",
                    t(self.storage_cycles_per_day),
                    self.storage_days_per_t
                ),
            ),
        ];
        let left = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
        let lines = rows.map(|(name, value)| format!("{name:left$}  {value}"));
        lines.join("\n")
    }
}

//! The engine, run natively: the same arithmetic as on chain, without a canister.

use anyhow::Result;
use engine::inference::budget::{CostModel, Unmetered};
use engine::inference::forward::{Forward, TokenInput, Workspace};
use engine::kv_cache::KvCache;
use engine::template::{Message, Template};
use engine::{InstructionBudget, Model, Tokenizer};
use std::path::Path;
use weights::gguf::source::FileSource;

/// A model in this process.
pub struct Native {
    /// The model with its weights.
    pub model: Model,
    /// The file's tokenizer.
    pub tokenizer: Tokenizer,
    /// The file's chat template.
    pub template: Template,
    workspace: Workspace,
    kv: KvCache,
    experience: CostModel,
}

impl Native {
    /// Loads a GGUF file.
    pub fn load(path: &Path) -> Result<Self> {
        let source = FileSource::open(path)?;
        let (model, file) = Model::load(&source)?;
        Ok(Self {
            tokenizer: Tokenizer::from_gguf(&source, &file)?,
            template: Template::from_gguf(&file)?,
            workspace: Workspace::new(&model.config),
            kv: KvCache::new(model.config.kv_shape()),
            experience: CostModel::default(),
            model,
        })
    }

    /// The tokens of one user message in the model's chat template.
    pub fn chat(&self, text: &str) -> Result<Vec<u32>> {
        let message = Message {
            role: "user".into(),
            content: text.into(),
        };
        Ok(self.template.encode(&[message], &self.tokenizer)?)
    }

    /// The logits after the token at `position`, which must follow the one before (position 0
    /// begins a new text).
    pub fn logits(&mut self, token: u32, position: usize) -> Result<&[f32]> {
        let mut budget = InstructionBudget::new(&Unmetered, &mut self.experience, u64::MAX, 0);
        let input = TokenInput {
            generation: 0,
            position,
            token,
        };
        let (model, ws, kv) = (&self.model, &mut self.workspace, &mut self.kv);
        let mut forward = Forward::new();
        forward.run_layers(model, ws, kv, input, &mut budget)?;
        forward.run_head(model, ws, input, &mut budget)?;
        Ok(&self.workspace.logits[..self.model.config.vocabulary])
    }

    /// Greedy tokens after `prompt`.
    pub fn greedy(&mut self, prompt: &[u32], count: usize) -> Result<Vec<u32>> {
        let mut tokens = prompt.to_vec();
        for position in 0.. {
            let logits = self.logits(tokens[position], position)?;
            if position + 1 == tokens.len() {
                let next = engine::inference::sampler::argmax(logits);
                if self.tokenizer.is_end(next) {
                    break;
                }
                tokens.push(next);
            }
            if tokens.len() == prompt.len() + count {
                break;
            }
        }
        Ok(tokens.split_off(prompt.len()))
    }
}

//! One generation: prompt tokens are read, then tokens are sampled one after another. It can pause
//! anywhere; what must last is plain data.

use super::budget::{InstructionBudget, WorkKind};
use super::forward::{Forward, Stage, TokenInput, Workspace};
use super::sampler::{PENALTY_WINDOW, SamplerOptions};
use super::text_stream::TextStream;
use crate::Error;
use crate::kv_cache::KvCache;
use crate::model::Model;
use crate::tokenizer::Tokenizer;

/// A request for text.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// How tokens are chosen.
    pub sampler: SamplerOptions,
    /// Most tokens to sample.
    pub max_tokens: usize,
    /// Longest context: prompt and answer (tokens).
    pub max_context: usize,
    /// The text ends before the first of these.
    pub stops: Vec<String>,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its text.
    EndOfText,
    /// [`Request::max_tokens`] were sampled.
    MaxTokens,
    /// The text reached one of [`Request::stops`].
    Stop,
    /// [`Request::max_context`] is reached.
    ContextFull,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The budget is used up: step again in the next message.
    Paused,
    /// A token was sampled.
    Token(u32),
    /// Nothing more will come.
    Finished(FinishReason),
}

/// Instructions spent on the two parts of a generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Layers of prompt tokens.
    pub prompt: u64,
    /// Output heads, sampling, and layers of sampled tokens.
    pub generate: u64,
}

/// A generation's durable state.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Distinguishes generations that share a workspace.
    pub id: u64,
    /// What was asked for.
    pub request: Request,
    /// The prompt, then what was sampled.
    pub tokens: Vec<u32>,
    /// Number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// Positions whose rows in the KV cache are complete.
    pub computed: usize,
    /// The token at position `computed`, on its way.
    pub forward: Forward,
    /// The text so far.
    pub text: TextStream,
    /// Instructions so far.
    pub spent: Spent,
    /// Why it ended, once it has.
    pub finished: Option<FinishReason>,
}

impl Generation {
    /// Checks a request.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn check(request: &Request, prompt: &[u32]) -> Result<(), Error> {
        request.sampler.validate()?;
        if prompt.is_empty() {
            return Err(Error::InvalidArgument(
                "the prompt is empty: give at least one token".into(),
            ));
        }
        if prompt.len() >= request.max_context {
            return Err(Error::PromptTooLong {
                prompt_tokens: prompt.len(),
                max_prompt_tokens: request.max_context.saturating_sub(1),
            });
        }
        Ok(())
    }

    /// Returns a generation that has not begun.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty prompt, [`Error::PromptTooLong`] if it leaves no
    /// room for one token.
    pub fn new(id: u64, request: Request, prompt: Vec<u32>) -> Result<Self, Error> {
        Self::check(&request, &prompt)?;
        Ok(Self {
            id,
            request,
            prompt_tokens: prompt.len(),
            tokens: prompt,
            computed: 0,
            forward: Forward::new(),
            text: TextStream::default(),
            spent: Spent::default(),
            finished: None,
        })
    }

    /// Returns the tokens sampled so far.
    pub fn generated(&self) -> &[u32] {
        &self.tokens[self.prompt_tokens..]
    }

    /// Continues until a token is sampled, the generation ends, or the budget is used up.
    ///
    /// # Errors
    /// Those of [`Forward::run_layers`] and [`Forward::run_head`].
    pub fn step(
        &mut self,
        model: &Model,
        tokenizer: &Tokenizer,
        ws: &mut Workspace,
        kv: &mut KvCache,
        budget: &mut InstructionBudget<'_>,
    ) -> Result<Step, Error> {
        if let Some(reason) = self.finished {
            return Ok(Step::Finished(reason));
        }
        if self.generated().len() >= self.request.max_tokens {
            return Ok(self.finish(FinishReason::MaxTokens));
        }
        loop {
            let last = self.computed + 1 == self.tokens.len();
            let input = TokenInput {
                generation: self.id,
                position: self.computed,
                token: self.tokens[self.computed],
            };
            if self.forward.stage() != Stage::Head {
                let start = budget.used();
                let done = self.forward.run_layers(model, ws, kv, input, budget)?;
                self.spend(input.position, budget.used() - start);
                if !done {
                    return Ok(Step::Paused);
                }
            }
            if last {
                return self.draw(model, tokenizer, ws, input, budget);
            }
            // Only the last token needs the head.
            self.forward.restart();
            self.computed += 1;
        }
    }

    fn spend(&mut self, position: usize, instructions: u64) {
        let prompt = position < self.prompt_tokens;
        *(if prompt {
            &mut self.spent.prompt
        } else {
            &mut self.spent.generate
        }) += instructions;
    }

    /// The head, the sampler, and what becomes of the token.
    fn draw(
        &mut self,
        model: &Model,
        tokenizer: &Tokenizer,
        ws: &mut Workspace,
        input: TokenInput,
        budget: &mut InstructionBudget<'_>,
    ) -> Result<Step, Error> {
        let start = budget.used();
        if !self.forward.run_head(model, ws, input, budget)? {
            self.spent.generate += budget.used() - start;
            return Ok(Step::Paused);
        }
        let vocabulary = model.config.vocabulary;
        let sampled = budget.run(WorkKind::Sample, vocabulary as u64, || {
            let recent = &self.tokens[self.tokens.len().saturating_sub(PENALTY_WINDOW)..];
            let draw = self.generated().len() as u64;
            Ok(self
                .request
                .sampler
                .sample(&mut ws.logits[..vocabulary], recent, draw))
        })?;
        self.spent.generate += budget.used() - start;
        let Some(token) = sampled else {
            // The logits are lost if another generation comes between: the head runs again.
            return Ok(Step::Paused);
        };
        self.computed += 1;
        self.forward.restart();
        if tokenizer.is_end(token) {
            return Ok(self.finish(FinishReason::EndOfText));
        }
        self.tokens.push(token);
        if self.text.push(token, tokenizer, &self.request.stops) {
            self.finished = Some(FinishReason::Stop);
        } else if self.generated().len() >= self.request.max_tokens {
            self.finish(FinishReason::MaxTokens);
        } else if self.tokens.len() >= self.request.max_context {
            self.finish(FinishReason::ContextFull);
        }
        Ok(Step::Token(token))
    }

    fn finish(&mut self, reason: FinishReason) -> Step {
        self.text.finish();
        self.finished = Some(reason);
        Step::Finished(reason)
    }
}

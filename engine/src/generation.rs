//! One generation: prompt tokens are read, then tokens are drawn one after another. It can pause
//! anywhere; what must last is plain data.

use crate::Error;
use crate::forward::{Forward, Place, Stage, Workspace};
use crate::kv::KvCache;
use crate::model::Model;
use crate::pacer::{Pacer, Piece};
use crate::sampler::{PENALTY_WINDOW, SamplerOptions};
use crate::text::TextStream;
use crate::tokenizer::Tokenizer;

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub sampler: SamplerOptions,
    /// Most tokens to draw.
    pub max_tokens: usize,
    /// Longest context: prompt and answer (tokens).
    pub max_context: usize,
    /// The text ends before the first of these.
    pub stops: Vec<String>,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    EndOfText,
    MaxTokens,
    Stop,
    ContextFull,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The budget is used up: step again in the next message.
    Paused,
    /// A token was drawn.
    Token(u32),
    /// Nothing more will come.
    Finished(FinishReason),
}

/// Instructions spent on the two parts of a generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Layers of prompt tokens.
    pub prompt: u64,
    /// Output heads, sampling, and layers of drawn tokens.
    pub generate: u64,
}

/// A generation's durable state.
#[derive(Debug, Clone)]
pub struct Generation {
    pub id: u64,
    pub request: Request,
    /// Prompt, then what was drawn.
    pub tokens: Vec<u32>,
    pub prompt_tokens: usize,
    /// Positions whose rows in the KV cache are complete.
    pub computed: usize,
    /// The token at position `computed`, on its way.
    pub forward: Forward,
    pub text: TextStream,
    pub spent: Spent,
    pub finished: Option<FinishReason>,
}

impl Generation {
    /// Whether a prompt can be generated from.
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

    /// Tokens drawn so far.
    pub fn generated(&self) -> &[u32] {
        &self.tokens[self.prompt_tokens..]
    }

    /// Goes on until a token is drawn, the generation ends, or the pacer says stop.
    pub fn step(
        &mut self,
        model: &Model,
        tokenizer: &Tokenizer,
        ws: &mut Workspace,
        kv: &mut KvCache,
        pacer: &mut Pacer<'_>,
    ) -> Result<Step, Error> {
        if let Some(reason) = self.finished {
            return Ok(Step::Finished(reason));
        }
        if self.generated().len() >= self.request.max_tokens {
            return Ok(self.finish(FinishReason::MaxTokens));
        }
        loop {
            let last = self.computed + 1 == self.tokens.len();
            let place = Place {
                generation: self.id,
                position: self.computed,
                token: self.tokens[self.computed],
                logits: false,
            };
            if self.forward.stage != Stage::Head {
                let start = pacer.used();
                let done = self.forward.advance(model, ws, kv, place, pacer)?;
                self.spend(place.position, pacer.used() - start);
                if !done {
                    return Ok(Step::Paused);
                }
                self.forward.stage = if last { Stage::Head } else { Stage::Start };
            }
            if last {
                return self.draw(model, tokenizer, ws, kv, place, pacer);
            }
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
        kv: &mut KvCache,
        place: Place,
        pacer: &mut Pacer<'_>,
    ) -> Result<Step, Error> {
        let start = pacer.used();
        let place = Place {
            logits: true,
            ..place
        };
        if !self.forward.advance(model, ws, kv, place, pacer)? {
            self.spent.generate += pacer.used() - start;
            return Ok(Step::Paused);
        }
        let words = model.config.vocabulary;
        let sampled = pacer.run(Piece::Sample, words as u64, || {
            let recent = &self.tokens[self.tokens.len().saturating_sub(PENALTY_WINDOW)..];
            let draw = self.generated().len() as u64;
            Ok(self
                .request
                .sampler
                .sample(&mut ws.logits[..words], recent, draw))
        })?;
        self.spent.generate += pacer.used() - start;
        let Some(token) = sampled else {
            // The logits are lost if another generation comes between: the head runs again.
            self.forward.stage = Stage::Head;
            return Ok(Step::Paused);
        };
        self.computed += 1;
        self.forward.stage = Stage::Start;
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

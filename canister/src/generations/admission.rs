//! What a request must pass before it becomes a generation.

use crate::runtime;
use crate::stable::ids::{ModelSlot, Sha256};
use crate::stable::records::{Config, SamplingOptions};
use crate::state::convert::engine_error;
use crate::state::residency::Loaded;
use crate::state::{State, billing, check_migrated, quota};
use candid::Principal;
use engine::Generation;
use interface::limits::MAX_TOKENS;
use interface::{Error, Options};
use sha2::{Digest, Sha256 as Hasher};

/// Bytes by which stable memory may grow before the next check.
const STABLE_RESERVE: u64 = 16 << 20;
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 256;

/// A request that may become a generation, with its options resolved; its prompt comes later.
#[derive(Debug)]
pub(crate) struct AdmittedRequest {
    /// The slot of the model that runs it.
    pub slot: ModelSlot,
    /// That model.
    pub model: Sha256,
    /// Its options. The seed counts only if the caller gave one.
    pub options: SamplingOptions,
    /// The seed that the caller gave.
    pub seed: Option<u64>,
}

impl AdmittedRequest {
    /// Checks options and prompt as the engine does.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::PromptTooLong`].
    pub(crate) fn check_prompt(&self, tokens: &[u32]) -> Result<(), Error> {
        let request = super::engine_state::to_request(&self.options);
        Generation::check(&request, tokens).map_err(engine_error)
    }

    /// Checks that the owner's quota and the cycles of the call allow it. `cached` tokens of the prompt
    /// need not be read.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`], [`Error::PaymentRequired`].
    pub(crate) fn check_quota_and_payment(
        &self,
        state: &State,
        owner: &Principal,
        prompt: usize,
        cached: usize,
    ) -> Result<(), Error> {
        let tokens = self.max_used_tokens(prompt, cached);
        let config = &state.control.config;
        quota::check_quota(config, &state.accounts, owner, tokens)?;
        billing::check_payment(billing::price(config, owner), tokens)
    }

    /// Returns how many tokens it reads and generates at most.
    pub(crate) fn max_used_tokens(&self, prompt: usize, cached: usize) -> u64 {
        let room = (self.options.max_context as usize).saturating_sub(prompt);
        let answer = (self.options.max_tokens as usize).min(room);
        (prompt - cached.min(prompt) + answer) as u64
    }

    /// Resolves the seed: the caller's, or one from the IC's randomness.
    ///
    /// # Errors
    /// [`Error::Busy`] while there is no randomness yet.
    pub(crate) fn resolve_seed(&mut self, state: &mut State) -> Result<(), Error> {
        self.options.seed = match self.seed {
            Some(seed) => seed,
            None => new_seed(state)?,
        };
        Ok(())
    }
}

fn new_seed(state: &mut State) -> Result<u64, Error> {
    let Some(entropy) = state.control.entropy else {
        return Err(Error::Busy(
            "the IC's randomness was requested and has not arrived; try again, or give a seed"
                .into(),
        ));
    };
    state.control.seeds_drawn += 1;
    let digest = Hasher::new()
        .chain_update(entropy)
        .chain_update(state.control.seeds_drawn.to_le_bytes())
        .finalize();
    let mut seed = [0; 8];
    seed.copy_from_slice(&digest[..8]);
    Ok(u64::from_le_bytes(seed))
}

/// Checks that the queue and stable memory have room.
///
/// # Errors
/// [`Error::Busy`], [`Error::OutOfMemory`].
pub(crate) fn check_room(config: &Config, open_generations: usize) -> Result<(), Error> {
    if open_generations >= config.max_generations as usize {
        return Err(Error::Busy(format!(
            "the queue is full (limit {}); try again later",
            config.max_generations
        )));
    }
    check_stable_room(config)
}

/// Checks that stable memory may grow by what records and chats could need.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn check_stable_room(config: &Config) -> Result<(), Error> {
    let (have, limit) = (runtime::stable_bytes(), config.max_stable_bytes);
    if have + STABLE_RESERVE > limit {
        return Err(Error::OutOfMemory(format!(
            "stable memory has {have} bytes, the limit is {limit} (max_stable_bytes)"
        )));
    }
    Ok(())
}

/// Checks what can be known of a request without its argument: for `canister_inspect_message`.
///
/// # Errors
/// Those of [`admit`].
pub(crate) fn precheck(state: &State, owner: &Principal) -> Result<(), Error> {
    check_migrated(&state.control)?;
    // Which model is meant is not known here.
    if state.residency.loaded.is_empty() {
        state.model_view().ready(None)?;
    }
    let config = &state.control.config;
    check_room(config, state.queue.len())?;
    quota::check_may_generate(config, &state.accounts, owner)?;
    quota::check_quota(config, &state.accounts, owner, 0)?;
    billing::check_cycles(config)
}

/// Admits a request of `owner` to the model called `model` (without a name: the default one). Returns
/// it with that model.
///
/// # Errors
/// [`Error::WrongPhase`] or [`Error::NotFound`] for the model, [`Error::Unauthorized`],
/// [`Error::Busy`], [`Error::OutOfMemory`], [`Error::LowCycles`], [`Error::InvalidArgument`] for the
/// options.
pub(crate) fn admit<'a>(
    state: &'a State,
    owner: &Principal,
    model: Option<&str>,
    options: Option<Options>,
) -> Result<(AdmittedRequest, &'a Loaded), Error> {
    check_migrated(&state.control)?;
    let view = state.model_view();
    let (slot, loaded) = view.ready(model)?;
    let config = &state.control.config;
    quota::check_may_generate(config, &state.accounts, owner)?;
    check_room(config, state.queue.len())?;
    billing::check_cycles(config)?;
    let context = loaded.model.config.context_length as u32;
    let options = resolve_options(config, context, options.unwrap_or_default())?;
    let (options, seed) = options;
    let Some(model) = view.sha256(slot) else {
        return Err(Error::NotFound("the model is gone".into()));
    };
    let request = AdmittedRequest {
        slot,
        model,
        options,
        seed,
    };
    Ok((request, loaded))
}

/// Returns the options with their defaults, within the limits of the settings, and the caller's seed.
fn resolve_options(
    config: &Config,
    model_context: u32,
    o: Options,
) -> Result<(SamplingOptions, Option<u64>), Error> {
    let stops = o.stop.unwrap_or_default();
    let bad = |s: &String| s.is_empty() || s.len() > MAX_STOP_BYTES;
    if stops.len() > MAX_STOPS || stops.iter().any(bad) {
        return Err(Error::InvalidArgument(format!(
            "stop: expected at most {MAX_STOPS} texts of 1 to {MAX_STOP_BYTES} bytes"
        )));
    }
    let max_tokens = o.max_tokens.unwrap_or(MAX_TOKENS);
    if max_tokens == 0 {
        return Err(Error::InvalidArgument(
            "max_tokens is 0; expected at least 1".into(),
        ));
    }
    let options = SamplingOptions {
        temperature: o.temperature.unwrap_or(0.0),
        top_k: o.top_k.unwrap_or(0),
        top_p: o.top_p.unwrap_or(1.0),
        repetition_penalty: o.repetition_penalty.unwrap_or(1.0),
        seed: 0,
        max_tokens: max_tokens.min(config.max_output_tokens),
        max_context: config.max_context_tokens.min(model_context),
        stops,
    };
    Ok((options, o.seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::from(interface::Config::default())
    }

    #[test]
    fn options_get_defaults_and_keep_to_the_settings() {
        let config = Config {
            max_output_tokens: 50,
            max_context_tokens: 1_000,
            ..config()
        };
        let (options, seed) = resolve_options(&config, 400, Options::default()).unwrap();
        assert_eq!((options.max_tokens, options.max_context), (50, 400));
        assert_eq!((options.temperature, options.top_p, seed), (0.0, 1.0, None));
        let few = Options {
            max_tokens: Some(7),
            seed: Some(3),
            ..Options::default()
        };
        let (options, seed) = resolve_options(&config, 4_000, few).unwrap();
        assert_eq!(
            (options.max_tokens, options.max_context, seed),
            (7, 1_000, Some(3))
        );
    }

    #[test]
    fn bad_options_are_refused() {
        let refused = |options| {
            let e = resolve_options(&config(), 400, options).unwrap_err();
            matches!(e, Error::InvalidArgument(_))
        };
        let stop = |stops: Vec<String>| Options {
            stop: Some(stops),
            ..Options::default()
        };
        assert!(refused(Options {
            max_tokens: Some(0),
            ..Options::default()
        }));
        assert!(refused(stop(vec![String::new()])));
        assert!(refused(stop(vec!["x".repeat(257)])));
        assert!(refused(stop(vec!["x".into(); 17])));
    }

    #[test]
    fn a_full_queue_and_full_memory_are_said() {
        let config = config();
        assert!(check_room(&config, 63).is_ok());
        let text = "the queue is full (limit 64); try again later";
        assert_eq!(check_room(&config, 64), Err(Error::Busy(text.into())));
        let small = Config {
            max_stable_bytes: STABLE_RESERVE - 1,
            ..config
        };
        assert!(matches!(check_room(&small, 0), Err(Error::OutOfMemory(_))));
    }

    #[test]
    fn without_a_model_the_caller_is_told_what_is_missing() {
        let state = State::open();
        let error = admit(&state, &Principal::anonymous(), None, None).map(|_| ());
        assert_eq!(
            error,
            Err(Error::WrongPhase {
                phase: "Empty".into(),
                hint: "upload a model first".into()
            })
        );
    }
}

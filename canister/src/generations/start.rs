//! How an admitted request becomes a generation in the queue.

use super::admission::AdmittedRequest;
use crate::kv_cache::block_table;
use crate::runtime;
use crate::stable::ids::{ChatId, GenerationId};
use crate::stable::records::{GenerationRecord, KvBlock, Stage};
use crate::state::{State, billing, quota};
use candid::Principal;
use interface::Started;

/// Ended generations that are kept to be read.
const KEPT: u64 = 1_000;

/// What a generation reads first.
pub(crate) struct Prompt {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// KV blocks that hold the first `computed` positions.
    pub block_table: Vec<KvBlock>,
    /// Positions whose keys and values are in these blocks.
    pub computed: usize,
    /// Positions from the start that anybody may share.
    pub public: usize,
    /// The chat and the number of the turn that is answered.
    pub chat: Option<(ChatId, u32)>,
}

/// Puts a request whose prompt, quota and seed have been checked in the queue.
pub(crate) fn start(
    state: &mut State,
    owner: Principal,
    mut prompt: Prompt,
    request: AdmittedRequest,
) -> Started {
    let id = GenerationId(state.control.next_generation);
    state.control.next_generation += 1;
    let AdmittedRequest {
        slot,
        model,
        ref options,
        ..
    } = request;
    prompt.computed = block_table::reuse_cached_prefix(
        &mut prompt.block_table,
        prompt.computed,
        &mut state.pools,
        slot,
        (&model, &owner, prompt.public),
        &prompt.tokens,
    );
    let (prompt_tokens, seed) = (prompt.tokens.len() as u32, options.seed);
    let reserved = request.max_used_tokens(prompt.tokens.len(), prompt.computed);
    quota::reserve(&mut state.accounts, &owner, reserved);
    let price = billing::price(&state.control.config, &owner);
    let paid = billing::accept_payment(price, reserved);
    let weight = if runtime::is_controller(&owner) {
        state.control.config.controller_weight
    } else {
        1
    };
    state.put_generation(GenerationRecord {
        id,
        owner,
        model,
        created: runtime::time(),
        options: request.options,
        tokens: prompt.tokens,
        prompt_tokens,
        computed: prompt.computed as u32,
        stage: Stage::Start,
        text: String::new(),
        pending: Vec::new(),
        prompt_instructions: 0,
        generate_instructions: 0,
        end: None,
        slices: 0,
        max_message_instructions: 0,
        block_table: prompt.block_table,
        public: prompt.public as u32,
        cached: prompt.computed as u32,
        chat: prompt.chat,
        recent: Vec::new(),
        reserved,
        paid,
        price,
    });
    let served = state.control.served;
    let accounts = &mut state.accounts;
    state.queue.add(id, slot, (owner, weight), served, accounts);
    forget_oldest(state);
    Started {
        id: id.0,
        prompt_tokens,
        seed,
    }
}

/// Removes the oldest ended generations beyond those that are kept.
fn forget_oldest(state: &mut State) {
    while state.generations.len() > KEPT + state.queue.len() as u64 {
        let Some(id) = state
            .generations
            .keys()
            .find(|id| !state.queue.contains(*id))
        else {
            return;
        };
        state.generations.remove(&id);
    }
}

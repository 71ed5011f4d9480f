//! A canister as queries see it: what was committed at the end of the last round.

use super::execution::{Start, api};
use crate::log::Log;
use crate::memory::heap::{Content, Heap};
use crate::memory::stable::Stable;
use crate::replicated_state::figures::QueryCounters;
use crate::replicated_state::settings::Readers;
use crate::runtime::instance::{GlobalValue, Instance};
use crate::runtime::mode::Mode;
use crate::runtime::module::CompiledModule;
use crate::runtime::pool::Pool;
use crate::runtime::system_api::state::{Api, Environment};
use candid::Principal;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Canisters by id.
pub(crate) type Views = BTreeMap<Principal, CanisterView>;

/// A canister as queries see it.
pub(crate) struct CanisterView {
    pub id: Principal,
    pub env: Environment,
    /// It has too few cycles to answer.
    pub frozen: bool,
    pub readers: Readers,
    pub cycles: u128,
    pub stable: Stable,
    pub log: Log,
    pub certified_data: Vec<u8>,
    pub code: Option<CodeView>,
    pub counters: Arc<QueryCounters>,
}

/// A canister's code as queries see it.
pub(crate) struct CodeView {
    pub module: Arc<CompiledModule>,
    pub heap: Arc<Heap>,
    pub globals: Vec<Option<GlobalValue>>,
    pub pool: Arc<Pool>,
}

impl CodeView {
    /// An instance in the committed state; give it back with [`CodeView::give_back`].
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn instance(&self) -> Result<Instance, String> {
        while let Some(mut instance) = self.pool.take() {
            if instance.view().size() == self.heap.stored_size()
                && instance.set_globals(&self.globals).is_ok()
            {
                return Ok(instance);
            }
        }
        let mut instance = Instance::new(
            &self.module,
            self.heap.clone(),
            Some(&self.globals),
            Content::Stored,
        )?;
        instance.set_memory64(self.module.memory64);
        Ok(instance)
    }

    /// Undoes what an instance did and keeps it for the next query.
    pub(crate) fn give_back(&self, mut instance: Instance) {
        instance.roll_back();
        if instance.is_spent() || self.module.single_use {
            return;
        }
        self.pool.put(instance);
    }
}

impl CanisterView {
    /// The System API's state at the start of an execution.
    pub(crate) fn api(&self, mode: Mode, limit: u64, time_ns: u64) -> Api {
        let start = Start {
            env: Environment {
                time_ns,
                ..self.env.clone()
            },
            wide: self.code.as_ref().is_some_and(|code| code.module.memory64),
            balance: self.cycles,
            stable: self.stable.fork(),
            log: self.log.following(),
        };
        api(start, mode, limit)
    }

    /// True when a principal may read the log, and with it backtraces.
    pub(crate) fn may_read_log(&self, who: &Principal) -> bool {
        self.env.controllers.contains(who) || self.readers.include(who)
    }
}

//! Installed code.

use crate::memory::heap::{Content, Heap};
use crate::runtime::instance::{GlobalValue, Instance};
use crate::runtime::module::CompiledModule;
use crate::runtime::pool::Pool;
use std::sync::Arc;

/// Installed code.
pub struct Code {
    /// The compiled module.
    pub module: Arc<CompiledModule>,
    /// The stored heap.
    pub heap: Arc<Heap>,
    /// Committed values of the mutable globals; `None` for those that are not numbers.
    pub globals: Vec<Option<GlobalValue>>,
    /// The instance that executes messages; made when needed.
    pub instance: Option<Instance>,
    /// Instances that execute queries.
    pub pool: Arc<Pool>,
}

impl Code {
    /// The instance that executes messages.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn instance(&mut self) -> Result<&mut Instance, String> {
        if self.instance.as_ref().is_none_or(Instance::is_spent) {
            let old = self
                .instance
                .as_ref()
                .map(|instance| instance.view().as_ref());
            let mut instance = Instance::new(
                &self.module,
                self.heap.clone(),
                Some(&self.globals),
                Content::Latest(old),
            )?;
            instance.set_memory64(self.module.memory64);
            self.instance = Some(instance);
        }
        self.instance
            .as_mut()
            .ok_or_else(|| "no instance".to_string())
    }
}

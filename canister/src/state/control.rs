//! The control record in the heap, and the cell in stable memory that it is saved to.

use crate::stable::records::{Config, Control};
use crate::stable::regions::{self, Region};
use ic_stable_structures::StableCell;
use std::ops::{Deref, DerefMut};

/// The control record. Whoever changes it need not save it: [`crate::dispatch`] does, at the end of
/// every message that has changed it.
pub(crate) struct ControlCell {
    value: Control,
    changed: bool,
    cell: StableCell<Control, Region>,
}

impl ControlCell {
    /// Opens what stable memory holds.
    pub(crate) fn open() -> Self {
        let new = Control::new(Config::from(interface::Config::default()));
        let cell = StableCell::init(regions::control(), new);
        Self {
            value: cell.get().clone(),
            changed: false,
            cell,
        }
    }

    /// Writes what has changed to stable memory.
    pub(crate) fn save(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.cell.set(self.value.clone());
        }
    }
}

impl Deref for ControlCell {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.value
    }
}

impl DerefMut for ControlCell {
    fn deref_mut(&mut self) -> &mut Control {
        self.changed = true;
        &mut self.value
    }
}

//! The models that stable memory holds, each in a slot.

use crate::stable::ids::{ModelSlot, Sha256};
use crate::stable::records::{ModelRecord, ModelStage};
use crate::stable::regions::{self, MODEL_SLOTS, Region};
use ic_stable_structures::StableBTreeMap;
use std::collections::BTreeMap;

/// All models. Stable memory has them at the end of every message.
pub(crate) struct ModelStore {
    stored: StableBTreeMap<ModelSlot, ModelRecord, Region>,
    models: BTreeMap<ModelSlot, ModelRecord>,
}

impl ModelStore {
    /// Opens what stable memory holds.
    pub(crate) fn open() -> Self {
        let stored: StableBTreeMap<ModelSlot, ModelRecord, Region> =
            StableBTreeMap::init(regions::models());
        let models = stored.iter().map(|e| e.into_pair()).collect();
        Self { stored, models }
    }

    /// Returns every model with its slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ModelSlot, &ModelRecord)> {
        self.models.iter().map(|(slot, m)| (*slot, m))
    }

    /// Returns the slots that have a model.
    pub(crate) fn slots(&self) -> Vec<ModelSlot> {
        self.models.keys().copied().collect()
    }

    /// Returns the number of free slots.
    pub(crate) fn free(&self) -> usize {
        usize::from(MODEL_SLOTS) - self.models.len()
    }

    /// Returns the model in a slot.
    pub(crate) fn get(&self, slot: ModelSlot) -> Option<&ModelRecord> {
        self.models.get(&slot)
    }

    /// Returns the slot of the model with this SHA-256.
    pub(crate) fn find(&self, sha256: &Sha256) -> Option<ModelSlot> {
        self.iter()
            .find(|(_, m)| m.sha256 == *sha256)
            .map(|(slot, _)| slot)
    }

    /// Returns the slot whose file is being received.
    pub(crate) fn uploading(&self) -> Option<ModelSlot> {
        self.iter()
            .find(|(_, m)| m.stage == ModelStage::Uploading)
            .map(|(slot, _)| slot)
    }

    /// Puts a model in a free slot and returns which; `None` if there is none. The slot is the one with
    /// the smallest file region that has room, else the one with the largest, so that stable memory
    /// grows least.
    pub(crate) fn add(&mut self, model: ModelRecord) -> Option<ModelSlot> {
        let free = (0..MODEL_SLOTS)
            .map(ModelSlot)
            .filter(|slot| !self.models.contains_key(slot));
        let slot = free.min_by_key(|slot| {
            let bytes = regions::size(&regions::file(*slot));
            if bytes >= model.size {
                (0, bytes)
            } else {
                (1, u64::MAX - bytes)
            }
        })?;
        self.put(slot, model);
        Some(slot)
    }

    /// Puts a model in a slot.
    pub(crate) fn put(&mut self, slot: ModelSlot, model: ModelRecord) {
        self.stored.insert(slot, model.clone());
        self.models.insert(slot, model);
    }

    /// Changes the record of a model.
    pub(crate) fn edit(&mut self, slot: ModelSlot, change: impl FnOnce(&mut ModelRecord)) {
        if let Some(model) = self.models.get_mut(&slot) {
            change(model);
            self.stored.insert(slot, model.clone());
        }
    }

    /// Takes a model out of its slot.
    pub(crate) fn remove(&mut self, slot: ModelSlot) {
        self.stored.remove(&slot);
        self.models.remove(&slot);
    }
}

/// A model for tests, whose SHA-256 has only this byte.
#[cfg(test)]
pub(crate) fn test_model(byte: u8, name: &str, stage: ModelStage) -> ModelRecord {
    ModelRecord {
        stage,
        name: name.into(),
        size: 1_000,
        chunk_size: 1_000,
        sha256: Sha256([byte; 32]),
        chunks: 1,
        chunks_received: 0,
        prepared: 0,
        info: crate::stable::records::ModelInfo::default(),
        error: None,
    }
}

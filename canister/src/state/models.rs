//! The models that stable memory holds, each on a shelf: a number that says which regions are its own.

use crate::api::Phase;
use crate::durable::ModelRecord;
use crate::memory::{self, Region, SHELVES};
use ic_stable_structures::{Memory, StableBTreeMap};
use std::collections::BTreeMap;

/// All models. Stable memory has them at the end of every message.
pub struct Library {
    stored: StableBTreeMap<u8, ModelRecord, Region>,
    models: BTreeMap<u8, ModelRecord>,
}

impl Library {
    /// Opens what stable memory holds.
    pub fn open() -> Self {
        let stored: StableBTreeMap<u8, ModelRecord, Region> =
            StableBTreeMap::init(memory::models());
        let models = stored.iter().map(|e| e.into_pair()).collect();
        Self { stored, models }
    }

    /// Every model and its shelf.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &ModelRecord)> {
        self.models.iter().map(|(shelf, m)| (*shelf, m))
    }

    /// The shelves that have a model.
    pub fn shelves(&self) -> Vec<u8> {
        self.models.keys().copied().collect()
    }

    /// Models that may come besides those that are there.
    pub fn free(&self) -> usize {
        usize::from(SHELVES) - self.models.len()
    }

    /// The model on a shelf.
    pub fn get(&self, shelf: u8) -> Option<&ModelRecord> {
        self.models.get(&shelf)
    }

    /// The shelf of the file with this SHA-256.
    pub fn find(&self, sha256: &[u8; 32]) -> Option<u8> {
        self.iter()
            .find(|(_, m)| m.sha256 == *sha256)
            .map(|(shelf, _)| shelf)
    }

    /// The shelf whose file is being received.
    pub fn uploading(&self) -> Option<u8> {
        self.iter()
            .find(|(_, m)| m.phase == Phase::Uploading)
            .map(|(shelf, _)| shelf)
    }

    /// Puts a model on a free shelf: the smallest that has room for its file, else the largest one, so
    /// that stable memory grows least. `None`: all are taken.
    pub fn add(&mut self, model: ModelRecord) -> Option<u8> {
        const PAGE: u64 = 65_536;
        let free = (0..SHELVES).filter(|shelf| !self.models.contains_key(shelf));
        let shelf = free.min_by_key(|shelf| {
            let bytes = memory::file(*shelf).size() * PAGE;
            match bytes >= model.size {
                true => (0, bytes),
                false => (1, u64::MAX - bytes),
            }
        })?;
        self.put(shelf, model);
        Some(shelf)
    }

    /// Puts a model on a shelf.
    pub fn put(&mut self, shelf: u8, model: ModelRecord) {
        self.stored.insert(shelf, model.clone());
        self.models.insert(shelf, model);
    }

    /// Changes what is known of a model.
    pub fn edit(&mut self, shelf: u8, change: impl FnOnce(&mut ModelRecord)) {
        if let Some(model) = self.models.get_mut(&shelf) {
            change(model);
            self.stored.insert(shelf, model.clone());
        }
    }

    /// Takes a model off its shelf.
    pub fn remove(&mut self, shelf: u8) {
        self.stored.remove(&shelf);
        self.models.remove(&shelf);
    }
}

//! Which models should be in the heap, which are, and how far each is on its way.

use super::aliases;
use super::models::ModelStore;
use super::queue::Queue;
use crate::stable::ids::{ModelSlot, Sha256};
use crate::stable::records::{Alias, ModelRecord, ModelStage};
use engine::inference::budget::CostModel;
use engine::inference::forward::Workspace;
use engine::template::Template;
use engine::{Model, Tokenizer};
use interface::{Error, FileInfo, ModelStatus, Phase};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use weights::GgufFile;

/// A model in the heap, ready to run.
pub(crate) struct Loaded {
    /// Weights and configuration.
    pub model: Model,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template.
    pub template: Template,
    /// Scratch memory of the forward pass.
    pub workspace: Workspace,
    /// What its kinds of work have cost.
    pub costs: CostModel,
}

/// A model on its way into the heap.
pub(crate) struct Loading {
    /// The header of its file.
    pub file: GgufFile,
    /// Its configuration, and room for its weights.
    pub model: Model,
    /// Bytes of the packed region that the heap holds.
    pub filled: u64,
}

/// The models in the heap, by slot.
#[derive(Default)]
pub(crate) struct Residency {
    /// Models on their way.
    pub loading: BTreeMap<ModelSlot, Loading>,
    /// Models that are ready.
    pub loaded: BTreeMap<ModelSlot, Loaded>,
    /// Models that did not fit beside others.
    pub blocked: BTreeSet<ModelSlot>,
}

impl Residency {
    /// Removes a model from the heap. There is room then for what did not fit.
    pub(crate) fn remove(&mut self, slot: ModelSlot) {
        self.loading.remove(&slot);
        self.loaded.remove(&slot);
        self.blocked.clear();
    }

    /// Returns `true` if a model is ready.
    pub(crate) fn is_loaded(&self, slot: ModelSlot) -> bool {
        self.loaded.contains_key(&slot)
    }
}

/// Returns `true` if a model should be in the heap: it is the model of an alias or will be, or a
/// generation runs on it.
fn is_wanted(model: &ModelRecord, slot: ModelSlot, aliases: &[Alias], queue: &Queue) -> bool {
    queue.runs_on(slot) || aliases.iter().any(|a| aliases::refers_to(a, &model.sha256))
}

/// Removes the models from the heap that nobody needs.
pub(crate) fn unload_unused(
    residency: &mut Residency,
    models: &ModelStore,
    aliases: &[Alias],
    queue: &Queue,
) {
    for (slot, model) in models.iter() {
        if model.stage != ModelStage::Ready || is_wanted(model, slot, aliases, queue) {
            continue;
        }
        let unloaded = residency.loaded.remove(&slot).is_some();
        if unloaded | residency.loading.remove(&slot).is_some() {
            // There is room now for what did not fit.
            residency.blocked.clear();
        }
    }
}

/// Everything that says what the models are doing.
#[derive(Clone, Copy)]
pub(crate) struct ModelView<'a> {
    /// The models in stable memory.
    pub models: &'a ModelStore,
    /// The models in the heap.
    pub residency: &'a Residency,
    /// The names of models.
    pub aliases: &'a [Alias],
    /// The generations that need them.
    pub queue: &'a Queue,
}

impl<'a> ModelView<'a> {
    /// Returns the slot of the model that callers get who name none.
    pub(crate) fn default_slot(self) -> Option<ModelSlot> {
        aliases::slot_of(self.aliases, self.models, interface::limits::DEFAULT_ALIAS)
    }

    /// Returns the slot of the model that `name` means: an alias, the name of a file, or the first
    /// digits of its SHA-256.
    ///
    /// # Errors
    /// See [`aliases::resolve`].
    pub(crate) fn resolve(self, name: &str) -> Result<ModelSlot, Error> {
        aliases::resolve(self.aliases, self.models, name)
    }

    /// Returns the phase of a model as callers see it.
    pub(crate) fn phase(self, slot: ModelSlot) -> Phase {
        let Some(model) = self.models.get(slot) else {
            return Phase::Empty;
        };
        if self.residency.blocked.contains(&slot) {
            return Phase::Failed;
        }
        match model.stage {
            ModelStage::Uploading => Phase::Uploading,
            ModelStage::Verifying { .. } => Phase::Verifying,
            ModelStage::Preparing => Phase::Preparing,
            ModelStage::Failed => Phase::Failed,
            ModelStage::Ready if self.residency.is_loaded(slot) => Phase::Ready,
            ModelStage::Ready if is_wanted(model, slot, self.aliases, self.queue) => {
                Phase::Restoring
            }
            ModelStage::Ready => Phase::Stored,
        }
    }

    /// Returns `true` if a model is on its way to ready.
    pub(crate) fn has_work(self, slot: ModelSlot) -> bool {
        matches!(
            self.phase(slot),
            Phase::Verifying | Phase::Preparing | Phase::Restoring
        )
    }

    /// Returns the next slot with work to do: first that of the default alias, then those that
    /// generations wait for.
    pub(crate) fn next_work(self) -> Option<ModelSlot> {
        let first = self.default_slot();
        let rank = |slot: &ModelSlot| (first != Some(*slot), !self.queue.runs_on(*slot), *slot);
        let slots = self.models.slots().into_iter();
        slots.filter(|s| self.has_work(*s)).min_by_key(rank)
    }

    /// Returns the model that callers ask for (without a name: the default one) if it is ready.
    ///
    /// # Errors
    /// [`Error::WrongPhase`] with what to do; those of [`aliases::resolve`].
    pub(crate) fn ready(self, name: Option<&str>) -> Result<(ModelSlot, &'a Loaded), Error> {
        let slot = match name {
            None | Some(interface::limits::DEFAULT_ALIAS) => self.default_slot(),
            Some(name) => Some(self.resolve(name)?),
        };
        let loaded = slot.and_then(|slot| Some((slot, self.residency.loaded.get(&slot)?)));
        loaded.ok_or_else(|| {
            let phase = slot.map_or(Phase::Empty, |slot| self.phase(slot));
            let hint = match phase {
                Phase::Empty if self.models.iter().next().is_some() => {
                    "no model is the default: a controller has to call alias_set"
                }
                Phase::Empty | Phase::Uploading => "upload a model first",
                Phase::Failed => "the last upload failed: see status, then upload again",
                Phase::Stored => {
                    "the model is not in use: a controller has to call alias_set for it"
                }
                _ => "the model is being made ready: try again when status says Ready",
            };
            Error::WrongPhase {
                phase: phase.name(),
                hint: hint.into(),
            }
        })
    }

    /// Returns the error of a call that does not fit what is being uploaded.
    pub(crate) fn wrong_phase(self, hint: &str) -> Error {
        let slot = self.models.uploading().or_else(|| self.default_slot());
        Error::WrongPhase {
            phase: slot.map_or(Phase::Empty, |s| self.phase(s)).name(),
            hint: hint.into(),
        }
    }

    /// Returns how far a model is.
    pub(crate) fn status(self, slot: Option<ModelSlot>) -> ModelStatus {
        let found = slot.and_then(|slot| Some((slot, self.models.get(slot)?)));
        let Some((slot, m)) = found else {
            return ModelStatus {
                phase: Phase::Empty,
                done: 0,
                total: 0,
                error: None,
                manifest: None,
                info: None,
            };
        };
        let phase = self.phase(slot);
        let loading = self.residency.loading.get(&slot);
        let (done, total) = match (phase, &m.stage) {
            (Phase::Uploading, _) => (
                u64::from(m.chunks_received) * u64::from(m.chunk_size),
                m.size,
            ),
            (Phase::Verifying, ModelStage::Verifying { hashed, .. }) => (*hashed, m.size),
            (Phase::Preparing, _) => (m.prepared, m.info.packed_bytes),
            (Phase::Restoring, _) => (loading.map_or(0, |l| l.filled), m.info.packed_bytes),
            _ => (m.size, m.size),
        };
        ModelStatus {
            phase,
            done: done.min(total),
            total,
            error: m.error.clone().map(Error::from),
            manifest: Some(FileInfo {
                name: m.name.clone(),
                size: m.size,
                chunk_size: m.chunk_size,
                sha256: ByteBuf::from(m.sha256.0),
            }),
            info: (m.info.layers > 0).then(|| m.info.clone().into()),
        }
    }

    /// Returns the SHA-256 of the model in a slot.
    pub(crate) fn sha256(self, slot: ModelSlot) -> Option<Sha256> {
        self.models.get(slot).map(|m| m.sha256)
    }
}

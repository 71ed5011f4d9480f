//! The ingress messages that the front knows: whose they are, where they stand, who waits.

use super::certified::request_tree;
use super::tree::Tree;
pub use crate::Owner;
use crate::{IngressStatus, Replica};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

/// SHA-256 of a request's content.
pub type RequestId = [u8; 32];

/// The requests that are not forgotten yet, and their part of the state tree.
#[derive(Default)]
pub struct Requests {
    known: BTreeMap<RequestId, Known>,
    /// Those that have no answer yet.
    pending: BTreeSet<RequestId>,
    tree: Option<Tree>,
}

struct Known {
    owner: Option<Owner>,
    stage: Option<Stage>,
    tree: Option<Tree>,
    waiters: Vec<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Received,
    Processing,
    Answered,
    Done,
}

impl Stage {
    fn of(status: &IngressStatus) -> Option<Stage> {
        match status {
            IngressStatus::Unknown => None,
            IngressStatus::Received => Some(Stage::Received),
            IngressStatus::Processing => Some(Stage::Processing),
            IngressStatus::Replied(_) | IngressStatus::Rejected(_) => Some(Stage::Answered),
            IngressStatus::Done => Some(Stage::Done),
        }
    }

    fn is_final(self) -> bool {
        matches!(self, Stage::Answered | Stage::Done)
    }
}

impl Requests {
    /// Whether `id` has been submitted and is remembered.
    pub fn contains(&self, id: &RequestId) -> bool {
        self.known.contains_key(id)
    }

    /// Begins to follow a request that the replica has accepted.
    pub fn insert(&mut self, id: RequestId, owner: Option<Owner>) {
        self.known.entry(id).or_insert(Known {
            owner,
            stage: None,
            tree: None,
            waiters: Vec::new(),
        });
        self.pending.insert(id);
    }

    /// Tells `waiter` when `id` is answered, which may be at once.
    pub fn wait(&mut self, id: &RequestId, waiter: oneshot::Sender<()>) {
        match self.known.get_mut(id) {
            Some(known) if !known.stage.is_some_and(Stage::is_final) => known.waiters.push(waiter),
            // Nobody may be listening any more.
            _ => drop(waiter.send(())),
        }
    }

    /// Reads where the request `id` stands. Answers true when the tree changed. Those who wait
    /// are collected into `wake`: tell them once the new tree is published.
    pub fn update(
        &mut self,
        id: &RequestId,
        replica: &Replica,
        wake: &mut Vec<oneshot::Sender<()>>,
    ) -> bool {
        let status = replica.ingress_status(id);
        self.set(id, &status, wake)
    }

    /// Like [`Requests::update`] for all requests that have no answer yet.
    pub fn update_pending(
        &mut self,
        replica: &Replica,
        wake: &mut Vec<oneshot::Sender<()>>,
    ) -> bool {
        let mut changed = false;
        for id in self.pending.clone() {
            changed |= self.update(&id, replica, wake);
        }
        changed
    }

    /// Adopts requests that came another way than through [`Requests::insert`], and those that
    /// are stored with the replica's state.
    pub fn adopt(&mut self, replica: &Replica, wake: &mut Vec<oneshot::Sender<()>>) -> bool {
        let mut changed = false;
        for (id, status) in replica.ingress_statuses() {
            if !self.contains(&id) {
                self.insert(id, replica.ingress_owner(&id));
            }
            changed |= self.set(&id, &status, wake);
        }
        changed
    }

    /// Drops the requests that the replica has forgotten. Answers their ids.
    pub fn forget(&mut self, replica: &Replica) -> Vec<RequestId> {
        let forgotten: Vec<RequestId> = self
            .known
            .keys()
            .filter(|id| replica.ingress_status(id) == IngressStatus::Unknown)
            .copied()
            .collect();
        for id in &forgotten {
            self.known.remove(id);
            self.pending.remove(id);
            self.tree = None;
        }
        // Answers that were purged leave a status of their own.
        let answered: Vec<RequestId> = self
            .known
            .iter()
            .filter(|(_, known)| known.stage == Some(Stage::Answered))
            .map(|(id, _)| *id)
            .collect();
        for id in answered {
            if replica.ingress_status(&id) == IngressStatus::Done {
                self.set(&id, &IngressStatus::Done, &mut Vec::new());
            }
        }
        forgotten
    }

    /// The subtree `/request_status`.
    pub fn tree(&mut self) -> Tree {
        self.tree
            .get_or_insert_with(|| {
                Tree::map(
                    self.known
                        .iter()
                        .filter_map(|(id, known)| Some((*id, known.tree.clone()?))),
                )
            })
            .clone()
    }

    /// Sender and receiver of a request, when they are known.
    pub fn owner(&self, id: &RequestId) -> Option<Owner> {
        self.known.get(id)?.owner
    }

    fn set(
        &mut self,
        id: &RequestId,
        status: &IngressStatus,
        wake: &mut Vec<oneshot::Sender<()>>,
    ) -> bool {
        let stage = Stage::of(status);
        let Some(known) = self.known.get_mut(id) else {
            return false;
        };
        if known.stage == stage {
            return false;
        }
        known.stage = stage;
        known.tree = request_tree(status);
        if stage.is_none_or(Stage::is_final) {
            self.pending.remove(id);
            wake.append(&mut known.waiters);
        }
        self.tree = None;
        true
    }
}

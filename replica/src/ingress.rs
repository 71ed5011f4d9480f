//! Users' messages: taking them in, and what became of them.

use crate::cycles::Amount;
use crate::management::call;
use crate::messages::execution::Effects;
use crate::replicated_state::messages::IngressMessage;
use crate::replicated_state::{Canister, Origin, Status};
use crate::runtime::failure::{ErrorCode, UserError};
use crate::runtime::module::Export;
use crate::{Ingress, IngressStatus, Owner, Replica};
use candid::Principal;

/// How long an answer is kept, in nanoseconds.
const KEPT_NS: u64 = 360_000_000_000;

/// What is known of a message.
#[derive(Clone, Debug)]
pub(crate) struct Tracked {
    pub status: IngressStatus,
    /// When it was last changed, in nanoseconds since 1970.
    pub since_ns: u64,
    pub owner: Option<Owner>,
}

fn is_final(status: &IngressStatus) -> bool {
    matches!(
        status,
        IngressStatus::Replied(_) | IngressStatus::Rejected(_) | IngressStatus::Done
    )
}

fn check_status(canister: &Canister) -> Result<(), UserError> {
    let id = canister.id;
    match canister.status {
        Status::Running => Ok(()),
        Status::Stopping(_) => Err(UserError::new(
            ErrorCode::CanisterStopping,
            format!("Canister {id} is stopping"),
        )),
        Status::Stopped => Err(UserError::new(
            ErrorCode::CanisterStopped,
            format!("Canister {id} is stopped"),
        )),
    }
}

impl Replica {
    pub(crate) fn take_ingress(
        &mut self,
        message: Ingress,
        inspects: bool,
    ) -> Result<(), UserError> {
        if self.ingress.contains_key(&message.request_id) {
            return Ok(());
        }
        let payer = if message.canister_id == Principal::management_canister() {
            self.check_management_ingress(message.sender, &message.method_name, &message.arg)?;
            call::target(&message.method_name, &message.arg)?
        } else {
            Some(message.canister_id)
        };
        let fees = self.fees();
        if let Some(id) = payer {
            let canister = self.find(&id)?;
            let cost = fees.ingress(message.wire_bytes as u64);
            let needed = cost + canister.freezing_limit(fees);
            let own = message.canister_id != Principal::management_canister();
            // Who cannot pay can still be given cycles and other settings.
            let pays = own
                || !matches!(
                    message.method_name.as_str(),
                    "provisional_top_up_canister" | "update_settings"
                );
            if pays && cost > 0 && canister.cycles < needed {
                return Err(UserError::new(
                    ErrorCode::CanisterOutOfCycles,
                    format!(
                        "Canister {id} is out of cycles: please top up the canister with at least \
                         {} additional cycles",
                        Amount(needed - canister.cycles)
                    ),
                ));
            }
            if own && inspects {
                check_status(canister)?;
                let inspects = canister.exports(Export::InspectMessage);
                if inspects || canister.code.is_none() {
                    self.commit(|| ());
                    let (committed, now) = (&self.committed, self.time_ns);
                    let (sender, method) = (message.sender, &message.method_name);
                    crate::runtime::stack::on_big_stack(|| {
                        committed.inspect(sender, &id, method, &message.arg, now)
                    })?;
                }
            }
        }
        self.store_accepted(&message);
        self.accept(message);
        Ok(())
    }

    /// # Panics
    /// When the state directory cannot be written: the message could be lost.
    fn store_accepted(&self, message: &Ingress) {
        if self.store.dir().is_some() {
            let bytes = postcard::to_allocvec(message).expect("a message can be encoded");
            let stored = self.store.accept(&bytes);
            stored.expect("the state directory can be written");
        }
    }

    pub(crate) fn accept(&mut self, message: Ingress) {
        let tracked = Tracked {
            status: IngressStatus::Received,
            since_ns: self.time_ns,
            owner: Some(Owner {
                sender: message.sender,
                receiver: message.canister_id,
            }),
        };
        self.ingress.insert(message.request_id, tracked);
        self.pending.push(message);
    }

    pub(crate) fn set_ingress(&mut self, id: [u8; 32], status: IngressStatus) {
        let since_ns = self.time_ns;
        let owner = self.ingress.get(&id).and_then(|tracked| tracked.owner);
        let tracked = Tracked {
            status,
            since_ns,
            owner,
        };
        self.ingress.insert(id, tracked);
    }

    /// Sender and receiver of a message that is remembered.
    pub fn ingress_owner(&self, id: &[u8; 32]) -> Option<Owner> {
        self.ingress.get(id)?.owner
    }

    /// Takes the waiting messages into this round's block: management calls first.
    pub(crate) fn induct_ingress(&mut self, effects: &mut Effects) {
        for message in std::mem::take(&mut self.pending) {
            let id = message.request_id;
            if let Err(error) = self.induct(message) {
                effects
                    .ingress
                    .push((id, IngressStatus::Rejected(error.into())));
            }
        }
    }

    fn induct(&mut self, message: Ingress) -> Result<(), UserError> {
        let fees = self.fees();
        let cost = fees.ingress(message.wire_bytes as u64);
        if message.canister_id == Principal::management_canister() {
            let payer = call::target(&message.method_name, &message.arg)?;
            if let Some(canister) = payer.and_then(|id| self.canisters.get_mut(&id)) {
                let paid = cost.min(canister.cycles);
                canister.cycles -= paid;
                canister.consumed.ingress += paid as i128;
            }
            self.subnet_queue.push_back(call::Call {
                origin: Origin::Ingress {
                    id: message.request_id,
                    sender: message.sender,
                },
                method: message.method_name,
                arg: message.arg,
                cycles: 0,
            });
            return Ok(());
        }
        let id = message.canister_id;
        let canister = self.canisters.get_mut(&id).ok_or_else(|| {
            UserError::new(
                ErrorCode::CanisterNotFound,
                format!("Canister {id} not found"),
            )
        })?;
        check_status(canister)?;
        canister.withdraw(cost, fees).map_err(|missing| {
            let missing = Amount(missing);
            UserError::new(
                ErrorCode::CanisterOutOfCycles,
                format!(
                    "Canister {id} is out of cycles: please top up the canister with at least \
                     {missing} additional cycles"
                ),
            )
        })?;
        canister.consumed.ingress += cost as i128;
        canister.queues.push_ingress(IngressMessage {
            id: message.request_id,
            sender: message.sender,
            method: message.method_name,
            arg: message.arg,
            expiry_ns: message.ingress_expiry_ns,
        });
        Ok(())
    }

    /// Rejects messages that expired before they ran.
    pub(crate) fn expire_ingress(&mut self, effects: &mut Effects) {
        let now = self.time_ns;
        for canister in self.canisters.values_mut() {
            let expired = canister.queues.take_expired(|m| m.expiry_ns < now);
            for message in expired {
                let error = UserError::new(
                    ErrorCode::IngressMessageTimeout,
                    format!(
                        "Ingress message 0x{} timed out waiting to start executing.",
                        hex::encode(message.id)
                    ),
                );
                effects
                    .ingress
                    .push((message.id, IngressStatus::Rejected(error.into())));
            }
        }
    }

    /// Forgets messages that were answered long ago.
    pub(crate) fn prune_ingress(&mut self) {
        let now = self.time_ns;
        self.ingress.retain(|_, tracked| {
            !is_final(&tracked.status) || now < tracked.since_ns.saturating_add(KEPT_NS)
        });
    }
}

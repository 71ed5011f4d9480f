//! Users' messages: taking them in, and what became of them.

use crate::exec::{Effects, inspect};
use crate::execution::failure::{ErrorCode, UserError};
use crate::management;
use crate::state::messages::IngressMessage;
use crate::state::{Canister, Origin, Status};
use crate::{Ingress, IngressStatus, Replica, scheduler};
use candid::Principal;

/// How long an answer is kept, in nanoseconds.
const KEPT_NS: u64 = 360_000_000_000;

/// What is known of a message.
#[derive(Clone, Debug)]
pub struct Tracked {
    pub status: IngressStatus,
    /// When it was last changed, in nanoseconds since 1970.
    pub since_ns: u64,
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
            management::target(&message.method_name, &message.arg)?
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
                        needed - canister.cycles
                    ),
                ));
            }
            if own && inspects {
                check_status(canister)?;
                let round = self.round_context();
                if let Some(canister) = self.canisters.get_mut(&id) {
                    let (sender, method, arg) =
                        (message.sender, &message.method_name, &message.arg);
                    scheduler::on_big_stack(move || {
                        inspect::inspect(canister, sender, method, arg, &round)
                    })?;
                }
            }
        }
        self.set_ingress(message.request_id, IngressStatus::Received);
        self.pending.push(message);
        Ok(())
    }

    pub(crate) fn set_ingress(&mut self, id: [u8; 32], status: IngressStatus) {
        let since_ns = self.time_ns;
        self.ingress.insert(id, Tracked { status, since_ns });
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
            let payer = management::target(&message.method_name, &message.arg)?;
            if let Some(canister) = payer.and_then(|id| self.canisters.get_mut(&id)) {
                let paid = cost.min(canister.cycles);
                canister.cycles -= paid;
                canister.consumed.ingress += paid as i128;
            }
            self.subnet_queue.push_back(management::Call {
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

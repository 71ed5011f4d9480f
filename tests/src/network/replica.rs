//! This project's replica as a network, in this process.

use super::{Setup, TestNetwork};
use ::replica::http::{Server, ServerConfig};
use ::replica::management::types::{CanisterIdRecord, ProvisionalCreate};
use ::replica::{Ingress, IngressStatus, Replica, ReplicaConfig};
use anyhow::{Result, bail};
use candid::{Nat, Principal};
use std::time::Duration;

/// A replica on threads of its own.
pub(super) struct ReplicaNetwork(Server);

impl ReplicaNetwork {
    /// Starts it.
    pub(super) fn start(setup: &Setup) -> Result<Self> {
        Ok(Self(Server::start(ServerConfig {
            replica: ReplicaConfig {
                state_dir: setup.state.clone(),
                ..ReplicaConfig::default()
            },
            port: setup.port,
            round_interval: setup.round_interval,
            ..ServerConfig::default()
        })?))
    }
}

impl TestNetwork for ReplicaNetwork {
    fn name(&self) -> &'static str {
        "replica"
    }

    fn url(&self) -> String {
        self.0.url()
    }

    fn root_key(&self) -> Result<Vec<u8>> {
        Ok(self.0.root_key())
    }

    fn create_canister(&self, controller: Principal, cycles: u128) -> Result<Principal> {
        let create = ProvisionalCreate {
            amount: Some(Nat::from(cycles)),
            settings: None,
            specified_id: None,
            sender_canister_version: None,
        };
        let arg = candid::encode_one(create)?;
        let reply = self.0.with_replica(move |replica| {
            let method = "provisional_create_canister_with_cycles";
            manage(replica, controller, method, arg)
        })??;
        Ok(candid::decode_one::<CanisterIdRecord>(&reply)?.canister_id)
    }

    fn time_ns(&self) -> Result<u64> {
        Ok(self.0.with_replica(|replica| replica.time_ns())?)
    }

    fn advance(&self, by: Duration) -> Result<()> {
        let ns = u64::try_from(by.as_nanos())?;
        Ok(self.0.with_replica(move |replica| replica.advance_ns(ns))?)
    }

    fn tick(&self) -> Result<()> {
        Ok(self.0.with_replica(Replica::execute_round)?)
    }

    fn replica(&self) -> Option<&Server> {
        Some(&self.0)
    }
}

/// The answer of a management call that takes one round.
fn manage(replica: &mut Replica, sender: Principal, method: &str, arg: Vec<u8>) -> Result<Vec<u8>> {
    let mut request_id = [0; 32];
    let time = replica.time_ns();
    request_id[..8].copy_from_slice(&time.to_le_bytes());
    request_id[8..16].copy_from_slice(&(replica.canisters().len() as u64).to_le_bytes());
    replica
        .submit(Ingress {
            sender,
            canister_id: Principal::management_canister(),
            method_name: method.into(),
            wire_bytes: arg.len(),
            arg,
            ingress_expiry_ns: time.saturating_add(60_000_000_000),
            request_id,
        })
        .map_err(|reject| anyhow::anyhow!("{method}: {reject:?}"))?;
    replica.execute_round();
    match replica.ingress_status(&request_id) {
        IngressStatus::Replied(reply) => Ok(reply),
        other => bail!("{method}: {other:?}"),
    }
}

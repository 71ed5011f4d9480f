//! A machine that runs rounds until its calls are answered.

use candid::{CandidType, Principal};
use replica::management::types::{
    CanisterIdRecord, CanisterStatus, DefiniteSettings, InstallCode, InstallMode, ProvisionalCreate,
};
use replica::{Ingress, IngressStatus, QueryResult, Reject, Replica, ReplicaConfig};
use std::path::Path;

pub(crate) const START_NS: u64 = 1_700_000_000_000_000_000;

/// Somebody who controls nothing.
pub(crate) fn stranger() -> Principal {
    Principal::self_authenticating([1])
}

pub(crate) struct Machine {
    pub replica: Replica,
    calls: u64,
}

impl Machine {
    pub(crate) fn new(dir: Option<&Path>) -> Machine {
        Machine::with(ReplicaConfig {
            state_dir: dir.map(Into::into),
            ..Machine::config()
        })
    }

    /// The setup of a machine in memory.
    pub(crate) fn config() -> ReplicaConfig {
        ReplicaConfig {
            start_time_ns: Some(START_NS),
            ..ReplicaConfig::default()
        }
    }

    pub(crate) fn with(config: ReplicaConfig) -> Machine {
        let replica = Replica::new(config).expect("a replica");
        Machine { replica, calls: 0 }
    }

    /// Starts anew from its directory.
    pub(crate) fn restart(self, dir: &Path) -> Machine {
        let calls = self.calls;
        drop(self.replica);
        Machine {
            calls,
            ..Machine::new(Some(dir))
        }
    }

    /// The answer of an update.
    pub(crate) fn call_as(
        &mut self,
        sender: Principal,
        canister_id: Principal,
        method: &str,
        arg: Vec<u8>,
    ) -> Result<Vec<u8>, Reject> {
        self.calls += 1;
        let mut request_id = [0; 32];
        request_id[..8].copy_from_slice(&self.calls.to_be_bytes());
        self.replica.submit(Ingress {
            sender,
            canister_id,
            method_name: method.into(),
            wire_bytes: arg.len() + 200,
            arg,
            ingress_expiry_ns: self.replica.time_ns() + 100_000_000_000,
            request_id,
        })?;
        for _ in 0..100 {
            self.replica.execute_round();
            match self.replica.ingress_status(&request_id) {
                IngressStatus::Replied(reply) => return Ok(reply),
                IngressStatus::Rejected(reject) => return Err(reject),
                _ => {}
            }
        }
        panic!("no answer to {method}");
    }

    pub(crate) fn call(&mut self, canister: Principal, method: &str) -> Vec<u8> {
        let answer = self.call_as(Principal::anonymous(), canister, method, Vec::new());
        answer.expect("a reply")
    }

    /// The answer of the management canister.
    pub(crate) fn manage<T: CandidType>(
        &mut self,
        sender: Principal,
        method: &str,
        arg: &T,
    ) -> Result<Vec<u8>, Reject> {
        let arg = candid::encode_one(arg).expect("encodes");
        self.call_as(sender, Principal::management_canister(), method, arg)
    }

    pub(crate) fn create(&mut self) -> Principal {
        let create = ProvisionalCreate {
            amount: None,
            settings: None,
            specified_id: None,
            sender_canister_version: None,
        };
        let method = "provisional_create_canister_with_cycles";
        let reply = self.manage(Principal::anonymous(), method, &create);
        let record: CanisterIdRecord =
            candid::decode_one(&reply.expect("a canister")).expect("decodes");
        record.canister_id
    }

    pub(crate) fn install(&mut self, canister_id: Principal, wat: &str) {
        let code = InstallCode {
            mode: InstallMode::install,
            canister_id,
            wasm_module: wat::parse_str(wat).expect("assembles"),
            arg: Vec::new(),
            sender_canister_version: None,
        };
        self.manage(Principal::anonymous(), "install_code", &code)
            .expect("installed");
    }

    pub(crate) fn query(&mut self, canister: Principal, method: &str, arg: &[u8]) -> Vec<u8> {
        let answer = self
            .replica
            .query(Principal::anonymous(), canister, method, arg);
        match answer {
            QueryResult::Replied(reply) => reply,
            QueryResult::Rejected(reject) => panic!("{reject:?}"),
        }
    }
}

/// What `canister_status` tells.
pub(crate) fn full_status(machine: &mut Machine, canister_id: Principal) -> CanisterStatus {
    let args = CanisterIdRecord { canister_id };
    let reply = machine.manage(Principal::anonymous(), "canister_status", &args);
    candid::decode_one(&reply.expect("a status")).expect("decodes")
}

/// A canister's settings.
pub(crate) fn settings_of(machine: &mut Machine, id: Principal) -> DefiniteSettings {
    full_status(machine, id).settings
}

/// A canister's cycles, and those that are put aside.
pub(crate) fn status(machine: &mut Machine, id: Principal) -> (u128, u128) {
    let status = full_status(machine, id);
    let number = |nat: candid::Nat| u128::try_from(nat.0).expect("128 bits");
    (number(status.cycles), number(status.reserved_cycles))
}

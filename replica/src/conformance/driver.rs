//! A replica as the measured cases drove theirs.

use super::case::CaseError;
use crate::management::types::*;
use crate::{Ingress, IngressStatus, QueryResult, Reject, Replica, ReplicaConfig};
use candid::{CandidType, Principal, encode_one};
use std::sync::Arc;

const START_NS: u64 = 1_700_000_000_000_000_000;
/// Rounds that an answer is waited for.
const PATIENCE: u32 = 2_000;

/// An answer, of any kind of call.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Reply(Vec<u8>),
    Reject(Reject),
    /// No answer yet: the state in words.
    Open(&'static str),
}

/// A replica, and the calls made so far.
pub(super) struct Driver {
    pub replica: Replica,
    calls: u64,
}

/// Bytes of the measured calls besides callee, method and argument: an anonymous request in CBOR
/// with a nonce of eight bytes.
const ENVELOPE: usize = 108;

/// Bytes of a string in CBOR.
fn encoded(len: usize) -> usize {
    let head = match len {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        _ => 5,
    };
    head + len
}

impl Driver {
    pub(super) fn new() -> Result<Driver, CaseError> {
        let mut replica = Replica::new(ReplicaConfig {
            start_time_ns: Some(START_NS),
            ..ReplicaConfig::default()
        })?;
        replica.set_data_certificate(Arc::new(|_, data| {
            let mut certificate = b"certificate over ".to_vec();
            certificate.extend_from_slice(data);
            certificate
        }));
        Ok(Driver { replica, calls: 0 })
    }

    fn message(&mut self, sender: Principal, id: Principal, method: &str, arg: Vec<u8>) -> Ingress {
        self.calls += 1;
        let mut request_id = [0; 32];
        request_id[..8].copy_from_slice(&self.calls.to_be_bytes());
        Ingress {
            sender,
            canister_id: id,
            method_name: method.into(),
            wire_bytes: ENVELOPE
                + encoded(id.as_slice().len())
                + encoded(method.len())
                + encoded(arg.len()),
            arg,
            ingress_expiry_ns: self.replica.time_ns() + 300_000_000_000,
            request_id,
        }
    }

    /// Submits a call, which may be refused at once; runs no round.
    pub(super) fn submit(
        &mut self,
        sender: Principal,
        id: Principal,
        method: &str,
        arg: Vec<u8>,
        inspects: bool,
    ) -> Result<[u8; 32], Reject> {
        let message = self.message(sender, id, method, arg);
        let request_id = message.request_id;
        if inspects {
            self.replica.submit(message)?;
        } else {
            self.replica.submit_uninspected(message)?;
        }
        Ok(request_id)
    }

    /// Where a call stands.
    pub(super) fn peek(&self, id: &[u8; 32]) -> Answer {
        match self.replica.ingress_status(id) {
            IngressStatus::Replied(reply) => Answer::Reply(reply),
            IngressStatus::Rejected(reject) => Answer::Reject(reject),
            IngressStatus::Received => Answer::Open("received"),
            IngressStatus::Processing => Answer::Open("processing"),
            IngressStatus::Unknown => Answer::Open("unknown"),
            IngressStatus::Done => Answer::Open("done"),
        }
    }

    /// Runs rounds until a call is answered.
    pub(super) fn wait(&mut self, id: &[u8; 32], observe: &mut dyn FnMut(&Replica)) -> Answer {
        for _ in 0..PATIENCE {
            if !matches!(self.peek(id), Answer::Open(_)) {
                break;
            }
            self.replica.execute_round();
            observe(&self.replica);
        }
        self.peek(id)
    }

    /// A call of the management canister, waited for.
    pub(super) fn manage<T: CandidType>(
        &mut self,
        sender: Principal,
        method: &str,
        arg: &T,
        observe: &mut dyn FnMut(&Replica),
    ) -> Result<Answer, CaseError> {
        let arg = encode_one(arg).map_err(|error| CaseError::Unknown(error.to_string()))?;
        let id = Principal::management_canister();
        Ok(match self.submit(sender, id, method, arg, true) {
            Ok(request) => self.wait(&request, observe),
            Err(reject) => Answer::Reject(reject),
        })
    }

    /// A new canister that anonymous controls.
    pub(super) fn create(
        &mut self,
        cycles: u128,
        settings: Option<CanisterSettings>,
    ) -> Result<Principal, CaseError> {
        let args = ProvisionalCreate {
            amount: Some(cycles.into()),
            settings,
            specified_id: None,
            sender_canister_version: None,
        };
        let method = "provisional_create_canister_with_cycles";
        match self.manage(Principal::anonymous(), method, &args, &mut |_| {})? {
            Answer::Reply(reply) => candid::decode_one::<CanisterIdRecord>(&reply)
                .map(|record| record.canister_id)
                .map_err(|error| CaseError::Unknown(error.to_string())),
            other => Err(CaseError::Unknown(format!("cannot create: {other:?}"))),
        }
    }

    pub(super) fn query(
        &mut self,
        sender: Principal,
        id: Principal,
        method: &str,
        arg: &[u8],
    ) -> Answer {
        match self.replica.query(sender, id, method, arg) {
            QueryResult::Replied(reply) => Answer::Reply(reply),
            QueryResult::Rejected(reject) => Answer::Reject(reject),
        }
    }

    /// Instructions and messages of all canisters so far.
    pub(super) fn totals(&self) -> (u64, u64) {
        let mut sum = (0, 0);
        for id in self.replica.canisters() {
            if let Some(totals) = self.replica.totals(&id) {
                sum.0 += totals.instructions;
                sum.1 += totals.messages;
            }
        }
        sum
    }

    /// Cycles that a canister has paid for instructions so far.
    pub(super) fn instruction_cycles(&self, id: &Principal) -> i128 {
        self.replica
            .canister(id)
            .map_or(0, |canister| canister.consumed.instructions)
    }
}

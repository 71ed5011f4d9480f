//! A local replica of the Internet Computer: runs canister Wasm under the IC's rules.
//!
//! [`Replica`] is the deterministic state machine: canisters, messages, rounds, cycles and
//! instructions. The HTTP interface around it is in the `http` module.

mod api;
pub mod http;

pub use api::{
    CanisterInfo, Ingress, IngressStatus, QueryResult, Reject, ReplicaConfig, ReplicaError,
};
pub use candid::Principal;

/// The state machine of one subnet.
pub struct Replica {
    config: ReplicaConfig,
}

/// Bytes for `ic0.data_certificate_copy` of a canister in a query: `None` when it has none.
pub type DataCertificate = Box<dyn Fn(&Principal, &[u8]) -> Option<Vec<u8>> + Send>;

impl Replica {
    /// A replica with no canisters, or the one stored in `config.state_dir`.
    ///
    /// # Errors
    /// When the state directory cannot be read or the engine cannot be set up.
    pub fn new(config: ReplicaConfig) -> Result<Replica, ReplicaError> {
        Ok(Replica { config })
    }

    /// Checks an ingress message (induction rules, `canister_inspect_message`) and queues it for
    /// the next round. Submitting the same request id again changes nothing.
    ///
    /// # Errors
    /// The reject that the IC gives synchronously; no status is recorded then.
    pub fn submit(&mut self, _message: Ingress) -> Result<(), Reject> {
        todo!()
    }

    /// True when a round started now would execute something.
    pub fn has_work(&self) -> bool {
        todo!()
    }

    /// The earliest global timer of all canisters, in nanoseconds since 1970.
    pub fn next_timer_ns(&self) -> Option<u64> {
        todo!()
    }

    /// Executes one consensus round.
    pub fn execute_round(&mut self) {
        todo!()
    }

    /// Sets the time that the next rounds and queries see, in nanoseconds since 1970. Time never
    /// goes back: an earlier value is ignored.
    pub fn set_time_ns(&mut self, _time_ns: u64) {
        todo!()
    }

    /// The time that canisters see now, in nanoseconds since 1970.
    pub fn time_ns(&self) -> u64 {
        todo!()
    }

    /// Moves the time forward by `by_ns` nanoseconds.
    pub fn advance_ns(&mut self, _by_ns: u64) {
        todo!()
    }

    /// State of an ingress message; kept for at least five minutes after the answer.
    pub fn ingress_status(&self, _id: &[u8; 32]) -> IngressStatus {
        todo!()
    }

    /// All ingress messages that are still remembered, in order of their request ids.
    pub fn ingress_statuses(&self) -> Vec<([u8; 32], IngressStatus)> {
        todo!()
    }

    /// Runs a query (also a query of the management canister, such as `fetch_canister_logs`);
    /// changes are discarded.
    pub fn query(
        &mut self,
        _sender: Principal,
        _canister: Principal,
        _method: &str,
        _arg: &[u8],
    ) -> QueryResult {
        todo!()
    }

    /// Ids of all canisters, ascending.
    pub fn canisters(&self) -> Vec<Principal> {
        todo!()
    }

    /// What the certified state tree and the gateway need to know of a canister.
    pub fn canister_info(&self, _id: &Principal) -> Option<CanisterInfo> {
        todo!()
    }

    /// Sets where queries get their data certificate: called with the canister and its certified
    /// data.
    pub fn set_data_certificate(&mut self, _source: DataCertificate) {
        todo!()
    }

    /// First and last canister id that this subnet hosts.
    pub fn effective_range(&self) -> (Principal, Principal) {
        todo!()
    }

    /// The settings that this replica was made with.
    pub fn config(&self) -> &ReplicaConfig {
        &self.config
    }

    /// Adds cycles to a canister out of nothing; false when it does not exist.
    pub fn top_up(&mut self, _id: &Principal, _cycles: u128) -> bool {
        todo!()
    }
}

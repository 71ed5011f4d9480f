//! The networks that the end-to-end tests run on: this project's replica, or PocketIC where
//! `POCKET_IC_BIN` names its server and the tests were built with the feature `pocket-ic`.

#[cfg(feature = "pocket-ic")]
mod pocket_ic;
mod replica;

use ::replica::http::Server;
use anyhow::Result;
use candid::Principal;
use std::path::PathBuf;
use std::time::Duration;

/// The environment variable that names PocketIC's server.
const POCKET_IC: &str = "POCKET_IC_BIN";

/// How a network is set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The shortest time between two rounds, where the network does not make longer ones anyway.
    pub round_interval: Duration,
    /// Where the state is kept, for a network that is stopped and started again; in memory only or
    /// in a folder that goes with the network when absent.
    pub state: Option<PathBuf>,
    /// Port to listen on; 0 for any that is free.
    pub port: u16,
}

/// A local network with its HTTP interface, on which rounds go on by themselves. Dropping it stops it.
pub trait TestNetwork: Send + Sync {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// Where it listens, such as `http://127.0.0.1:4943`.
    fn url(&self) -> String;

    /// DER encoding of the root public key.
    fn root_key(&self) -> Result<Vec<u8>>;

    /// A new canister on an application subnet, with this one controller and so many cycles.
    fn create_canister(&self, controller: Principal, cycles: u128) -> Result<Principal>;

    /// The time that canisters see, in nanoseconds since 1970.
    fn time_ns(&self) -> Result<u64>;

    /// Moves the time that canisters see. PocketIC's certificates move with it, and clients accept
    /// them up to some minutes ahead; this replica takes requests by the wall clock all the same.
    fn advance(&self, by: Duration) -> Result<()>;

    /// Executes one round now, whether or not there is something to do.
    fn tick(&self) -> Result<()>;

    /// This project's replica, for what only it tells: instructions by canister, its state machine.
    fn replica(&self) -> Option<&Server> {
        None
    }
}

/// Whether the tests run on PocketIC.
pub fn on_pocket_ic() -> bool {
    cfg!(feature = "pocket-ic") && std::env::var_os(POCKET_IC).is_some()
}

/// Starts the network that the environment asks for.
pub fn start(setup: &Setup) -> Result<Box<dyn TestNetwork>> {
    if std::env::var_os(POCKET_IC).is_some() {
        #[cfg(feature = "pocket-ic")]
        return Ok(Box::new(pocket_ic::PocketIcNetwork::start(setup)?));
        #[cfg(not(feature = "pocket-ic"))]
        println!("{POCKET_IC} is set: `--features pocket-ic`, as scripts/test does, tests on it");
    }
    start_replica(setup)
}

/// Starts this project's replica, whatever the environment asks for.
pub fn start_replica(setup: &Setup) -> Result<Box<dyn TestNetwork>> {
    Ok(Box::new(replica::ReplicaNetwork::start(setup)?))
}

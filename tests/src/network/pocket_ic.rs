//! PocketIC as a network: one application subnet, and the subnet of the root key.

use super::{Setup, TestNetwork};
use anyhow::{Context, Result, anyhow};
use candid::Principal;
use pocket_ic::{
    CanisterSettings, CreateCanisterParams, CreateCanisterPlacement, PocketIc, PocketIcBuilder,
};
use std::time::Duration;

/// A PocketIC instance in live mode. Rounds are as far apart as its server makes them.
pub struct PocketIcNetwork {
    /// None only while it is dropped.
    instance: Option<PocketIc>,
    url: String,
}

impl PocketIcNetwork {
    /// Starts an instance on the server that `POCKET_IC_BIN` names, one server for a test program.
    pub fn start(setup: &Setup) -> Result<Self> {
        let (state, port) = (setup.state.clone(), setup.port);
        let (instance, url) = apart(move || {
            let mut builder = PocketIcBuilder::new();
            // The subnets of a state that is there come from it.
            let mut stored = false;
            if let Some(dir) = state {
                std::fs::create_dir_all(&dir)?;
                stored = std::fs::read_dir(&dir)?.next().is_some();
                builder = builder.with_state_dir(dir);
            }
            if !stored {
                builder = builder.with_nns_subnet().with_application_subnet();
            }
            let mut instance = builder.build();
            let port = (port != 0).then_some(port);
            let live = instance.make_live(port);
            // By address: the name `localhost` may mean another one first.
            let port = live.port().context("PocketIC's gateway has no port")?;
            let url = format!("http://127.0.0.1:{port}");
            anyhow::Ok((Some(instance), url))
        })??;
        Ok(Self { instance, url })
    }

    fn run<R: Send>(&self, f: impl FnOnce(&PocketIc) -> R + Send) -> Result<R> {
        let instance = self.instance.as_ref().context("PocketIC has stopped")?;
        apart(|| f(instance))
    }
}

impl TestNetwork for PocketIcNetwork {
    fn name(&self) -> &'static str {
        "PocketIC"
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn root_key(&self) -> Result<Vec<u8>> {
        self.run(PocketIc::root_key)?
            .context("PocketIC has no root key")
    }

    fn create_canister(&self, controller: Principal, cycles: u128) -> Result<Principal> {
        self.run(|instance| {
            let subnets = instance.topology().get_app_subnets();
            let subnet = subnets.first().context("no application subnet")?;
            let params = CreateCanisterParams {
                cycles: Some(cycles),
                settings: Some(CanisterSettings {
                    controllers: Some(vec![controller]),
                    ..CanisterSettings::default()
                }),
                placement: Some(CreateCanisterPlacement::SubnetId(*subnet)),
            };
            instance
                .create_canister_with_params(Some(controller), params)
                .map_err(|error| anyhow!("create a canister: {error}"))
        })?
    }

    fn time_ns(&self) -> Result<u64> {
        self.run(|instance| instance.get_time().as_nanos_since_unix_epoch())
    }

    fn advance(&self, by: Duration) -> Result<()> {
        self.run(|instance| instance.advance_time(by))
    }

    fn tick(&self) -> Result<()> {
        self.run(PocketIc::tick)
    }
}

impl Drop for PocketIcNetwork {
    fn drop(&mut self) {
        if let Some(mut instance) = self.instance.take() {
            // Another instance may want the gateway's port. One that does not end in order is ended
            // by the server.
            let _ = apart(move || instance.stop_live());
        }
    }
}

/// Runs `f` on a thread of its own: the client has its own runtime, which must not be entered from
/// within another, and it panics when the server fails.
fn apart<R: Send>(f: impl FnOnce() -> R + Send) -> Result<R> {
    std::thread::scope(|scope| scope.spawn(f).join())
        .map_err(|_| anyhow!("PocketIC failed, see above"))
}

//! Helpers of the end-to-end tests: the compiled canister on a local network (this project's replica in
//! this process, or PocketIC), spoken to over HTTP as users do.
//!
//! A test that only asks uses [`shared`]: one canister with the model in it for the whole test
//! program. A test that changes a canister starts a [`Testbed`] and installs its own.

pub mod bench;
pub mod chats;
pub mod counted_load;
mod files;
pub mod harness;
pub mod malicious;
pub mod network;
pub mod profile;
pub mod published;
pub mod raw_gguf;
pub mod tiny_model;

pub use files::{folder, gemma, model, tagged, wasm};

use anyhow::{Context, Result};
use candid::Principal;
use ic_agent::Identity;
use ic_agent::identity::{AnonymousIdentity, BasicIdentity};
use loader::management::{self, Mode};
use loader::upload::{UploadOptions, upload};
use loader::{Client, Network};
use network::{Setup, TestNetwork};
use replica::http::Server;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Cycles of a new canister.
const CYCLES: u128 = 1_000_000_000_000_000;

/// A network of its own, stopped when dropped.
pub struct Testbed {
    /// The network.
    pub live: Box<dyn TestNetwork>,
}

impl Testbed {
    /// The network that the environment asks for, in memory, on a free port.
    pub fn start() -> Result<Self> {
        Self::start_with(&Setup::default())
    }

    /// The same, set up as told.
    pub fn start_with(setup: &Setup) -> Result<Self> {
        Ok(Self {
            live: network::start(setup)?,
        })
    }

    /// This project's replica, for tests that need what only it tells.
    pub fn on_replica() -> Result<Self> {
        Ok(Self {
            live: network::start_replica(&Setup::default())?,
        })
    }

    /// The replica that [`Testbed::on_replica`] started.
    pub fn replica(&self) -> Result<&Server> {
        self.live
            .replica()
            .with_context(|| format!("{} is not this project's replica", self.live.name()))
    }

    /// Where the network listens, such as `http://127.0.0.1:4943`.
    pub fn url(&self) -> String {
        self.live.url()
    }

    /// A connection that signs as the controller of every canister made here.
    pub async fn network(&self) -> Result<Network> {
        self.network_as(controller()).await
    }

    /// A connection that signs with the given key.
    pub async fn network_as(&self, identity: Arc<dyn Identity>) -> Result<Network> {
        Ok(Network::connect(&self.url(), identity).await?)
    }

    /// A client of an existing canister that signs with the given key.
    pub async fn client_as(
        &self,
        canister: Principal,
        identity: Arc<dyn Identity>,
    ) -> Result<Client> {
        Ok(Client::new(self.network_as(identity).await?, canister))
    }

    /// A new canister with the code in it, and no model.
    pub async fn install(&self) -> Result<Client> {
        let network = self.network().await?;
        let controller = controller().sender().map_err(anyhow::Error::msg)?;
        let canister = self.live.create_canister(controller, CYCLES)?;
        management::install(&network, canister, &wasm()?, Mode::Install).await?;
        Ok(Client::new(network, canister))
    }

    /// A new canister with the default model ready.
    pub async fn install_with_model(&self) -> Result<Client> {
        let client = self.install().await?;
        upload_file(&client, &model()?).await?;
        Ok(client)
    }
}

/// Uploads a file and waits until its model is ready.
pub async fn upload_file(client: &Client, file: &Path) -> Result<()> {
    let options = UploadOptions::default();
    upload(client, file, &options, |_| ())
        .await
        .with_context(|| format!("upload {}", file.display()))?;
    Ok(())
}

/// A client of the one canister of this test program that has the default model ready: it is
/// installed for the first test that asks. Others use it at the same time.
pub async fn shared() -> Result<Client> {
    static SHARED: OnceCell<(Testbed, Principal)> = OnceCell::const_new();
    let (testbed, canister) = SHARED
        .get_or_try_init(|| async {
            let testbed = Testbed::start()?;
            let canister = testbed.install_with_model().await?.canister();
            anyhow::Ok((testbed, canister))
        })
        .await?;
    // A connection belongs to the runtime of its test, so each test has its own.
    testbed.client_as(*canister, controller()).await
}

/// Numbers that look random: another run draws others.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// The controller's key.
pub fn controller() -> Arc<dyn Identity> {
    Arc::new(BasicIdentity::from_raw_key(&[1; 32]))
}

/// Somebody else's key.
pub fn stranger() -> Arc<dyn Identity> {
    Arc::new(BasicIdentity::from_raw_key(&[2; 32]))
}

/// Nobody's key.
pub fn anonymous() -> Arc<dyn Identity> {
    Arc::new(AnonymousIdentity)
}

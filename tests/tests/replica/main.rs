//! The local replica at work with the real model: killed at any moment, asked by many, with much
//! memory, and as fast as the engine under it.

use anyhow::Result;
use candid::Principal;
use e2e::Testbed;
use tokio::sync::{Mutex, OnceCell};

/// Held by a test that measures, or that uses the whole machine.
static ALONE: Mutex<()> = Mutex::const_new(());

mod bare;
mod crash;
mod load;
mod memory;
mod speed;

/// A replica with one canister that has the model, for the tests that do not change it; and the
/// canister's id.
async fn ready() -> Result<&'static (Testbed, Principal)> {
    static READY: OnceCell<(Testbed, Principal)> = OnceCell::const_new();
    READY
        .get_or_try_init(|| async {
            let testbed = Testbed::on_replica()?;
            let client = testbed.install_with_model().await?;
            anyhow::Ok((testbed, client.canister()))
        })
        .await
}

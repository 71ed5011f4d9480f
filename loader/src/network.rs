//! A connection to the IC or to a local replica.

use crate::{Error, Result};
use ic_agent::{Agent, Identity};
use std::sync::Arc;
use url::{Host, Url};

/// Default address of a local replica.
pub const LOCAL: &str = "http://127.0.0.1:4943";
/// Address of the IC.
pub const MAINNET: &str = "https://icp-api.io";

/// A connection whose certificates and query signatures are verified.
#[derive(Clone)]
pub struct Network {
    /// Makes the calls.
    pub agent: Agent,
    /// Its address.
    pub url: Url,
    /// `true` for a replica on this machine, whose root key was fetched from itself.
    pub local: bool,
}

impl Network {
    /// Connects to an address, or to `ic` or `local`. The root key of a replica on this machine is fetched;
    /// elsewhere only that of the IC is trusted.
    ///
    /// ```no_run
    /// use ic_agent::identity::AnonymousIdentity;
    /// use loader::Network;
    /// use std::sync::Arc;
    ///
    /// # async fn example() -> loader::Result<()> {
    /// let network = Network::connect("http://127.0.0.1:4943", Arc::new(AnonymousIdentity)).await?;
    /// assert!(network.local);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Url`] for what is no address, [`Error::Call`] if a local replica does not answer.
    pub async fn connect(address: &str, identity: Arc<dyn Identity>) -> Result<Self> {
        let url = url(address)?;
        let local = is_loopback(&url);
        let agent = Agent::builder()
            .with_url(url.as_str())
            .with_arc_identity(identity)
            .with_max_tcp_error_retries(2)
            .build()
            .map_err(Error::call(format!("connect to {url}")))?;
        if local {
            agent
                .fetch_root_key()
                .await
                .map_err(Error::call(format!("connect to {url}")))?;
        }
        Ok(Self { agent, url, local })
    }
}

/// Returns `true` if an address, or `local`, means this machine.
///
/// # Errors
/// [`Error::Url`] for what is no address.
pub fn is_local(address: &str) -> Result<bool> {
    Ok(is_loopback(&url(address)?))
}

/// Returns the URL of an address, or of `ic` or `local`.
///
/// # Errors
/// [`Error::Url`] for what is no address.
pub fn url(address: &str) -> Result<Url> {
    let address = match address {
        "local" => LOCAL,
        "ic" => MAINNET,
        other => other,
    };
    let bad = |reason: String| Error::Url {
        url: address.to_string(),
        reason,
    };
    let url = Url::parse(address).map_err(|error| bad(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(bad("expected http or https".into()));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_local() {
        for local in [
            "local",
            "http://127.0.0.1:1",
            "http://[::1]:8000",
            "http://a.localhost:4943",
        ] {
            assert!(is_local(local).unwrap(), "{local}");
        }
        for remote in [
            "ic",
            "https://icp-api.io",
            "http://10.0.0.1",
            "http://localhost.example.com",
        ] {
            assert!(!is_local(remote).unwrap(), "{remote}");
        }
        assert!(matches!(is_local("127.0.0.1:4943"), Err(Error::Url { .. })));
        assert!(matches!(is_local("file:///etc"), Err(Error::Url { .. })));
    }
}

//! A connection to the IC or to a local replica.

use crate::{Error, Result};
use ic_agent::{Agent, Identity};
use std::sync::Arc;
use url::{Host, Url};

/// Where a local replica listens unless told otherwise.
pub const LOCAL: &str = "http://127.0.0.1:4943";
/// The IC's own entry point.
pub const MAINNET: &str = "https://icp-api.io";

/// A connection whose certificates and query signatures are verified.
#[derive(Clone)]
pub struct Network {
    pub agent: Agent,
    pub url: Url,
    /// Whether this is a replica on this machine: its root key was asked of itself.
    pub local: bool,
}

impl Network {
    /// Connects to an address (or to `ic` or `local`). On loopback the root key is fetched; elsewhere
    /// only the IC's own is trusted.
    pub async fn connect(address: &str, identity: Arc<dyn Identity>) -> Result<Self> {
        let url = parse(address)?;
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

/// Whether an address (or `local`) means this machine.
pub fn is_local(address: &str) -> Result<bool> {
    Ok(is_loopback(&parse(address)?))
}

fn parse(address: &str) -> Result<Url> {
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
        return Err(bad("no http or https address".into()));
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

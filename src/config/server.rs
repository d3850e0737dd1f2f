use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Findings;

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port; port 0 takes a free one.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Must be true for an address that other machines can reach. There is no TLS here: put a proxy in front.
    pub allow_remote: bool,
    /// How the world reaches this server (`https://halo.example.com`), for the webhook addresses shown.
    pub public_url: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed: addresses or networks (`10.0.0.0/8`).
    pub trusted_proxies: Vec<String>,
    /// Largest request body, bytes.
    pub max_body_bytes: usize,
    /// Time that a client has for the request's head, and that an idle connection is kept.
    pub header_timeout_seconds: u64,
    /// Time that a client has for the whole body.
    pub body_timeout_seconds: u64,
    /// Time without a byte of the body, or without reading the answer, after which a client is cut off.
    pub stall_timeout_seconds: u64,
    /// Connections at once; more wait to be accepted.
    pub max_connections: usize,
    /// Time that requests in flight have after a request to stop.
    pub shutdown_seconds: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8420)),
            allow_remote: false,
            public_url: None,
            trusted_proxies: Vec::new(),
            max_body_bytes: 1024 * 1024,
            header_timeout_seconds: 10,
            body_timeout_seconds: 20,
            stall_timeout_seconds: 10,
            max_connections: 4_096,
            shutdown_seconds: 20,
        }
    }
}

impl Server {
    /// The networks of the trusted proxies.
    pub fn proxies(&self) -> impl Iterator<Item = IpNet> {
        self.trusted_proxies.iter().filter_map(|text| network(text))
    }

    pub(super) fn check(&self, found: &mut Findings<'_>) {
        if !self.listen.ip().is_loopback() && !self.allow_remote {
            found.add(
                "server.listen",
                format!(
                    "other machines can reach {}; if that is meant, set server.allow_remote = true and put a \
                     proxy with TLS in front",
                    self.listen
                ),
            );
        }
        if let Some(text) = &self.public_url {
            match url::Url::parse(text) {
                Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                    if url.query().is_some() || url.fragment().is_some() {
                        found.add("server.public_url", "must not have a query or fragment");
                    }
                }
                _ => found.add("server.public_url", "is not an http or https address"),
            }
        }
        for text in self.trusted_proxies.iter().filter(|text| network(text).is_none()) {
            found.add("server.trusted_proxies", format!("{text:?} is no address or network (10.0.0.0/8)"));
        }
        found.within("server.max_body_bytes", self.max_body_bytes, 1_024, 64 * 1024 * 1024);
        found.within("server.header_timeout_seconds", self.header_timeout_seconds, 1, 300);
        found.within("server.body_timeout_seconds", self.body_timeout_seconds, 1, 600);
        found.within("server.stall_timeout_seconds", self.stall_timeout_seconds, 1, 600);
        found.within("server.max_connections", self.max_connections, 1, 100_000);
        found.within("server.shutdown_seconds", self.shutdown_seconds, 0, 600);
    }
}

/// A network, or an address that is one of its own.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

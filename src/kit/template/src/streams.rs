//! What is read.

use connector_sdk::{ConnectorError, StreamSpec};

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What the engine knows. The name is also the last segment of the list's path.
    pub(crate) spec: StreamSpec,
    /// The operation that lists, as the provider counts it.
    pub(crate) list: &'static str,
    /// The operation that reads one.
    pub(crate) retrieve: &'static str,
}

/// Every stream.
pub(crate) const ALL: [Stream; 2] = [
    Stream {
        spec: StreamSpec {
            name: "accounts",
            about: "Customers, each a party that a company is linked to.",
            permission: Some("accounts.read"),
            incremental: true,
            party: true,
            full_pass_deletes: true,
            feed: false,
            order: 0,
        },
        list: "GET /v1/accounts",
        retrieve: "GET /v1/accounts/:id",
    },
    Stream {
        spec: StreamSpec {
            name: "subscriptions",
            about: "Subscriptions of every status, with what they cost.",
            permission: Some("subscriptions.read"),
            incremental: true,
            party: false,
            full_pass_deletes: true,
            feed: false,
            order: 1,
        },
        list: "GET /v1/subscriptions",
        retrieve: "GET /v1/subscriptions/:id",
    },
];

/// The stream of that name.
pub(crate) fn find(name: &str) -> Result<&'static Stream, ConnectorError> {
    let found = ALL.iter().find(|stream| stream.spec.name == name);
    found.ok_or_else(|| ConnectorError::Config(format!("there is no stream named {name:?}")))
}

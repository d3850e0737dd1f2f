//! What a connector says about itself.

use serde::Serialize;

use crate::connector::Mode;

/// What kind of tool a provider is. Derivations know roles, never vendors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Subscriptions, invoices, payments.
    Billing,
    /// Companies, people, deals.
    Crm,
    /// Signed documents.
    Signature,
    /// Tickets and conversations.
    Support,
    /// Any of these: a bridge, whose settings say what it reads.
    Any,
}

/// How a connection authenticates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum AuthKind {
    /// A key that an operator pastes.
    ApiKey {
        /// Where the operator finds it, in one sentence.
        help: &'static str,
    },
    /// No secret: there are accounts that ask for none.
    NoSecret,
    /// OAuth 2 authorisation code.
    OAuth2 {
        /// The authorisation endpoint.
        authorize_url: &'static str,
        /// The token endpoint.
        token_url: &'static str,
        /// The revocation endpoint (RFC 7009); `None` where the provider has none.
        revoke_url: Option<&'static str>,
        /// The scopes asked for.
        scopes: &'static [&'static str],
    },
}

/// One stream of a connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamSpec {
    /// Stable name (`subscriptions`); part of every record's key.
    pub name: &'static str,
    /// One sentence for the operator.
    pub about: &'static str,
    /// The provider's permission that reading needs, as the provider names it.
    pub permission: Option<&'static str>,
    /// Whether an incremental read gives less than everything.
    pub incremental: bool,
    /// Whether the records of this stream are parties (who is a customer) that companies are linked to.
    pub party: bool,
    /// Whether an object that a full pass did not see is gone. False for append-only history.
    pub full_pass_deletes: bool,
    /// Whether the provider's change feed ([`Spec::feed`]) names every change of this stream.
    pub feed: bool,
    /// Read order of a backfill: smaller first (parties, then catalogue, then what refers to them).
    pub order: u8,
}

/// A provider's list of what changed in an account: by it an incremental run finds changes without listing
/// streams. It is read by `read_page` under its own name and holds no records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeedSpec {
    /// Stable name (`events`), unlike that of any stream.
    pub name: &'static str,
    /// One sentence for the operator.
    pub about: &'static str,
    /// The provider's permission that reading needs, as the provider names it.
    pub permission: Option<&'static str>,
    /// How long the provider keeps a change, in days. A cursor that is older is
    /// [`ConnectorError::Expired`](crate::ConnectorError::Expired).
    pub retention_days: u32,
}

/// How many calls a provider allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RateBudget {
    /// Sustained calls per second for a live account.
    pub live_per_second: f64,
    /// Sustained calls per second for a test or sandbox account.
    pub test_per_second: f64,
    /// Sustained calls per second of any one endpoint, where the provider counts them apart.
    pub per_endpoint_per_second: Option<f64>,
    /// Calls in flight at once.
    pub concurrency: usize,
}

impl RateBudget {
    /// Sustained calls per second for an account in this mode.
    #[must_use]
    pub fn per_second(&self, mode: Mode) -> f64 {
        match mode {
            Mode::Live => self.live_per_second,
            Mode::Test => self.test_per_second,
        }
    }
}

/// Everything that a connector says about itself.
#[derive(Debug, Clone, Serialize)]
pub struct Spec {
    /// Stable id (`stripe`), also the name on the command line.
    pub id: &'static str,
    /// The vendor's own spelling (`Stripe`).
    pub display_name: &'static str,
    /// What the vendor is to a company.
    pub role: Role,
    /// Ways to authenticate, the preferred one first.
    pub auth: Vec<AuthKind>,
    /// The API version that every call pins.
    pub api_version: &'static str,
    /// Default address of the API.
    pub default_base_url: &'static str,
    /// Streams, in no particular order (see [`StreamSpec::order`]).
    pub streams: Vec<StreamSpec>,
    /// The list of what changed, where the provider has one.
    pub feed: Option<FeedSpec>,
    /// Webhook event types that change something.
    pub webhook_events: &'static [&'static str],
    /// Rate budget until the provider's own headers say otherwise.
    pub budget: RateBudget,
    /// JSON Schema of the connection's settings.
    pub config_schema: serde_json::Value,
    /// Version of the connector's translation into facts; a larger one makes stored facts stale.
    pub facts_version: u32,
}

impl Spec {
    /// The stream of that name.
    pub fn stream(&self, name: &str) -> Option<&StreamSpec> {
        self.streams.iter().find(|s| s.name == name)
    }
}

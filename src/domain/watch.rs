//! What is watched of a connection: the endpoint that its webhooks come through, and audits of its mirror.

use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AuditId, ConnectionId};

/// What is wrong with an endpoint, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFault {
    /// `missing`, `disabled`, `wrong_version`, `missing_events`, `other_url`, `no_secret`, `not_permitted`.
    pub code: String,
    /// In words.
    pub message: String,
    /// What to type.
    pub hint: String,
}

/// The endpoint at the provider that sends a connection's webhooks, as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEndpoint {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The provider's id of it; `None` while none was found.
    pub endpoint_id: Option<String>,
    /// Where it is to send.
    pub url: String,
    /// Registered by this program, which removes it with the connection.
    pub made_by_us: bool,
    /// Which of the connection's webhook secrets it signs with, where we know.
    pub secret_slot: Option<i64>,
    /// Empty when all is well.
    pub faults: Vec<EndpointFault>,
    /// When the provider was last asked.
    pub checked_at: Timestamp,
}

/// A comparison of the mirror with the provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Our id.
    pub id: AuditId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// `manual` or `schedule`.
    pub trigger: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Records that were compared.
    pub compared: i64,
    /// Records that differed.
    pub drift: i64,
    /// How many of them were read again into the mirror.
    pub repaired: i64,
    /// Scope, counts by stream, and the first records that differed, each with what differed.
    pub report: Value,
}

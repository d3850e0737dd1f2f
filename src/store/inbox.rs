//! The webhook inbox: verified deliveries, stored before they are answered.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::domain::jobs::NewJob;
use crate::domain::{ConnectionId, DeliveryId, OrgId};

/// The kind of the job that applies a connection's pending deliveries.
pub const PROCESS_KIND: &str = "webhooks.process";

/// A verified delivery to be stored.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Whose it is.
    pub org_id: OrgId,
    /// The connection that its signature proved.
    pub connection_id: ConnectionId,
    /// The provider's id of the event: the key of deduplication within the connection.
    pub event_id: String,
    /// The provider's type.
    pub kind: String,
    /// The untouched body.
    pub body: Vec<u8>,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// What storing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// A row was made and the job pushed.
    New(DeliveryId),
    /// The event was already there.
    Duplicate,
}

/// A stored delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Our id.
    pub id: DeliveryId,
    /// Connection.
    pub connection_id: ConnectionId,
    /// The provider's id of the event.
    pub event_id: String,
    /// The provider's type.
    pub kind: String,
    /// The untouched body.
    #[serde(skip)]
    pub body: Vec<u8>,
    /// `pending`, `applied`, `ignored`, `failed`.
    pub state: String,
    /// Times that processing was begun.
    pub attempts: i64,
    /// Why it failed or was ignored.
    pub error: Option<String>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// When it was finished.
    pub finished_at: Option<Timestamp>,
}

/// The inbox.
#[async_trait]
pub trait InboxStore {
    /// Stores deliveries, of any connections, and pushes those of the `jobs` whose connection has a new one: one
    /// durable unit, on the lane for acknowledgements. Answers in the order of `deliveries`.
    async fn accept_deliveries(
        &self,
        deliveries: Vec<NewDelivery>,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Accepted>>;

    /// Pending deliveries of a connection, oldest first, with `attempts` counted up.
    async fn load_pending_deliveries(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        limit: i64,
    ) -> Result<Vec<Delivery>>;

    /// Connections with pending deliveries older than `before` and no job that looks at them, for reconcile.
    async fn list_stalled_inboxes(&self, before: Timestamp) -> Result<Vec<(OrgId, ConnectionId)>>;

    /// Deliveries, newest first.
    async fn list_deliveries(
        &self,
        org: &OrgId,
        connection: Option<&ConnectionId>,
        state: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Delivery>>;

    /// Which of these events of a connection have been applied whole.
    async fn list_applied_events(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        events: &[String],
    ) -> Result<Vec<String>>;

    /// Deletes finished deliveries received before `before`; answers how many, at most `limit`.
    async fn prune_deliveries(&self, before: Timestamp, limit: i64) -> Result<i64>;
}

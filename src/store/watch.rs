//! What is watched of connections: webhook endpoints, audits.

use async_trait::async_trait;

use super::Result;
use crate::domain::watch::{Audit, WebhookEndpoint};
use crate::domain::{ConnectionId, OrgId};

/// Endpoints and audits. They go with their connection.
#[async_trait]
pub trait WatchStore {
    /// Makes or replaces what is known of a connection's endpoint.
    async fn put_endpoint(&self, org: &OrgId, endpoint: &WebhookEndpoint) -> Result<()>;

    /// What is known of a connection's endpoint.
    async fn find_endpoint(&self, org: &OrgId, connection: &ConnectionId) -> Result<Option<WebhookEndpoint>>;

    /// What is known of endpoints, of all organisations, in the order of their connections.
    async fn list_endpoints(&self) -> Result<Vec<WebhookEndpoint>>;

    /// Stores an audit; of a connection the latest `keep` stay.
    async fn put_audit(&self, org: &OrgId, audit: &Audit, keep: i64) -> Result<()>;

    /// Audits of a connection, the latest first.
    async fn list_audits(&self, org: &OrgId, connection: &ConnectionId, limit: i64) -> Result<Vec<Audit>>;
}

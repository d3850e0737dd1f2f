//! Organisations, connections, sealed credentials.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde_json::Value;

use super::Result;
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::{ConnectionId, OrgId};

/// A sealed secret of a connection: ciphertext only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// `api_key`, `webhook_secret`, …
    pub name: String,
    /// Distinguishes several of one name (a rotated webhook secret).
    pub slot: i64,
    /// Sealed bytes (`sync::credentials`).
    pub sealed: Vec<u8>,
    /// When it stops being accepted; `None` while current.
    pub expires_at: Option<Timestamp>,
}

impl SealedSecret {
    /// The id of the key that sealed bytes name in their head, in hex; empty where they are too short for one.
    pub fn key_of(sealed: &[u8]) -> String {
        sealed.get(1..9).map(hex::encode).unwrap_or_default()
    }
}

/// Settings.
#[async_trait]
pub trait SettingsStore {
    /// The organisation's settings document; `None` when there is no such organisation.
    async fn find_org_settings(&self, org: &OrgId) -> Result<Option<Value>>;

    /// Makes the organisation or replaces its settings; an empty `name` keeps the stored one. A change of
    /// what derivation reads is the caller's to mark.
    async fn put_org(&self, org: &OrgId, name: &str, settings: &Value, at: Timestamp) -> Result<()>;

    /// Organisations.
    async fn list_orgs(&self) -> Result<Vec<OrgId>>;

    /// Makes or replaces a connection with its secrets (all of them; one that is not named is deleted, and so is its OAuth grant) and
    /// its schedules' jobs are the caller's.
    async fn put_connection(&self, connection: &Connection, secrets: &[SealedSecret]) -> Result<()>;

    /// Writes everything of a connection but its secrets.
    async fn update_connection(&self, connection: &Connection) -> Result<()>;

    /// Sets what the operator sees; writes nothing when it is the same.
    async fn set_connection_status(
        &self,
        org: &OrgId,
        id: &ConnectionId,
        status: ConnectionStatus,
        reason: Option<&str>,
        at: Timestamp,
    ) -> Result<()>;

    /// A connection by our id or its name.
    async fn find_connection(&self, org: &OrgId, id_or_name: &str) -> Result<Option<Connection>>;

    /// A connection by our id alone, for the webhook route, which learns the organisation from it.
    async fn find_connection_any_org(&self, id: &ConnectionId) -> Result<Option<Connection>>;

    /// Connections of an organisation, or of all.
    async fn list_connections(&self, org: Option<&OrgId>) -> Result<Vec<Connection>>;

    /// Deletes a connection with everything that hangs on it (records, links, runs, inbox, secrets, jobs,
    /// schedules); companies stay and become dirty. Answers the number of mirror rows that went.
    async fn delete_connection(&self, org: &OrgId, id: &ConnectionId, at: Timestamp) -> Result<Option<i64>>;

    /// Sealed secrets of a connection.
    async fn load_secrets(&self, org: &OrgId, id: &ConnectionId) -> Result<Vec<SealedSecret>>;

    /// Adds or replaces one secret.
    async fn put_secret(&self, org: &OrgId, id: &ConnectionId, secret: &SealedSecret) -> Result<()>;

    /// The newest applied migration.
    async fn schema_version(&self) -> Result<i64>;
}

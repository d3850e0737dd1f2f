//! [`SettingsStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde_json::Value;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::{ConnectionId, OrgId};
use crate::store::settings::{SealedSecret, SettingsStore};

#[async_trait]
impl SettingsStore for Engine {
    async fn find_org_settings(&self, org: &OrgId) -> Result<Option<Value>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone()],
            |c| units::settings::find_org_settings(c, org)
        )
    }

    async fn put_org(&self, org: &OrgId, name: &str, settings: &Value, at: Timestamp) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), name = name.to_owned(), settings = settings.clone()],
            |c| units::settings::put_org(c, org, name, settings, at)
        )
    }

    async fn list_orgs(&self) -> Result<Vec<OrgId>> {
        unit!(self.read(Scope::System), [], |c| units::settings::list_orgs(c))
    }

    async fn put_connection(&self, connection: &Connection, secrets: &[SealedSecret]) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(connection.org_id.clone())),
            [connection = connection.clone(), secrets = secrets.to_vec()],
            |c| units::settings::put_connection(c, connection, secrets)
        )
    }

    async fn update_connection(&self, connection: &Connection) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(connection.org_id.clone())),
            [connection = connection.clone()],
            |c| units::settings::update_connection(c, connection)
        )
    }

    async fn set_connection_status(
        &self,
        org: &OrgId,
        id: &ConnectionId,
        status: ConnectionStatus,
        reason: Option<&str>,
        at: Timestamp,
    ) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), id = id.clone(), reason = reason.map(str::to_owned)],
            |c| units::settings::set_connection_status(c, org, id, status, reason.as_deref(), at)
        )
    }

    async fn find_connection(&self, org: &OrgId, id_or_name: &str) -> Result<Option<Connection>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), text = id_or_name.to_owned()], |c| {
            units::settings::find_connection(c, org, text)
        })
    }

    async fn find_connection_any_org(&self, id: &ConnectionId) -> Result<Option<Connection>> {
        unit!(self.read(Scope::System), [id = id.clone()], |c| units::settings::find_connection_any_org(
            c, id
        ))
    }

    async fn list_connections(&self, org: Option<&OrgId>) -> Result<Vec<Connection>> {
        let scope = org.cloned().map_or(Scope::System, Scope::Org);
        unit!(self.read(scope), [org = org.cloned()], |c| units::settings::list_connections(c, org.as_ref()))
    }

    async fn delete_connection(&self, org: &OrgId, id: &ConnectionId, at: Timestamp) -> Result<Option<i64>> {
        unit!(self.write(Lane::Bulk, Scope::Org(org.clone())), [org = org.clone(), id = id.clone()], |c| {
            units::settings::delete_connection(c, org, id, at)
        })
    }

    async fn load_secrets(&self, org: &OrgId, id: &ConnectionId) -> Result<Vec<SealedSecret>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), id = id.clone()], |c| {
            units::settings::load_secrets(c, org, id)
        })
    }

    async fn put_secret(&self, org: &OrgId, id: &ConnectionId, secret: &SealedSecret) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), id = id.clone(), secret = secret.clone()],
            |c| units::settings::put_secret(c, org, id, secret)
        )
    }

    async fn schema_version(&self) -> Result<i64> {
        self.stored_version().await
    }
}

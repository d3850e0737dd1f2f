//! [`WatchStore`] on the engine.

use async_trait::async_trait;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::watch::{Audit, WebhookEndpoint};
use crate::domain::{ConnectionId, OrgId};
use crate::store::watch::WatchStore;

#[async_trait]
impl WatchStore for Engine {
    async fn put_endpoint(&self, org: &OrgId, endpoint: &WebhookEndpoint) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), endpoint = endpoint.clone()],
            |c| units::watch::put_endpoint(c, org, endpoint)
        )
    }

    async fn find_endpoint(&self, org: &OrgId, connection: &ConnectionId) -> Result<Option<WebhookEndpoint>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), connection = connection.clone()], |c| {
            units::watch::find_endpoint(c, org, connection)
        })
    }

    async fn list_endpoints(&self) -> Result<Vec<WebhookEndpoint>> {
        unit!(self.read(Scope::System), [], |c| units::watch::list_endpoints(c))
    }

    async fn put_audit(&self, org: &OrgId, audit: &Audit, keep: i64) -> Result<()> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), audit = audit.clone()],
            |c| units::watch::put_audit(c, org, audit, keep)
        )
    }

    async fn list_audits(&self, org: &OrgId, connection: &ConnectionId, limit: i64) -> Result<Vec<Audit>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), connection = connection.clone()], |c| {
            units::watch::list_audits(c, org, connection, limit)
        })
    }
}

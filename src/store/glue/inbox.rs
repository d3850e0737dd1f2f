//! [`InboxStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::Timestamp;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::jobs::NewJob;
use crate::domain::{ConnectionId, OrgId};
use crate::store::inbox::{Accepted, Delivery, InboxStore, NewDelivery};

#[async_trait]
impl InboxStore for Engine {
    async fn accept_deliveries(
        &self,
        deliveries: Vec<NewDelivery>,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Accepted>> {
        let now = self.clock().now();
        unit!(self.write(Lane::Ack, Scope::System), [deliveries = deliveries, jobs = jobs], |c| {
            units::inbox::accept_deliveries(c, deliveries, jobs, now)
        })
    }

    async fn load_pending_deliveries(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        limit: i64,
    ) -> Result<Vec<Delivery>> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.clone()],
            |c| units::inbox::load_pending_deliveries(c, org, connection, limit)
        )
    }

    async fn list_stalled_inboxes(&self, before: Timestamp) -> Result<Vec<(OrgId, ConnectionId)>> {
        unit!(self.read(Scope::System), [], |c| units::inbox::list_stalled_inboxes(c, before))
    }

    async fn list_deliveries(
        &self,
        org: &OrgId,
        connection: Option<&ConnectionId>,
        state: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Delivery>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.cloned(), state = state.map(str::to_owned)],
            |c| units::inbox::list_deliveries(c, org, connection.as_ref(), state.as_deref(), limit)
        )
    }

    async fn list_applied_events(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        events: &[String],
    ) -> Result<Vec<String>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.clone(), events = events.to_vec()],
            |c| units::inbox::list_applied_events(c, org, connection, events)
        )
    }

    async fn prune_deliveries(&self, before: Timestamp, limit: i64) -> Result<i64> {
        unit!(self.write(Lane::Bulk, Scope::System), [], |c| units::inbox::prune_deliveries(c, before, limit))
    }
}

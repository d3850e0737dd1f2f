//! [`InboxStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::Timestamp;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::jobs::NewJob;
use crate::domain::{ConnectionId, DeliveryId, OrgId};
use crate::store::inbox::{Accepted, Delivery, DeliveryCount, DeliveryFilter, InboxStore, NewDelivery};

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

    async fn find_deliveries(
        &self,
        org: &OrgId,
        filter: &DeliveryFilter,
        limit: i64,
    ) -> Result<Vec<Delivery>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), filter = filter.clone()], |c| {
            units::inbox::find_deliveries(c, org, filter, limit)
        })
    }

    async fn find_delivery(&self, org: &OrgId, id: &str) -> Result<Option<Delivery>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), id = id.to_owned()], |c| {
            units::inbox::find_delivery(c, org, id)
        })
    }

    async fn count_deliveries(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        since: Timestamp,
    ) -> Result<Vec<DeliveryCount>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), connection = connection.clone()], |c| {
            units::inbox::count_deliveries(c, org, connection, since)
        })
    }

    async fn replay_deliveries(
        &self,
        org: &OrgId,
        ids: &[DeliveryId],
        jobs: Vec<NewJob>,
    ) -> Result<Vec<DeliveryId>> {
        let now = self.clock().now();
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), ids = ids.to_vec(), jobs = jobs],
            |c| units::inbox::replay_deliveries(c, org, ids, jobs, now)
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

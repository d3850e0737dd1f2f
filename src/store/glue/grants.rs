//! [`GrantStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde_json::Value;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::connections::Connection;
use crate::domain::{ConnectionId, FlowId, OrgId};
use crate::store::grants::{Flow, FlowStatus, Grant, GrantClaim, GrantStore, TokenLife};
use crate::store::settings::SealedSecret;

#[async_trait]
impl GrantStore for Engine {
    async fn put_granted_connection(
        &self,
        connection: &Connection,
        secrets: &[SealedSecret],
        life: &TokenLife,
    ) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(connection.org_id.clone())),
            [connection = connection.clone(), secrets = secrets.to_vec(), life = life.clone()],
            |c| units::grants::put_granted_connection(c, connection, secrets, life)
        )
    }

    async fn find_grant(&self, org: &OrgId, id: &ConnectionId) -> Result<Option<Grant>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), id = id.clone()], |c| {
            units::grants::find_grant(c, org, id)
        })
    }

    async fn claim_grant(
        &self,
        org: &OrgId,
        id: &ConnectionId,
        version: i64,
        claim: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<GrantClaim> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), id = id.clone(), claim = claim.to_owned()],
            |c| units::grants::claim_grant(c, org, id, version, claim, now, until)
        )
    }

    async fn finish_grant(
        &self,
        org: &OrgId,
        id: &ConnectionId,
        claim: &str,
        secrets: &[SealedSecret],
        life: &TokenLife,
    ) -> Result<Option<i64>> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [
                org = org.clone(),
                id = id.clone(),
                claim = claim.to_owned(),
                secrets = secrets.to_vec(),
                life = life.clone(),
            ],
            |c| units::grants::finish_grant(c, org, id, claim, secrets, life)
        )
    }

    async fn release_grant(
        &self,
        org: &OrgId,
        id: &ConnectionId,
        claim: &str,
        not_before: Timestamp,
    ) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), id = id.clone(), claim = claim.to_owned()],
            |c| units::grants::release_grant(c, org, id, claim, not_before)
        )
    }

    async fn refuse_grant(
        &self,
        org: &OrgId,
        id: &ConnectionId,
        claim: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<bool> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), id = id.clone(), claim = claim.to_owned(), reason = reason.to_owned()],
            |c| units::grants::refuse_grant(c, org, id, claim, reason, at)
        )
    }

    async fn orphan_grants(&self, org: &OrgId) -> Result<()> {
        unit!(self.write(Lane::Ack, Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::grants::orphan_grants(c, org)
        })
    }

    async fn prune_flows(&self, org: &OrgId, now: Timestamp) -> Result<i64> {
        unit!(self.write(Lane::Ack, Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::grants::prune_flows(c, org, now)
        })
    }

    async fn put_flow(&self, flow: &Flow) -> Result<()> {
        unit!(self.write(Lane::Ack, Scope::Org(flow.org_id.clone())), [flow = flow.clone()], |c| {
            units::grants::put_flow(c, flow)
        })
    }

    async fn take_flow(&self, state_digest: &str, connector: &str, now: Timestamp) -> Result<Option<Flow>> {
        unit!(
            self.write(Lane::Ack, Scope::System),
            [digest = state_digest.to_owned(), connector = connector.to_owned()],
            |c| units::grants::take_flow(c, digest, connector, now)
        )
    }

    async fn end_flow(&self, org: &OrgId, id: &FlowId, status: FlowStatus, outcome: &Value) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), id = id.clone(), outcome = outcome.clone()],
            |c| units::grants::end_flow(c, org, id, status, outcome)
        )
    }

    async fn find_flow(&self, org: &OrgId, id: &FlowId) -> Result<Option<Flow>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), id = id.clone()], |c| {
            units::grants::find_flow(c, org, id)
        })
    }
}

//! What OAuth connections may do: their tokens' lives, who renews them, and connections that wait for a person.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Result;
use super::settings::SealedSecret;
use crate::domain::connections::Connection;
use crate::domain::{ConnectionId, FlowId, OrgId};

/// What a grant is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// Its tokens work, or can be renewed.
    Good,
    /// A person must connect again.
    Refused,
}

/// What an OAuth connection may do, and until when. Its tokens are sealed secrets of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// Grows with every renewed pair of tokens.
    pub version: i64,
    /// What it is good for.
    pub state: GrantState,
    /// Why a person must connect again.
    pub reason: Option<String>,
    /// The life of its access token.
    #[serde(flatten)]
    pub life: TokenLife,
    /// Renewals that were begun since the last one that ended well, and never ended.
    pub interrupted: i64,
}

/// The life of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenLife {
    /// What was granted, as the provider names it.
    pub scopes: Vec<String>,
    /// When the provider gave it.
    pub renewed_at: Timestamp,
    /// From when on it is renewed; `None` where the provider did not say how long it works.
    pub renew_at: Option<Timestamp>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// Whether a process may renew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantClaim {
    /// It may. So many renewals before it were begun and never ended.
    Claimed {
        /// How many.
        interrupted: i64,
    },
    /// Another process renews, until then at most.
    Taken {
        /// When its claim ends.
        until: Timestamp,
    },
    /// The last renewal failed: not before then.
    TooSoon {
        /// When the next is allowed.
        until: Timestamp,
    },
    /// The tokens are not those any more that were to be renewed, or nothing can renew them.
    Moved,
}

/// How a connection that waits for a person stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowStatus {
    /// The person has not come back.
    Open,
    /// They have; what they brought is being looked at.
    Taken,
    /// The connection is made.
    Done,
    /// It is not.
    Failed,
}

/// A connection that waits for a person at the provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Our id.
    pub id: FlowId,
    /// Whose connection it will be.
    pub org_id: OrgId,
    /// The connector.
    pub connector: String,
    /// The connection's name.
    pub name: String,
    /// The connection's settings.
    pub config: Value,
    /// Where the provider sends the person back to.
    pub redirect_uri: String,
    /// SHA-256 of the state, hex.
    pub state_digest: String,
    /// PKCE verifier and other secrets, sealed for the organisation.
    pub sealed: Vec<u8>,
    /// How it stands.
    pub status: FlowStatus,
    /// What came of it: the answer, or the failure.
    pub outcome: Option<Value>,
    /// When it began.
    pub created_at: Timestamp,
    /// Until when the person may come back.
    pub expires_at: Timestamp,
}

/// Grants and flows.
#[async_trait]
pub trait GrantStore {
    /// As [`SettingsStore::put_connection`](super::SettingsStore::put_connection), of a connection whose secrets are
    /// OAuth tokens. Whoever renews the tokens that were there has nothing more to say.
    async fn put_granted_connection(
        &self,
        connection: &Connection,
        secrets: &[SealedSecret],
        life: &TokenLife,
    ) -> Result<()>;

    /// The grant of a connection; `None` for one that has a pasted key.
    async fn find_grant(&self, org: &OrgId, id: &ConnectionId) -> Result<Option<Grant>>;

    /// Claims the right to renew the tokens of that version, for the holder of `claim` (an id that is never used twice)
    /// until `until`. Of any number of processes one gets it. A claim that has ended can be taken over.
    async fn claim_grant(
        &self,
        org: &OrgId,
        id: &ConnectionId,
        version: i64,
        claim: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<GrantClaim>;

    /// Stores renewed tokens and ends the claim. `None`, and nothing written, where the claim is no longer that one;
    /// else the new version.
    async fn finish_grant(
        &self,
        org: &OrgId,
        id: &ConnectionId,
        claim: &str,
        secrets: &[SealedSecret],
        life: &TokenLife,
    ) -> Result<Option<i64>>;

    /// Ends a claim without new tokens: the next may try from `not_before` on.
    async fn release_grant(
        &self,
        org: &OrgId,
        id: &ConnectionId,
        claim: &str,
        not_before: Timestamp,
    ) -> Result<()>;

    /// Ends a claim with the word that a person must connect again, and says so on the connection (one that a person
    /// paused stays paused). False, and nothing written, where the claim is no longer that one.
    async fn refuse_grant(
        &self,
        org: &OrgId,
        id: &ConnectionId,
        claim: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<bool>;

    /// Ends the claims of an organisation's grants whose holders cannot be alive: for whoever holds the database alone.
    async fn orphan_grants(&self, org: &OrgId) -> Result<()>;

    /// Drops the organisation's flows that ended a day ago, and those that nobody came back to in time. Answers how many.
    async fn prune_flows(&self, org: &OrgId, now: Timestamp) -> Result<i64>;

    /// Begins a flow, and prunes those of the organisation.
    async fn put_flow(&self, flow: &Flow) -> Result<()>;

    /// The open flow with that state, of whichever organisation, for the callback that brought it: once, never after
    /// its end, and only to its own connector.
    async fn take_flow(&self, state_digest: &str, connector: &str, now: Timestamp) -> Result<Option<Flow>>;

    /// Ends a flow.
    async fn end_flow(&self, org: &OrgId, id: &FlowId, status: FlowStatus, outcome: &Value) -> Result<()>;

    /// A flow.
    async fn find_flow(&self, org: &OrgId, id: &FlowId) -> Result<Option<Flow>>;
}

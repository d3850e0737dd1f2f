//! Grants: who renews tokens, and what they are then. A claim is an id that is never used twice, and every write of
//! its holder is conditional on it: whoever was stopped for too long writes nothing.

use connector_sdk::Timestamp;
use serde_json::Value;
use sqlx::FromRow;

use super::{Conn, Db, settings};
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::{ConnectionId, FlowId, OrgId};
use crate::store::Result;
use crate::store::convert::{clean, from_json, from_word, time, to_json, us, word};
use crate::store::grants::{Flow, FlowStatus, Grant, GrantClaim, GrantState, TokenLife};
use crate::store::settings::SealedSecret;

statements! {
    PUT_GRANT = "INSERT INTO connection_grants (connection_id, org_id, version, state, reason, scopes, renewed_at,
            renew_at, expires_at, claim, claimed_until, interrupted, not_before)
        VALUES ($1, $2, 1, 'good', NULL, $3, $4, $5, $6, NULL, NULL, 0, 0)
        ON CONFLICT (connection_id) DO UPDATE SET version = connection_grants.version + 1, state = 'good', reason = NULL,
            scopes = excluded.scopes, renewed_at = excluded.renewed_at, renew_at = excluded.renew_at,
            expires_at = excluded.expires_at, claim = NULL, claimed_until = NULL, interrupted = 0, not_before = 0";
    FIND_GRANT = "SELECT version, state, reason, scopes, renewed_at, renew_at, expires_at, claim, claimed_until,
            interrupted, not_before
        FROM connection_grants WHERE org_id = $1 AND connection_id = $2";
    CLAIM_GRANT = "UPDATE connection_grants SET claim = $4, claimed_until = $6,
            interrupted = interrupted + CASE WHEN claim IS NULL THEN 0 ELSE 1 END
        WHERE org_id = $1 AND connection_id = $2 AND version = $3 AND state = 'good' AND not_before <= $5
            AND (claim IS NULL OR claimed_until <= $5)
        RETURNING interrupted";
    FINISH_GRANT = "UPDATE connection_grants SET version = version + 1, scopes = $4, renewed_at = $5, renew_at = $6,
            expires_at = $7, claim = NULL, claimed_until = NULL, interrupted = 0, not_before = 0
        WHERE org_id = $1 AND connection_id = $2 AND claim = $3 AND state = 'good'
        RETURNING version";
    RELEASE_GRANT = "UPDATE connection_grants SET claim = NULL, claimed_until = NULL, not_before = $4
        WHERE org_id = $1 AND connection_id = $2 AND claim = $3";
    REFUSE_GRANT = "UPDATE connection_grants SET state = 'refused', reason = $4, claim = NULL, claimed_until = NULL
        WHERE org_id = $1 AND connection_id = $2 AND claim = $3 AND state = 'good'";
    // The claim itself stays: whoever takes it over sees that a renewal was cut off.
    ORPHAN_GRANTS = "UPDATE connection_grants SET claimed_until = 0 WHERE org_id = $1 AND claimed_until > 0";
    DELETE_ENDED_FLOWS = "DELETE FROM oauth_flows WHERE org_id = $1
        AND (expires_at < $2 OR expires_at < $3 AND status IN ('open', 'taken'))";
    PUT_FLOW = "INSERT INTO oauth_flows (id, org_id, connector, name, config, redirect_uri, state_digest, sealed, status,
            outcome, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    TAKE_FLOW = "UPDATE oauth_flows SET status = 'taken'
        WHERE state_digest = $1 AND connector = $2 AND status = 'open' AND expires_at > $3
        RETURNING id, org_id, connector, name, config, redirect_uri, state_digest, sealed, status, outcome, created_at,
            expires_at";
    // Its secrets have done their work.
    END_FLOW = "UPDATE oauth_flows SET status = $3, outcome = $4, sealed = $5 WHERE org_id = $1 AND id = $2";
    FIND_FLOW = "SELECT id, org_id, connector, name, config, redirect_uri, state_digest, sealed, status, outcome,
            created_at, expires_at
        FROM oauth_flows WHERE org_id = $1 AND id = $2";
}

/// How long an ended flow can still be asked for.
const KEEP_FLOWS: chrono::TimeDelta = chrono::TimeDelta::days(1);
/// How long after its end a flow that nobody came back to is kept: whoever is just coming back must still find it.
const KEEP_ABANDONED: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

#[derive(FromRow)]
struct GrantRow {
    version: i64,
    state: String,
    reason: Option<String>,
    scopes: String,
    renewed_at: i64,
    renew_at: Option<i64>,
    expires_at: Option<i64>,
    claim: Option<String>,
    claimed_until: Option<i64>,
    interrupted: i64,
    not_before: i64,
}

async fn find_row(c: &mut Conn, org: &OrgId, id: &ConnectionId) -> Result<Option<GrantRow>> {
    Ok(sqlx::query_as(FIND_GRANT).bind(&org.0).bind(&id.0).fetch_optional(c).await?)
}

pub(crate) async fn find_grant(c: &mut Conn, org: &OrgId, id: &ConnectionId) -> Result<Option<Grant>> {
    let Some(row) = find_row(c, org, id).await? else { return Ok(None) };
    Ok(Some(Grant {
        version: row.version,
        state: from_word("connection_grants", "state", &id.0, &row.state)?,
        reason: row.reason,
        life: TokenLife {
            scopes: from_json("connection_grants", "scopes", &id.0, &row.scopes)?,
            renewed_at: time(row.renewed_at),
            renew_at: row.renew_at.map(time),
            expires_at: row.expires_at.map(time),
        },
        interrupted: row.interrupted,
    }))
}

pub(crate) async fn put_granted_connection(
    c: &mut Conn,
    x: &Connection,
    secrets: &[SealedSecret],
    life: &TokenLife,
) -> Result<()> {
    settings::put_with_secrets(c, x, secrets).await?;
    sqlx::query(PUT_GRANT)
        .bind(&x.id.0)
        .bind(&x.org_id.0)
        .bind(clean(&to_json(&life.scopes)?))
        .bind(us(life.renewed_at))
        .bind(life.renew_at.map(us))
        .bind(life.expires_at.map(us))
        .execute(c)
        .await?;
    Ok(())
}

pub(crate) async fn claim_grant(
    c: &mut Conn,
    org: &OrgId,
    id: &ConnectionId,
    version: i64,
    claim: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<GrantClaim> {
    let claimed: Option<i64> = sqlx::query_scalar::<Db, _>(CLAIM_GRANT)
        .bind(&org.0)
        .bind(&id.0)
        .bind(version)
        .bind(claim)
        .bind(us(now))
        .bind(us(until))
        .fetch_optional(&mut *c)
        .await?;
    if let Some(interrupted) = claimed {
        return Ok(GrantClaim::Claimed { interrupted });
    }
    let row = find_row(c, org, id).await?;
    let Some(row) = row.filter(|row| row.version == version) else { return Ok(GrantClaim::Moved) };
    let state: GrantState = from_word("connection_grants", "state", &id.0, &row.state)?;
    Ok(match (state, row.claim, row.claimed_until) {
        (GrantState::Refused, ..) => GrantClaim::Moved,
        (GrantState::Good, Some(_), Some(until)) => GrantClaim::Taken { until: time(until) },
        (GrantState::Good, ..) => GrantClaim::TooSoon { until: time(row.not_before) },
    })
}

pub(crate) async fn finish_grant(
    c: &mut Conn,
    org: &OrgId,
    id: &ConnectionId,
    claim: &str,
    secrets: &[SealedSecret],
    life: &TokenLife,
) -> Result<Option<i64>> {
    let version: Option<i64> = sqlx::query_scalar::<Db, _>(FINISH_GRANT)
        .bind(&org.0)
        .bind(&id.0)
        .bind(claim)
        .bind(clean(&to_json(&life.scopes)?))
        .bind(us(life.renewed_at))
        .bind(life.renew_at.map(us))
        .bind(life.expires_at.map(us))
        .fetch_optional(&mut *c)
        .await?;
    if version.is_some() {
        for secret in secrets {
            settings::put_secret(c, org, id, secret).await?;
        }
    }
    Ok(version)
}

pub(crate) async fn release_grant(
    c: &mut Conn,
    org: &OrgId,
    id: &ConnectionId,
    claim: &str,
    not_before: Timestamp,
) -> Result<()> {
    sqlx::query(RELEASE_GRANT).bind(&org.0).bind(&id.0).bind(claim).bind(us(not_before)).execute(c).await?;
    Ok(())
}

pub(crate) async fn refuse_grant(
    c: &mut Conn,
    org: &OrgId,
    id: &ConnectionId,
    claim: &str,
    reason: &str,
    at: Timestamp,
) -> Result<bool> {
    let done = sqlx::query(REFUSE_GRANT)
        .bind(&org.0)
        .bind(&id.0)
        .bind(claim)
        .bind(clean(reason))
        .execute(&mut *c)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let paused = settings::find_connection(c, org, id.as_str())
        .await?
        .is_some_and(|connection| connection.status == ConnectionStatus::Paused);
    if !paused {
        let status = ConnectionStatus::NeedsAttention;
        settings::set_connection_status(c, org, id, status, Some(reason), at).await?;
    }
    Ok(true)
}

pub(crate) async fn orphan_grants(c: &mut Conn, org: &OrgId) -> Result<()> {
    sqlx::query(ORPHAN_GRANTS).bind(&org.0).execute(c).await?;
    Ok(())
}

#[derive(FromRow)]
struct FlowRow {
    id: String,
    org_id: String,
    connector: String,
    name: String,
    config: String,
    redirect_uri: String,
    state_digest: String,
    sealed: Vec<u8>,
    status: String,
    outcome: Option<String>,
    created_at: i64,
    expires_at: i64,
}

impl FlowRow {
    fn read(self) -> Result<Flow> {
        let row = self.id.clone();
        Ok(Flow {
            config: from_json("oauth_flows", "config", &row, &self.config)?,
            status: from_word("oauth_flows", "status", &row, &self.status)?,
            outcome: self
                .outcome
                .as_deref()
                .map(|text| from_json("oauth_flows", "outcome", &row, text))
                .transpose()?,
            id: self.id.into(),
            org_id: self.org_id.into(),
            connector: self.connector,
            name: self.name,
            redirect_uri: self.redirect_uri,
            state_digest: self.state_digest,
            sealed: self.sealed,
            created_at: time(self.created_at),
            expires_at: time(self.expires_at),
        })
    }
}

/// Drops flows: those that ended a day ago, and those that nobody came back to, with the secrets that they wait with.
pub(crate) async fn prune_flows(c: &mut Conn, org: &OrgId, now: Timestamp) -> Result<i64> {
    let done = sqlx::query(DELETE_ENDED_FLOWS)
        .bind(&org.0)
        .bind(us(now - KEEP_FLOWS))
        .bind(us(now - KEEP_ABANDONED))
        .execute(c)
        .await?;
    Ok(i64::try_from(done.rows_affected()).unwrap_or(i64::MAX))
}

pub(crate) async fn put_flow(c: &mut Conn, flow: &Flow) -> Result<()> {
    prune_flows(c, &flow.org_id, flow.created_at).await?;
    sqlx::query(PUT_FLOW)
        .bind(&flow.id.0)
        .bind(&flow.org_id.0)
        .bind(&flow.connector)
        .bind(clean(&flow.name))
        .bind(to_json(&flow.config)?)
        .bind(&flow.redirect_uri)
        .bind(&flow.state_digest)
        .bind(&flow.sealed)
        .bind(word(flow.status)?)
        .bind(flow.outcome.as_ref().map(to_json).transpose()?)
        .bind(us(flow.created_at))
        .bind(us(flow.expires_at))
        .execute(c)
        .await?;
    Ok(())
}

pub(crate) async fn take_flow(
    c: &mut Conn,
    state_digest: &str,
    connector: &str,
    now: Timestamp,
) -> Result<Option<Flow>> {
    let row: Option<FlowRow> = sqlx::query_as(TAKE_FLOW)
        .bind(state_digest)
        .bind(clean(connector))
        .bind(us(now))
        .fetch_optional(c)
        .await?;
    row.map(FlowRow::read).transpose()
}

pub(crate) async fn end_flow(
    c: &mut Conn,
    org: &OrgId,
    id: &FlowId,
    status: FlowStatus,
    outcome: &Value,
) -> Result<()> {
    sqlx::query(END_FLOW)
        .bind(&org.0)
        .bind(&id.0)
        .bind(word(status)?)
        .bind(to_json(outcome)?)
        .bind(Vec::<u8>::new())
        .execute(c)
        .await?;
    Ok(())
}

pub(crate) async fn find_flow(c: &mut Conn, org: &OrgId, id: &FlowId) -> Result<Option<Flow>> {
    let row: Option<FlowRow> =
        sqlx::query_as(FIND_FLOW).bind(&org.0).bind(clean(&id.0)).fetch_optional(c).await?;
    row.map(FlowRow::read).transpose()
}

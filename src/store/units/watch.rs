//! Webhook endpoints and audits.

use sqlx::FromRow;

use super::Conn;
use crate::domain::watch::{Audit, WebhookEndpoint};
use crate::domain::{ConnectionId, OrgId};
use crate::store::Result;
use crate::store::convert::{clean, from_json, time, to_json, us};

statements! {
    PUT_ENDPOINT = "INSERT INTO webhook_endpoints (connection_id, org_id, endpoint_id, url, made_by_us, secret_slot, faults,
            checked_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (connection_id) DO UPDATE SET endpoint_id = excluded.endpoint_id, url = excluded.url,
            made_by_us = excluded.made_by_us, secret_slot = excluded.secret_slot, faults = excluded.faults,
            checked_at = excluded.checked_at
        WHERE webhook_endpoints.org_id = excluded.org_id";
    FIND_ENDPOINT = "SELECT connection_id, endpoint_id, url, made_by_us, secret_slot, faults, checked_at
        FROM webhook_endpoints WHERE org_id = $1 AND connection_id = $2";
    LIST_ENDPOINTS = "SELECT connection_id, endpoint_id, url, made_by_us, secret_slot, faults, checked_at
        FROM webhook_endpoints ORDER BY connection_id";
    PUT_AUDIT = "INSERT INTO audits (id, org_id, connection_id, started_by, started_at, finished_at, compared, drift,
            repaired, report)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    PRUNE_AUDITS = "DELETE FROM audits WHERE org_id = $1 AND connection_id = $2 AND id NOT IN (
        SELECT id FROM audits WHERE org_id = $1 AND connection_id = $2 ORDER BY id DESC LIMIT $3)";
    LIST_AUDITS = "SELECT id, connection_id, started_by, started_at, finished_at, compared, drift, repaired, report
        FROM audits WHERE org_id = $1 AND connection_id = $2 ORDER BY id DESC LIMIT $3";
}

#[derive(FromRow)]
struct EndpointRow {
    connection_id: String,
    endpoint_id: Option<String>,
    url: String,
    made_by_us: bool,
    secret_slot: Option<i64>,
    faults: String,
    checked_at: i64,
}

impl EndpointRow {
    fn read(self) -> Result<WebhookEndpoint> {
        Ok(WebhookEndpoint {
            faults: from_json("webhook_endpoints", "faults", &self.connection_id, &self.faults)?,
            connection_id: self.connection_id.into(),
            endpoint_id: self.endpoint_id,
            url: self.url,
            made_by_us: self.made_by_us,
            secret_slot: self.secret_slot,
            checked_at: time(self.checked_at),
        })
    }
}

pub(crate) async fn put_endpoint(c: &mut Conn, org: &OrgId, x: &WebhookEndpoint) -> Result<()> {
    sqlx::query(PUT_ENDPOINT)
        .bind(&x.connection_id.0)
        .bind(&org.0)
        .bind(x.endpoint_id.as_deref().map(clean))
        .bind(clean(&x.url))
        .bind(x.made_by_us)
        .bind(x.secret_slot)
        .bind(clean(&to_json(&x.faults)?))
        .bind(us(x.checked_at))
        .execute(c)
        .await?;
    Ok(())
}

pub(crate) async fn find_endpoint(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
) -> Result<Option<WebhookEndpoint>> {
    let row: Option<EndpointRow> =
        sqlx::query_as(FIND_ENDPOINT).bind(&org.0).bind(&connection.0).fetch_optional(c).await?;
    row.map(EndpointRow::read).transpose()
}

pub(crate) async fn list_endpoints(c: &mut Conn) -> Result<Vec<WebhookEndpoint>> {
    let rows: Vec<EndpointRow> = sqlx::query_as(LIST_ENDPOINTS).fetch_all(c).await?;
    rows.into_iter().map(EndpointRow::read).collect()
}

#[derive(FromRow)]
struct AuditRow {
    id: String,
    connection_id: String,
    started_by: String,
    started_at: i64,
    finished_at: i64,
    compared: i64,
    drift: i64,
    repaired: i64,
    report: String,
}

pub(crate) async fn put_audit(c: &mut Conn, org: &OrgId, x: &Audit, keep: i64) -> Result<()> {
    sqlx::query(PUT_AUDIT)
        .bind(&x.id.0)
        .bind(&org.0)
        .bind(&x.connection_id.0)
        .bind(clean(&x.trigger))
        .bind(us(x.started_at))
        .bind(us(x.finished_at))
        .bind(x.compared)
        .bind(x.drift)
        .bind(x.repaired)
        .bind(clean(&to_json(&x.report)?))
        .execute(&mut *c)
        .await?;
    sqlx::query(PRUNE_AUDITS).bind(&org.0).bind(&x.connection_id.0).bind(keep).execute(c).await?;
    Ok(())
}

pub(crate) async fn list_audits(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    limit: i64,
) -> Result<Vec<Audit>> {
    let rows: Vec<AuditRow> =
        sqlx::query_as(LIST_AUDITS).bind(&org.0).bind(&connection.0).bind(limit).fetch_all(c).await?;
    rows.into_iter()
        .map(|row| {
            Ok(Audit {
                report: from_json("audits", "report", &row.id, &row.report)?,
                id: row.id.into(),
                connection_id: row.connection_id.into(),
                trigger: row.started_by,
                started_at: time(row.started_at),
                finished_at: time(row.finished_at),
                compared: row.compared,
                drift: row.drift,
                repaired: row.repaired,
            })
        })
        .collect()
}

//! Organisations, connections, secrets.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::FromRow;

use super::dirty::{self, Marks};
use super::{Conn, Db, links, people};
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::{ConnectionId, OrgId};
use crate::store::convert::{clean, from_json, from_word, time, to_json, us, word};
use crate::store::settings::SealedSecret;
use crate::store::{Result, StoreError};
use connector_sdk::Timestamp;

statements! {
    FIND_ORG = "SELECT settings FROM orgs WHERE id = $1";
    PUT_ORG = "INSERT INTO orgs (id, name, settings, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
        ON CONFLICT (id) DO UPDATE SET settings = excluded.settings, updated_at = excluded.updated_at,
            name = CASE WHEN excluded.name = '' THEN orgs.name ELSE excluded.name END
        WHERE (excluded.name <> '' AND orgs.name <> excluded.name) OR orgs.settings <> excluded.settings";
    LIST_ORGS = "SELECT id FROM orgs ORDER BY id";
    PUT_CONNECTION = "INSERT INTO connections (id, org_id, connector, name, account_id, account_name, mode, status,
            status_reason, config, limits, checked_at, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, account_id = excluded.account_id,
            account_name = excluded.account_name, mode = excluded.mode, status = excluded.status,
            status_reason = excluded.status_reason, config = excluded.config, limits = excluded.limits,
            checked_at = excluded.checked_at, updated_at = excluded.updated_at
        WHERE connections.org_id = excluded.org_id AND connections.connector = excluded.connector";
    SET_STATUS = "UPDATE connections SET status = $3, status_reason = $4, updated_at = $5
        WHERE org_id = $1 AND id = $2 AND (status <> $3 OR COALESCE(status_reason, '') <> COALESCE($4, ''))";
    FIND_CONNECTION = "SELECT * FROM connections WHERE org_id = $1 AND (id = $2 OR name = $2)
        ORDER BY CASE WHEN id = $2 THEN 0 ELSE 1 END LIMIT 1";
    FIND_CONNECTION_ANY = "SELECT * FROM connections WHERE id = $1";
    LIST_CONNECTIONS = "SELECT * FROM connections WHERE org_id = $1 ORDER BY id";
    LIST_ALL_CONNECTIONS = "SELECT * FROM connections ORDER BY org_id, id";
    DELETE_GRANT = "DELETE FROM connection_grants WHERE org_id = $1 AND connection_id = $2";
    DELETE_SECRETS = "DELETE FROM connection_secrets WHERE org_id = $1 AND connection_id = $2";
    PUT_SECRET = "INSERT INTO connection_secrets (org_id, connection_id, name, slot, sealed, expires_at, key_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (connection_id, name, slot) DO UPDATE SET sealed = excluded.sealed,
            expires_at = excluded.expires_at, key_id = excluded.key_id";
    LOAD_SECRETS = "SELECT name, slot, sealed, expires_at FROM connection_secrets
        WHERE org_id = $1 AND connection_id = $2 ORDER BY name, slot";
    DELETE_RECORDS = "DELETE FROM mirror_records WHERE org_id = $1 AND connection_id = $2";
    DELETE_REFS = "DELETE FROM record_refs WHERE org_id = $1 AND connection_id = $2";
    DELETE_NOTES = "DELETE FROM seen_notes WHERE org_id = $1 AND connection_id = $2";
    DELETE_REJECTED = "DELETE FROM rejected_records WHERE org_id = $1 AND connection_id = $2";
    DELETE_LINKS = "DELETE FROM company_links WHERE org_id = $1 AND connection_id = $2";
    DELETE_CANDIDATES = "DELETE FROM link_candidates WHERE org_id = $1 AND connection_id = $2";
    DELETE_DELIVERIES = "DELETE FROM deliveries WHERE org_id = $1 AND connection_id = $2";
    DELETE_JOBS = "DELETE FROM jobs WHERE org_id = $1 AND connection_id = $2";
    LINKED_COMPANIES = "SELECT DISTINCT company_id FROM company_links
        WHERE org_id = $1 AND connection_id = $2 AND company_id IS NOT NULL";
    DELETE_CONNECTION = "DELETE FROM connections WHERE org_id = $1 AND id = $2";
}

#[derive(FromRow)]
struct ConnectionRow {
    id: String,
    org_id: String,
    connector: String,
    name: String,
    account_id: Option<String>,
    account_name: Option<String>,
    mode: String,
    status: String,
    status_reason: Option<String>,
    config: String,
    limits: String,
    checked_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

impl ConnectionRow {
    fn read(self) -> Result<Connection> {
        let row = self.id.clone();
        Ok(Connection {
            mode: from_word("connections", "mode", &row, &self.mode)?,
            status: from_word("connections", "status", &row, &self.status)?,
            config: from_json("connections", "config", &row, &self.config)?,
            limits: from_json("connections", "limits", &row, &self.limits)?,
            id: self.id.into(),
            org_id: self.org_id.into(),
            connector: self.connector,
            name: self.name,
            account_id: self.account_id,
            account_name: self.account_name,
            status_reason: self.status_reason,
            checked_at: self.checked_at.map(time),
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
        })
    }
}

pub(crate) async fn find_org_settings(c: &mut Conn, org: &OrgId) -> Result<Option<Value>> {
    let text: Option<String> = sqlx::query_scalar::<Db, _>(FIND_ORG).bind(&org.0).fetch_optional(c).await?;
    text.map(|text| from_json("orgs", "settings", &org.0, &text)).transpose()
}

pub(crate) async fn put_org(
    c: &mut Conn,
    org: &OrgId,
    name: &str,
    settings: &Value,
    at: Timestamp,
) -> Result<()> {
    sqlx::query(PUT_ORG)
        .bind(&org.0)
        .bind(clean(name))
        .bind(to_json(settings)?)
        .bind(us(at))
        .execute(c)
        .await?;
    Ok(())
}

pub(crate) async fn list_orgs(c: &mut Conn) -> Result<Vec<OrgId>> {
    let ids: Vec<String> = sqlx::query_scalar::<Db, _>(LIST_ORGS).fetch_all(c).await?;
    Ok(ids.into_iter().map(OrgId).collect())
}

/// Makes or replaces; refuses to turn a connection into another connector's or organisation's.
pub(crate) async fn update_connection(c: &mut Conn, x: &Connection) -> Result<()> {
    let written = sqlx::query(PUT_CONNECTION)
        .bind(&x.id.0)
        .bind(&x.org_id.0)
        .bind(&x.connector)
        .bind(&x.name)
        .bind(x.account_id.as_deref().map(clean))
        .bind(x.account_name.as_deref().map(clean))
        .bind(word(x.mode)?)
        .bind(word(x.status)?)
        .bind(x.status_reason.as_deref().map(clean))
        .bind(to_json(&x.config)?)
        .bind(to_json(&x.limits)?)
        .bind(x.checked_at.map(us))
        .bind(us(x.created_at))
        .bind(us(x.updated_at))
        .execute(c)
        .await
        .map_err(StoreError::from)
        .map_err(|e| {
            if e.is_unique_violation() {
                StoreError::Invalid(format!("there is already a connection named {:?}", x.name))
            } else {
                e
            }
        })?;
    if written.rows_affected() == 0 {
        return Err(StoreError::Invalid(format!("{} belongs to another connector or organisation", x.id)));
    }
    Ok(())
}

/// Makes or replaces a connection with pasted secrets: an OAuth grant that it had is no more.
pub(crate) async fn put_connection(c: &mut Conn, x: &Connection, secrets: &[SealedSecret]) -> Result<()> {
    put_with_secrets(c, x, secrets).await?;
    sqlx::query(DELETE_GRANT).bind(&x.org_id.0).bind(&x.id.0).execute(c).await?;
    Ok(())
}

pub(crate) async fn put_with_secrets(c: &mut Conn, x: &Connection, secrets: &[SealedSecret]) -> Result<()> {
    update_connection(c, x).await?;
    sqlx::query(DELETE_SECRETS).bind(&x.org_id.0).bind(&x.id.0).execute(&mut *c).await?;
    for secret in secrets {
        put_secret(c, &x.org_id, &x.id, secret).await?;
    }
    Ok(())
}

pub(crate) async fn set_connection_status(
    c: &mut Conn,
    org: &OrgId,
    id: &ConnectionId,
    status: ConnectionStatus,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<()> {
    sqlx::query(SET_STATUS)
        .bind(&org.0)
        .bind(&id.0)
        .bind(word(status)?)
        .bind(reason.map(clean))
        .bind(us(at))
        .execute(c)
        .await?;
    Ok(())
}

pub(crate) async fn find_connection(
    c: &mut Conn,
    org: &OrgId,
    id_or_name: &str,
) -> Result<Option<Connection>> {
    let row: Option<ConnectionRow> =
        sqlx::query_as(FIND_CONNECTION).bind(&org.0).bind(clean(id_or_name)).fetch_optional(c).await?;
    row.map(ConnectionRow::read).transpose()
}

pub(crate) async fn find_connection_any_org(c: &mut Conn, id: &ConnectionId) -> Result<Option<Connection>> {
    let row: Option<ConnectionRow> =
        sqlx::query_as(FIND_CONNECTION_ANY).bind(clean(&id.0)).fetch_optional(c).await?;
    row.map(ConnectionRow::read).transpose()
}

pub(crate) async fn list_connections(c: &mut Conn, org: Option<&OrgId>) -> Result<Vec<Connection>> {
    let rows: Vec<ConnectionRow> = match org {
        Some(org) => sqlx::query_as(LIST_CONNECTIONS).bind(&org.0).fetch_all(c).await?,
        None => sqlx::query_as(LIST_ALL_CONNECTIONS).fetch_all(c).await?,
    };
    rows.into_iter().map(ConnectionRow::read).collect()
}

/// Deletes a connection with everything that hangs on it. Companies stay and become dirty, but for those that
/// were made from its parties and have nothing else. Answers how many records went.
pub(crate) async fn delete_connection(
    c: &mut Conn,
    org: &OrgId,
    id: &ConnectionId,
    at: Timestamp,
) -> Result<Option<i64>> {
    super::serialise_links(c, org.as_str()).await?;
    let linked: Vec<String> =
        sqlx::query_scalar::<Db, _>(LINKED_COMPANIES).bind(&org.0).bind(&id.0).fetch_all(&mut *c).await?;
    let linked: BTreeSet<String> = linked.into_iter().collect();
    let mut records = 0;
    let people = people::forget_connection(c, org, &id.0, at).await?;
    // Secrets, the grant, passes, checkpoints, runs and schedules go with the connection's row.
    for sql in [
        DELETE_RECORDS,
        DELETE_REFS,
        DELETE_NOTES,
        DELETE_REJECTED,
        DELETE_LINKS,
        DELETE_CANDIDATES,
        DELETE_DELIVERIES,
        DELETE_JOBS,
    ] {
        let done = sqlx::query(sql).bind(&org.0).bind(&id.0).execute(&mut *c).await?;
        if sql == DELETE_RECORDS {
            records = i64::try_from(done.rows_affected()).unwrap_or(i64::MAX);
        }
    }
    let gone = sqlx::query(DELETE_CONNECTION).bind(&org.0).bind(&id.0).execute(&mut *c).await?;
    if gone.rows_affected() == 0 {
        return Ok(None);
    }
    let mut settled = links::Settled { companies: linked.clone(), ..links::Settled::default() };
    settled.add(people);
    let keys = links::remove_bare_placeholders(c, org, &linked, &mut settled).await?;
    settled.add(links::reevaluate(c, org, &keys, at).await?);
    let mut marks = Marks::new();
    super::members::mark_settled(&mut marks, &settled);
    dirty::mark(c, org, &marks, at).await?;
    Ok(Some(records))
}

#[derive(FromRow)]
struct SecretRow {
    name: String,
    slot: i64,
    sealed: Vec<u8>,
    expires_at: Option<i64>,
}

pub(crate) async fn load_secrets(c: &mut Conn, org: &OrgId, id: &ConnectionId) -> Result<Vec<SealedSecret>> {
    let rows: Vec<SecretRow> = sqlx::query_as(LOAD_SECRETS).bind(&org.0).bind(&id.0).fetch_all(c).await?;
    Ok(rows
        .into_iter()
        .map(|r| SealedSecret {
            name: r.name,
            slot: r.slot,
            sealed: r.sealed,
            expires_at: r.expires_at.map(time),
        })
        .collect())
}

pub(crate) async fn put_secret(
    c: &mut Conn,
    org: &OrgId,
    id: &ConnectionId,
    secret: &SealedSecret,
) -> Result<()> {
    sqlx::query(PUT_SECRET)
        .bind(&org.0)
        .bind(&id.0)
        .bind(&secret.name)
        .bind(secret.slot)
        .bind(&secret.sealed)
        .bind(secret.expires_at.map(us))
        .bind(SealedSecret::key_of(&secret.sealed))
        .execute(c)
        .await?;
    Ok(())
}

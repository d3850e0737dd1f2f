//! Which keys the stored secrets are sealed with, and sealing them anew.

use std::collections::BTreeSet;

use connector_sdk::Timestamp;
use sqlx::FromRow;

use super::{Conn, Db, settings};
use crate::domain::connections::ConnectionStatus;
use crate::domain::{ConnectionId, OrgId};
use crate::store::Result;
use crate::store::convert::{clean, time};
use crate::store::sealing::{Resealed, SealedPlace, SealedRow, SealedWith};
use crate::store::settings::SealedSecret;

statements! {
    COUNT_SEALED = "SELECT key_id, COUNT(*) AS secrets FROM connection_secrets GROUP BY key_id";
    COUNT_SEALED_OF_ORGS = "SELECT key_id, COUNT(*) AS secrets FROM org_secrets GROUP BY key_id";
    ORGS_OTHERWISE = "SELECT org_id FROM connection_secrets WHERE key_id <> $1
        UNION SELECT org_id FROM org_secrets WHERE key_id <> $1";
    OTHERWISE = "SELECT connection_id, name, slot, sealed, expires_at FROM connection_secrets
        WHERE org_id = $1 AND key_id <> $2 AND (connection_id, name, slot) > ($3, $4, $5)
        ORDER BY connection_id, name, slot LIMIT $6";
    OTHERWISE_OF_ORG = "SELECT NULL AS connection_id, name, slot, sealed, expires_at FROM org_secrets
        WHERE org_id = $1 AND key_id <> $2 AND (name, slot) > ($3, $4) ORDER BY name, slot LIMIT $5";
    RESEAL = "UPDATE connection_secrets SET sealed = $6, key_id = $7
        WHERE org_id = $1 AND connection_id = $2 AND name = $3 AND slot = $4 AND sealed = $5";
    RESEAL_OF_ORG = "UPDATE org_secrets SET sealed = $5, key_id = $6
        WHERE org_id = $1 AND name = $2 AND slot = $3 AND sealed = $4";
    FORGET = "DELETE FROM connection_secrets WHERE org_id = $1 AND key_id = $2 RETURNING connection_id";
    FORGET_OF_ORG = "DELETE FROM org_secrets WHERE org_id = $1 AND key_id = $2";
}

#[derive(FromRow)]
struct CountRow {
    key_id: String,
    secrets: i64,
}

pub(crate) async fn count_sealed(c: &mut Conn) -> Result<Vec<SealedWith>> {
    let mut all: Vec<SealedWith> = Vec::new();
    for sql in [COUNT_SEALED, COUNT_SEALED_OF_ORGS] {
        let rows: Vec<CountRow> = sqlx::query_as(sql).fetch_all(&mut *c).await?;
        for row in rows {
            match all.iter_mut().find(|known| known.key == row.key_id) {
                Some(known) => known.secrets += row.secrets,
                None => all.push(SealedWith { key: row.key_id, secrets: row.secrets }),
            }
        }
    }
    all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(all)
}

pub(crate) async fn list_orgs_sealed_otherwise(c: &mut Conn, key: &str) -> Result<Vec<OrgId>> {
    let mut ids: Vec<String> =
        sqlx::query_scalar::<Db, _>(ORGS_OTHERWISE).bind(clean(key)).fetch_all(c).await?;
    ids.sort_unstable();
    Ok(ids.into_iter().map(OrgId).collect())
}

#[derive(FromRow)]
struct Row {
    connection_id: Option<String>,
    name: String,
    slot: i64,
    sealed: Vec<u8>,
    expires_at: Option<i64>,
}

impl Row {
    fn read(self) -> SealedRow {
        SealedRow {
            connection: self.connection_id.map(ConnectionId),
            secret: SealedSecret {
                name: self.name,
                slot: self.slot,
                sealed: self.sealed,
                expires_at: self.expires_at.map(time),
            },
        }
    }
}

pub(crate) async fn load_sealed_otherwise(
    c: &mut Conn,
    org: &OrgId,
    key: &str,
    after: Option<&SealedPlace>,
    limit: i64,
) -> Result<Vec<SealedRow>> {
    let mut found: Vec<Row> = Vec::new();
    let connection = after.and_then(|place| place.connection.as_ref());
    if connection.is_none() {
        found = sqlx::query_as(OTHERWISE_OF_ORG)
            .bind(&org.0)
            .bind(clean(key))
            .bind(after.map_or("", |place| place.name.as_str()))
            .bind(after.map_or(i64::MIN, |place| place.slot))
            .bind(limit)
            .fetch_all(&mut *c)
            .await?;
    }
    let room = limit - i64::try_from(found.len()).unwrap_or(limit);
    if room > 0 {
        let within = after.filter(|_| connection.is_some());
        let rows: Vec<Row> = sqlx::query_as(OTHERWISE)
            .bind(&org.0)
            .bind(clean(key))
            .bind(connection.map_or("", |id| id.as_str()))
            .bind(within.map_or("", |place| place.name.as_str()))
            .bind(within.map_or(i64::MIN, |place| place.slot))
            .bind(room)
            .fetch_all(c)
            .await?;
        found.extend(rows);
    }
    Ok(found.into_iter().map(Row::read).collect())
}

pub(crate) async fn reseal(c: &mut Conn, org: &OrgId, resealed: &[Resealed]) -> Result<u64> {
    let mut replaced = 0;
    for Resealed { row, sealed } in resealed {
        let (secret, key) = (&row.secret, SealedSecret::key_of(sealed));
        let query = match &row.connection {
            Some(connection) => sqlx::query(RESEAL).bind(&org.0).bind(&connection.0),
            None => sqlx::query(RESEAL_OF_ORG).bind(&org.0),
        };
        let query = query.bind(&secret.name).bind(secret.slot).bind(&secret.sealed).bind(sealed).bind(key);
        replaced += query.execute(&mut *c).await?.rows_affected();
    }
    Ok(replaced)
}

pub(crate) async fn forget_sealed(
    c: &mut Conn,
    org: &OrgId,
    key: &str,
    reason: &str,
    at: Timestamp,
) -> Result<Vec<ConnectionId>> {
    let of: Vec<String> =
        sqlx::query_scalar::<Db, _>(FORGET).bind(&org.0).bind(clean(key)).fetch_all(&mut *c).await?;
    sqlx::query(FORGET_OF_ORG).bind(&org.0).bind(clean(key)).execute(&mut *c).await?;
    let of: BTreeSet<String> = of.into_iter().collect();
    let connections: Vec<ConnectionId> = of.into_iter().map(ConnectionId).collect();
    for id in &connections {
        let status = ConnectionStatus::NeedsAttention;
        settings::set_connection_status(c, org, id, status, Some(reason), at).await?;
    }
    Ok(connections)
}

//! Organisations with their own secrets and rules, and API keys.

use connector_sdk::Timestamp;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, FromRow};

use super::{Conn, Db, settings};
use crate::domain::connections::ApiKey;
use crate::domain::orgs::Org;
use crate::domain::{KeyId, OrgId};
use crate::store::convert::{clean, from_json, from_word, time, to_json, us, word};
use crate::store::settings::SealedSecret;
use crate::store::trust::{OrgSecret, OrgTrust};
use crate::store::{Result, StoreError};

statements! {
    ADD_ORG = "INSERT INTO orgs (id, name, settings, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
        ON CONFLICT (id) DO NOTHING";
    LOCK_ORG = concat!("SELECT settings FROM orgs WHERE id = $1", for_update!());
    PATCH_ORG = "UPDATE orgs SET settings = $2, name = COALESCE($3, name), updated_at = $4 WHERE id = $1";
    LIST_ORG_ROWS = "SELECT id, name, settings, created_at FROM orgs ORDER BY id";
    DELETE_ORG = "DELETE FROM orgs WHERE id = $1";
    LOAD_ORG_SECRETS = "SELECT name, slot, sealed, created_at, expires_at FROM org_secrets
        WHERE org_id = $1 ORDER BY name, slot";
    ADD_ORG_SECRET = "INSERT INTO org_secrets (org_id, name, slot, sealed, created_at, expires_at, key_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    END_ORG_SECRETS = "UPDATE org_secrets SET expires_at = $3
        WHERE org_id = $1 AND name = $2 AND (expires_at IS NULL OR expires_at > $3)";
    DELETE_ENDED_SECRETS = "DELETE FROM org_secrets WHERE org_id = $1 AND name = $2 AND expires_at <= $3";
    PUT_KEY = "INSERT INTO api_keys (id, org_id, class, name, prefix, hash, created_at, revoked_at, origins, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    FIND_KEY = "SELECT id, org_id, class, name, prefix, created_at, revoked_at, origins, expires_at, last_used_at
        FROM api_keys WHERE hash = $1 AND revoked_at IS NULL";
    LIST_KEYS = "SELECT id, org_id, class, name, prefix, created_at, revoked_at, origins, expires_at, last_used_at
        FROM api_keys WHERE org_id = $1 ORDER BY id";
    REVOKE_KEY = "UPDATE api_keys SET revoked_at = $3
        WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)";
    END_KEY = "UPDATE api_keys SET expires_at = CASE WHEN expires_at < $4 THEN expires_at ELSE $4 END
        WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)";
    TOUCH_KEY = "UPDATE api_keys SET last_used_at = $3
        WHERE org_id = $1 AND id = $2 AND (last_used_at IS NULL OR last_used_at < $3)";
}

/// Every table with an `org_id`, in the order in which an organisation's rows go: first what lets something begin,
/// and what refers to another table before that. A test holds it against the schema.
pub(crate) const ORG_TABLES: [&str; 44] = [
    "api_keys",
    "org_secrets",
    "schedules",
    "jobs",
    "job_touches",
    "webhook_endpoints",
    "audits",
    "sync_run_streams",
    "sync_runs",
    "checkpoints",
    "stream_passes",
    "oauth_flows",
    "connection_grants",
    "connection_secrets",
    "connections",
    "deliveries",
    "finished_jobs",
    "job_attempts",
    "rejected_records",
    "seen_notes",
    "record_refs",
    "mirror_records",
    "user_candidates",
    "user_links",
    "link_candidates",
    "company_links",
    "company_keys",
    "dirty_companies",
    "company_derivations",
    "company_turns",
    "field_changes",
    "messages",
    "conversations",
    "tickets",
    "user_events",
    "activity_days",
    "attribute_overflow",
    "attributes",
    "custom_fields",
    "idempotency_keys",
    "imports",
    "erased_keys",
    "end_users",
    "companies",
];

#[derive(FromRow)]
struct OrgRow {
    id: String,
    name: String,
    settings: String,
    created_at: i64,
}

pub(crate) async fn add_org(c: &mut Conn, org: &Org) -> Result<bool> {
    let done = sqlx::query(ADD_ORG)
        .bind(&org.id.0)
        .bind(clean(&org.name))
        .bind(to_json(&org.settings)?)
        .bind(us(org.created_at))
        .execute(c)
        .await?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn patch_org(
    c: &mut Conn,
    org: &OrgId,
    name: Option<&str>,
    members: &Map<String, Value>,
    at: Timestamp,
) -> Result<bool> {
    let stored: Option<String> =
        sqlx::query_scalar::<Db, _>(LOCK_ORG).bind(&org.0).fetch_optional(&mut *c).await?;
    let Some(stored) = stored else { return Ok(false) };
    let mut settings: Map<String, Value> = from_json("orgs", "settings", &org.0, &stored)?;
    for (member, value) in members {
        match value {
            Value::Null => drop(settings.remove(member)),
            value => drop(settings.insert(member.clone(), value.clone())),
        }
    }
    sqlx::query(PATCH_ORG)
        .bind(&org.0)
        .bind(to_json(&settings)?)
        .bind(name.map(clean))
        .bind(us(at))
        .execute(c)
        .await?;
    Ok(true)
}

pub(crate) async fn list_org_rows(c: &mut Conn) -> Result<Vec<Org>> {
    let rows: Vec<OrgRow> = sqlx::query_as(LIST_ORG_ROWS).fetch_all(c).await?;
    rows.into_iter()
        .map(|row| {
            Ok(Org {
                settings: from_json("orgs", "settings", &row.id, &row.settings)?,
                id: row.id.into(),
                name: row.name,
                created_at: time(row.created_at),
            })
        })
        .collect()
}

/// `table` is one of [`ORG_TABLES`].
pub(crate) async fn clear_table(c: &mut Conn, org: &OrgId, table: &'static str) -> Result<u64> {
    let sql = AssertSqlSafe(format!("DELETE FROM {table} WHERE org_id = $1"));
    Ok(sqlx::query(sql).bind(&org.0).execute(c).await?.rows_affected())
}

pub(crate) async fn delete_org(c: &mut Conn, org: &OrgId) -> Result<bool> {
    for table in ORG_TABLES {
        clear_table(c, org, table).await?;
    }
    Ok(sqlx::query(DELETE_ORG).bind(&org.0).execute(c).await?.rows_affected() > 0)
}

#[derive(FromRow)]
struct OrgSecretRow {
    name: String,
    slot: i64,
    sealed: Vec<u8>,
    created_at: i64,
    expires_at: Option<i64>,
}

pub(crate) async fn load_org_trust(c: &mut Conn, org: &OrgId) -> Result<Option<OrgTrust>> {
    let Some(settings) = settings::find_org_settings(c, org).await? else { return Ok(None) };
    let rows: Vec<OrgSecretRow> = sqlx::query_as(LOAD_ORG_SECRETS).bind(&org.0).fetch_all(c).await?;
    let secrets = rows
        .into_iter()
        .map(|row| OrgSecret {
            secret: SealedSecret {
                name: row.name,
                slot: row.slot,
                sealed: row.sealed,
                expires_at: row.expires_at.map(time),
            },
            created_at: time(row.created_at),
        })
        .collect();
    Ok(Some(OrgTrust { settings, secrets }))
}

pub(crate) async fn add_org_secret(
    c: &mut Conn,
    org: &OrgId,
    new: &OrgSecret,
    until: Timestamp,
) -> Result<()> {
    let name = &new.secret.name;
    sqlx::query(END_ORG_SECRETS).bind(&org.0).bind(name).bind(us(until)).execute(&mut *c).await?;
    let now = us(new.created_at);
    sqlx::query(DELETE_ENDED_SECRETS).bind(&org.0).bind(name).bind(now).execute(&mut *c).await?;
    let added = sqlx::query(ADD_ORG_SECRET)
        .bind(&org.0)
        .bind(name)
        .bind(new.secret.slot)
        .bind(&new.secret.sealed)
        .bind(now)
        .bind(new.secret.expires_at.map(us))
        .bind(SealedSecret::key_of(&new.secret.sealed))
        .execute(c)
        .await
        .map_err(StoreError::from);
    match added {
        Err(e) if e.is_unique_violation() => {
            Err(StoreError::Invalid("another one was made at the same time; try again".to_owned()))
        }
        other => other.map(drop),
    }
}

#[derive(FromRow)]
struct KeyRow {
    id: String,
    org_id: String,
    class: String,
    name: String,
    prefix: String,
    created_at: i64,
    revoked_at: Option<i64>,
    origins: Option<String>,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl KeyRow {
    fn read(self) -> Result<ApiKey> {
        Ok(ApiKey {
            class: from_word("api_keys", "class", &self.id, &self.class)?,
            origins: self
                .origins
                .map(|origins| from_json("api_keys", "origins", &self.id, &origins))
                .transpose()?,
            id: self.id.into(),
            org_id: self.org_id.into(),
            name: self.name,
            prefix: self.prefix,
            created_at: time(self.created_at),
            revoked_at: self.revoked_at.map(time),
            expires_at: self.expires_at.map(time),
            last_used_at: self.last_used_at.map(time),
        })
    }
}

pub(crate) async fn put_key(c: &mut Conn, key: &ApiKey, hash: &str) -> Result<()> {
    sqlx::query(PUT_KEY)
        .bind(&key.id.0)
        .bind(&key.org_id.0)
        .bind(word(key.class)?)
        .bind(clean(&key.name))
        .bind(&key.prefix)
        .bind(hash)
        .bind(us(key.created_at))
        .bind(key.revoked_at.map(us))
        .bind(key.origins.as_ref().map(to_json).transpose()?)
        .bind(key.expires_at.map(us))
        .execute(c)
        .await?;
    Ok(())
}

pub(crate) async fn find_key(c: &mut Conn, hash: &str) -> Result<Option<ApiKey>> {
    let row: Option<KeyRow> = sqlx::query_as(FIND_KEY).bind(clean(hash)).fetch_optional(c).await?;
    row.map(KeyRow::read).transpose()
}

pub(crate) async fn list_keys(c: &mut Conn, org: &OrgId) -> Result<Vec<ApiKey>> {
    let rows: Vec<KeyRow> = sqlx::query_as(LIST_KEYS).bind(&org.0).fetch_all(c).await?;
    rows.into_iter().map(KeyRow::read).collect()
}

pub(crate) async fn rotate_key(
    c: &mut Conn,
    old: &KeyId,
    new: &ApiKey,
    hash: &str,
    until: Timestamp,
) -> Result<bool> {
    let ended = sqlx::query(END_KEY)
        .bind(&new.org_id.0)
        .bind(clean(&old.0))
        .bind(us(new.created_at))
        .bind(us(until))
        .execute(&mut *c)
        .await?;
    if ended.rows_affected() == 0 {
        return Ok(false);
    }
    put_key(c, new, hash).await?;
    Ok(true)
}

pub(crate) async fn revoke_key(c: &mut Conn, org: &OrgId, id: &KeyId, at: Timestamp) -> Result<bool> {
    let done = sqlx::query(REVOKE_KEY).bind(&org.0).bind(clean(&id.0)).bind(us(at)).execute(c).await?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn touch_key(c: &mut Conn, org: &OrgId, id: &KeyId, at: Timestamp) -> Result<()> {
    sqlx::query(TOUCH_KEY).bind(&org.0).bind(&id.0).bind(us(at)).execute(c).await?;
    Ok(())
}

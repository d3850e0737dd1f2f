//! Organisations' own secrets and rules.

use connector_sdk::Timestamp;
use sqlx::FromRow;

use super::{Conn, settings};
use crate::domain::OrgId;
use crate::store::convert::{time, us};
use crate::store::settings::SealedSecret;
use crate::store::trust::{OrgSecret, OrgTrust};
use crate::store::{Result, StoreError};

statements! {
    LOAD_ORG_SECRETS = "SELECT name, slot, sealed, created_at, expires_at FROM org_secrets
        WHERE org_id = $1 ORDER BY name, slot";
    ADD_ORG_SECRET = "INSERT INTO org_secrets (org_id, name, slot, sealed, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    END_ORG_SECRETS = "UPDATE org_secrets SET expires_at = $3
        WHERE org_id = $1 AND name = $2 AND (expires_at IS NULL OR expires_at > $3)";
    DELETE_ENDED_SECRETS = "DELETE FROM org_secrets WHERE org_id = $1 AND name = $2 AND expires_at <= $3";
    DELETE_ORG_SECRETS = "DELETE FROM org_secrets WHERE org_id = $1 AND name = $2";
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

pub(crate) async fn delete_org_secrets(c: &mut Conn, org: &OrgId, name: &str) -> Result<u64> {
    let done = sqlx::query(DELETE_ORG_SECRETS).bind(&org.0).bind(name).execute(c).await?;
    Ok(done.rows_affected())
}

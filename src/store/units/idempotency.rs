//! Answers to requests that came with an `Idempotency-Key`.

use connector_sdk::Timestamp;
use sqlx::FromRow;

use super::Conn;
use crate::domain::OrgId;
use crate::store::Result;
use crate::store::attributes::{Begun, IdempotentRequest, StoredAnswer};
use crate::store::convert::{from_json, to_json, us};

statements! {
    FORGET_IDEMPOTENT = "DELETE FROM idempotency_keys WHERE org_id = $1 AND expires_at <= $2";
    BEGIN_IDEMPOTENT = "INSERT INTO idempotency_keys
        (org_id, api_key_id, key, body_hash, status, headers, body, lease_until, expires_at)
        VALUES ($1, $2, $3, $4, 0, '[]', $5, $6, $7) ON CONFLICT DO NOTHING";
    FIND_IDEMPOTENT = "SELECT body_hash, status, headers, body, lease_until FROM idempotency_keys
        WHERE org_id = $1 AND api_key_id = $2 AND key = $3";
    TAKE_IDEMPOTENT = "UPDATE idempotency_keys SET lease_until = $5, expires_at = $6
        WHERE org_id = $1 AND api_key_id = $2 AND key = $3 AND status = 0 AND lease_until = $4";
    ANSWER_IDEMPOTENT = "UPDATE idempotency_keys SET status = $5, headers = $6, body = $7
        WHERE org_id = $1 AND api_key_id = $2 AND key = $3 AND status = 0 AND lease_until = $4";
    DROP_IDEMPOTENT = "DELETE FROM idempotency_keys
        WHERE org_id = $1 AND api_key_id = $2 AND key = $3 AND status = 0 AND lease_until = $4";
}

#[derive(FromRow)]
struct IdempotentRow {
    body_hash: String,
    status: i64,
    headers: String,
    body: Vec<u8>,
    lease_until: i64,
}

pub(crate) async fn begin_idempotent(
    c: &mut Conn,
    org: &OrgId,
    request: &IdempotentRequest,
    at: Timestamp,
) -> Result<Begun> {
    sqlx::query(FORGET_IDEMPOTENT).bind(&org.0).bind(us(at)).execute(&mut *c).await?;
    let (lease, end) = (us(request.lease_until), us(request.expires_at));
    let inserted = sqlx::query(BEGIN_IDEMPOTENT)
        .bind(&org.0)
        .bind(&request.api_key.0)
        .bind(&request.key)
        .bind(&request.hash)
        .bind(Vec::<u8>::new())
        .bind(lease)
        .bind(end)
        .execute(&mut *c)
        .await?;
    if inserted.rows_affected() > 0 {
        return Ok(Begun::First);
    }
    let found: Option<IdempotentRow> = sqlx::query_as(FIND_IDEMPOTENT)
        .bind(&org.0)
        .bind(&request.api_key.0)
        .bind(&request.key)
        .fetch_optional(&mut *c)
        .await?;
    // Another transaction forgot it in between: the caller may send it again.
    let Some(found) = found else { return Ok(Begun::Running) };
    if found.body_hash != request.hash {
        return Ok(Begun::Other);
    }
    if found.status != 0 {
        let headers = from_json("idempotency_keys", "headers", &request.key, &found.headers)?;
        let status = u16::try_from(found.status).unwrap_or(200);
        return Ok(Begun::Answered(StoredAnswer { status, headers, body: found.body }));
    }
    if found.lease_until > us(at) {
        return Ok(Begun::Running);
    }
    // Whoever worked on it is gone.
    let taken = sqlx::query(TAKE_IDEMPOTENT)
        .bind(&org.0)
        .bind(&request.api_key.0)
        .bind(&request.key)
        .bind(found.lease_until)
        .bind(lease)
        .bind(end)
        .execute(c)
        .await?;
    Ok(if taken.rows_affected() > 0 { Begun::First } else { Begun::Running })
}

pub(crate) async fn end_idempotent(
    c: &mut Conn,
    org: &OrgId,
    request: &IdempotentRequest,
    answer: Option<&StoredAnswer>,
) -> Result<()> {
    let lease = us(request.lease_until);
    let query = sqlx::query(if answer.is_some() { ANSWER_IDEMPOTENT } else { DROP_IDEMPOTENT })
        .bind(&org.0)
        .bind(&request.api_key.0)
        .bind(&request.key)
        .bind(lease);
    match answer {
        Some(answer) => {
            let headers = to_json(&answer.headers)?;
            query.bind(i64::from(answer.status)).bind(headers).bind(&answer.body).execute(c).await?
        }
        None => query.execute(c).await?,
    };
    Ok(())
}

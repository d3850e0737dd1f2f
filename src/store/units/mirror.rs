//! What is read from the mirror.

use std::collections::BTreeMap;

use connector_sdk::RecordKey;
use sqlx::FromRow;

use super::Conn;
use crate::domain::{ConnectionId, OrgId};
use crate::store::Result;
use crate::store::convert::{clean, json_list, key_of, key_text, time};
use crate::store::mirror::{RejectedRecord, StoredRecord, StreamCount};

statements! {
    LOAD_RECORDS = concat!("SELECT record_key, payload, facts, party_key, read_seq, changed_at, deleted_at
        FROM mirror_records WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
    LIST_KEYS = "SELECT record_key FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND record_key > $3 AND record_key < $4 AND deleted_at IS NULL
        ORDER BY record_key LIMIT $5";
    LIST_KEYS_OF_PARTIES = concat!("SELECT record_key FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND deleted_at IS NULL AND party_key IS NOT NULL
            AND party_key", in_list!("$3"), " ORDER BY record_key");
    LIST_OPEN_PARTIES = "SELECT m.record_key, m.payload, m.facts, m.party_key, m.read_seq, m.changed_at, m.deleted_at
        FROM company_links l
        JOIN mirror_records m ON m.connection_id = l.connection_id AND m.record_key = l.party_key
        WHERE l.org_id = $1 AND l.connection_id = $2 AND l.party_key > $3 AND l.company_id IS NULL
            AND m.record_key > $3 AND (l.rule IS NULL OR l.rule <> 'manual') AND NOT l.person AND m.deleted_at IS NULL
        ORDER BY l.party_key LIMIT $4";
    COUNT_STREAMS = "SELECT stream, COUNT(*) AS records FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND deleted_at IS NULL GROUP BY stream";
    LIST_PASSES = "SELECT stream, caught_up_at FROM stream_passes WHERE org_id = $1 AND connection_id = $2";
    LIST_REJECTED = "SELECT connection_id, stream, external_id, reason, payload, first_seen_at, last_seen_at
        FROM rejected_records WHERE org_id = $1 AND ($2 = '' OR connection_id = $2)
        ORDER BY last_seen_at DESC, record_key LIMIT $3";
}

#[derive(FromRow)]
struct RecordRow {
    record_key: String,
    payload: String,
    facts: String,
    party_key: Option<String>,
    read_seq: i64,
    changed_at: i64,
    deleted_at: Option<i64>,
}

impl RecordRow {
    fn read(self) -> StoredRecord {
        StoredRecord {
            key: key_of(&self.record_key),
            payload: self.payload,
            facts: self.facts,
            party: self.party_key.as_deref().map(key_of),
            read_seq: self.read_seq,
            changed_at: time(self.changed_at),
            deleted_at: self.deleted_at.map(time),
        }
    }
}

pub(crate) async fn load_records(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    keys: &[RecordKey],
) -> Result<Vec<StoredRecord>> {
    let rows: Vec<RecordRow> = sqlx::query_as(LOAD_RECORDS)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(json_list(keys.iter().map(key_text)))
        .fetch_all(c)
        .await?;
    Ok(rows.into_iter().map(RecordRow::read).collect())
}

pub(crate) async fn list_record_keys(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    stream: &str,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<RecordKey>> {
    let keys: Vec<String> = sqlx::query_scalar(LIST_KEYS)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(clean(&format!("{stream}/{}", after.unwrap_or_default())))
        // The character behind the slash: the end of the stream's keys.
        .bind(clean(&format!("{stream}0")))
        .bind(limit)
        .fetch_all(c)
        .await?;
    Ok(keys.iter().map(|key| key_of(key)).collect())
}

pub(crate) async fn list_party_record_keys(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    parties: &[RecordKey],
) -> Result<Vec<RecordKey>> {
    let keys: Vec<String> = sqlx::query_scalar(LIST_KEYS_OF_PARTIES)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(json_list(parties.iter().map(key_text)))
        .fetch_all(c)
        .await?;
    Ok(keys.iter().map(|key| key_of(key)).collect())
}

pub(crate) async fn list_unmatched_party_records(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<StoredRecord>> {
    let rows: Vec<RecordRow> = sqlx::query_as(LIST_OPEN_PARTIES)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(clean(after.unwrap_or_default()))
        .bind(limit)
        .fetch_all(c)
        .await?;
    Ok(rows.into_iter().map(RecordRow::read).collect())
}

pub(crate) async fn count_records(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
) -> Result<Vec<StreamCount>> {
    let counted: Vec<(String, i64)> =
        sqlx::query_as(COUNT_STREAMS).bind(&org.0).bind(&connection.0).fetch_all(&mut *c).await?;
    let passes: Vec<(String, Option<i64>)> =
        sqlx::query_as(LIST_PASSES).bind(&org.0).bind(&connection.0).fetch_all(c).await?;
    let mut streams: BTreeMap<String, StreamCount> = BTreeMap::new();
    let entry = |stream: &str| StreamCount { stream: stream.to_owned(), records: 0, caught_up_at: None };
    for (stream, records) in counted {
        streams.entry(stream.clone()).or_insert_with(|| entry(&stream)).records = records;
    }
    for (stream, at) in passes {
        streams.entry(stream.clone()).or_insert_with(|| entry(&stream)).caught_up_at = at.map(time);
    }
    Ok(streams.into_values().collect())
}

#[derive(FromRow)]
struct RejectedRow {
    connection_id: String,
    stream: String,
    external_id: String,
    reason: String,
    payload: String,
    first_seen_at: i64,
    last_seen_at: i64,
}

pub(crate) async fn list_rejected(
    c: &mut Conn,
    org: &OrgId,
    connection: Option<&ConnectionId>,
    limit: i64,
) -> Result<Vec<RejectedRecord>> {
    let rows: Vec<RejectedRow> = sqlx::query_as(LIST_REJECTED)
        .bind(&org.0)
        .bind(connection.map_or(String::new(), |id| clean(&id.0)))
        .bind(limit)
        .fetch_all(c)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| RejectedRecord {
            connection_id: row.connection_id.into(),
            stream: row.stream,
            external_id: row.external_id,
            reason: row.reason,
            payload: row.payload,
            first_seen_at: time(row.first_seen_at),
            last_seen_at: time(row.last_seen_at),
        })
        .collect())
}

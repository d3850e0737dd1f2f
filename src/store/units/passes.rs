//! Passes over a stream: checkpoints, generations, and the sweep of what a full pass did not see.

use std::collections::BTreeSet;

use connector_sdk::{Cursor, Partition, Timestamp};
use sqlx::FromRow;

use super::changes::{self, Change};
use super::dirty::{self, Marks};
use super::{Conn, blank, ingest, jobs, members, people, runs};
use crate::domain::jobs::Fence;
use crate::domain::runs::Counts;
use crate::domain::{ConnectionId, OrgId, RunId};
use crate::store::convert::{clean, from_json, key_of, time, us};
use crate::store::mirror::{Checkpoint, Ingested, StreamPass};
use crate::store::{Result, StoreError};

statements! {
    FIND_PASS = "SELECT generation, completed_generation, start_seq, caught_up_at, records FROM stream_passes
        WHERE org_id = $1 AND connection_id = $2 AND stream = $3";
    LOCK_PASS = concat!("SELECT generation, completed_generation, start_seq, caught_up_at, records FROM stream_passes
        WHERE org_id = $1 AND connection_id = $2 AND stream = $3", for_update!());
    LOAD_CHECKPOINTS = "SELECT stream, partition_id, spec, cursor, caught_up, generation, records, total, updated_at
        FROM checkpoints WHERE org_id = $1 AND connection_id = $2 AND stream = $3 ORDER BY partition_id";
    PUT_PASS = "INSERT INTO stream_passes (org_id, connection_id, stream, generation, completed_generation, start_seq,
            caught_up_at, records)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (connection_id, stream) DO UPDATE SET generation = excluded.generation,
            completed_generation = excluded.completed_generation, start_seq = excluded.start_seq,
            caught_up_at = excluded.caught_up_at, records = excluded.records";
    DELETE_CHECKPOINTS = "DELETE FROM checkpoints WHERE org_id = $1 AND connection_id = $2 AND stream = $3";
    // A page of a pass that has been replaced meanwhile moves nobody's cursor.
    PUT_CHECKPOINT = "INSERT INTO checkpoints (org_id, connection_id, stream, partition_id, spec, cursor, caught_up,
            generation, records, total, updated_at)
        SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT),
            CAST($6 AS TEXT), CAST($7 AS BOOLEAN), CAST($8 AS BIGINT), CAST($9 AS BIGINT), CAST($10 AS BIGINT),
            CAST($11 AS BIGINT)
        WHERE NOT EXISTS (SELECT 1 FROM stream_passes
            WHERE connection_id = $2 AND stream = $3 AND generation > CAST($8 AS BIGINT))
        ON CONFLICT (connection_id, stream, partition_id) DO UPDATE SET spec = excluded.spec,
            cursor = excluded.cursor, caught_up = excluded.caught_up, generation = excluded.generation,
            records = excluded.records, total = excluded.total, updated_at = excluded.updated_at
        WHERE checkpoints.generation <= excluded.generation";
    DROP_NOTES = "DELETE FROM seen_notes
        WHERE org_id = $1 AND connection_id = $2 AND stream = $3 AND generation > 0 AND generation <= $4";
    SWEEP = concat!("UPDATE mirror_records SET deleted_at = $4, changed_at = $4, read_seq = $5
        WHERE org_id = $1 AND connection_id = $2 AND deleted_at IS NULL AND read_seq < $5 AND record_key IN (
            SELECT m.record_key FROM mirror_records m
            WHERE m.org_id = $1 AND m.connection_id = $2 AND m.record_key >= $3 || '/' AND m.record_key < $3 || '0'
                AND m.deleted_at IS NULL AND m.read_seq < $5
                AND m.record_key NOT IN (", note_keys!("$6"), ")
            ORDER BY m.record_key LIMIT $7)
        RETURNING record_key, party_key, refs");
}

#[derive(FromRow)]
struct PassRow {
    generation: i64,
    completed_generation: i64,
    start_seq: i64,
    caught_up_at: Option<i64>,
    records: Option<i64>,
}

const NO_PASS: PassRow =
    PassRow { generation: 0, completed_generation: 0, start_seq: 0, caught_up_at: None, records: None };

#[derive(FromRow)]
struct CheckpointRow {
    stream: String,
    partition_id: String,
    spec: String,
    cursor: Option<String>,
    caught_up: bool,
    generation: i64,
    records: i64,
    total: Option<i64>,
    updated_at: i64,
}

pub(crate) async fn load_pass(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    stream: &str,
) -> Result<StreamPass> {
    let pass: Option<PassRow> = sqlx::query_as(FIND_PASS)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(stream)
        .fetch_optional(&mut *c)
        .await?;
    let Some(pass) = pass else { return Ok(StreamPass::default()) };
    let rows: Vec<CheckpointRow> =
        sqlx::query_as(LOAD_CHECKPOINTS).bind(&org.0).bind(&connection.0).bind(stream).fetch_all(c).await?;
    Ok(StreamPass {
        generation: pass.generation,
        completed_generation: pass.completed_generation,
        start_seq: pass.start_seq,
        checkpoints: rows
            .into_iter()
            .map(|row| Checkpoint {
                stream: row.stream,
                partition: Partition { id: row.partition_id, spec: row.spec },
                cursor: row.cursor.map(Cursor),
                caught_up: row.caught_up,
                generation: row.generation,
                records: row.records,
                total: row.total,
                updated_at: time(row.updated_at),
            })
            .collect(),
        caught_up_at: pass.caught_up_at.map(time),
        records: pass.records,
    })
}

/// What [`begin_pass`] begins.
pub(crate) struct Begin {
    pub(crate) stream: String,
    /// The read number at the beginning of a full pass; `None` for an incremental one.
    pub(crate) full_from: Option<i64>,
    pub(crate) partitions: Vec<(Partition, Option<Cursor>)>,
}

pub(crate) async fn begin_pass(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    begin: &Begin,
    fence: Option<&Fence>,
    at: Timestamp,
) -> Result<StreamPass> {
    if let Some(fence) = fence {
        jobs::fence_in(c, fence).await?;
    }
    ingest::lock_connection(c, org, connection).await?;
    let stream = begin.stream.as_str();
    let old = lock_pass(c, org, connection, stream).await?;
    let pass = match begin.full_from {
        Some(start_seq) => PassRow { generation: old.generation + 1, start_seq, ..old },
        None => old,
    };
    put_pass(c, org, connection, stream, &pass).await?;
    sqlx::query(DELETE_CHECKPOINTS).bind(&org.0).bind(&connection.0).bind(stream).execute(&mut *c).await?;
    if begin.full_from.is_some() {
        drop_notes(c, org, connection, stream, pass.generation).await?;
    }
    for (partition, cursor) in &begin.partitions {
        let checkpoint = Checkpoint {
            stream: stream.to_owned(),
            partition: partition.clone(),
            cursor: cursor.clone(),
            caught_up: false,
            generation: pass.generation,
            records: 0,
            total: None,
            updated_at: at,
        };
        put_checkpoint(c, org, connection, &checkpoint).await?;
    }
    load_pass(c, org, connection, stream).await
}

async fn lock_pass(c: &mut Conn, org: &OrgId, connection: &ConnectionId, stream: &str) -> Result<PassRow> {
    let found: Option<PassRow> =
        sqlx::query_as(LOCK_PASS).bind(&org.0).bind(&connection.0).bind(stream).fetch_optional(c).await?;
    Ok(found.unwrap_or(NO_PASS))
}

async fn put_pass(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    stream: &str,
    pass: &PassRow,
) -> Result<()> {
    sqlx::query(PUT_PASS)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(stream)
        .bind(pass.generation)
        .bind(pass.completed_generation)
        .bind(pass.start_seq)
        .bind(pass.caught_up_at)
        .bind(pass.records)
        .execute(c)
        .await?;
    Ok(())
}

async fn drop_notes(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    stream: &str,
    up_to: i64,
) -> Result<()> {
    sqlx::query(DROP_NOTES).bind(&org.0).bind(&connection.0).bind(stream).bind(up_to).execute(c).await?;
    Ok(())
}

pub(crate) async fn put_checkpoint(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    x: &Checkpoint,
) -> Result<()> {
    sqlx::query(PUT_CHECKPOINT)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(&x.stream)
        .bind(clean(&x.partition.id))
        .bind(clean(&x.partition.spec))
        .bind(x.cursor.as_ref().map(|cursor| clean(&cursor.0)))
        .bind(x.caught_up)
        .bind(x.generation)
        .bind(x.records)
        .bind(x.total)
        .bind(us(x.updated_at))
        .execute(c)
        .await?;
    Ok(())
}

/// What [`finish_pass`] ends.
pub(crate) struct Finish {
    pub(crate) stream: String,
    pub(crate) run: Option<RunId>,
    pub(crate) sweep: Option<i64>,
}

#[derive(FromRow)]
struct Swept {
    record_key: String,
    party_key: Option<String>,
    refs: String,
}

pub(crate) async fn finish_pass(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    finish: &Finish,
    fence: Option<&Fence>,
    at: Timestamp,
) -> Result<Ingested> {
    if let Some(fence) = fence {
        jobs::fence_in(c, fence).await?;
    }
    let stream = finish.stream.as_str();
    let pass = lock_pass(c, org, connection, stream).await?;
    let state = load_pass(c, org, connection, stream).await?;
    if let Some(open) = state.checkpoints.iter().find(|checkpoint| !checkpoint.caught_up) {
        return Err(StoreError::Invalid(format!(
            "the pass over {stream} is not complete: partition {} has not been read to its end",
            open.partition.id
        )));
    }
    let mut ingested = Ingested::default();
    if let Some(limit) = finish.sweep.filter(|_| pass.generation > pass.completed_generation) {
        ingested = sweep(c, org, connection, (stream, limit), &pass, at).await?;
        if let Some(run) = finish.run.as_ref().filter(|_| ingested.counts.deleted > 0) {
            runs::count(c, org, run, stream, &ingested.counts).await?;
        }
        if ingested.counts.deleted >= limit {
            return Ok(ingested);
        }
    }
    drop_notes(c, org, connection, stream, pass.generation).await?;
    let records = if pass.generation > pass.completed_generation {
        Some(state.checkpoints.iter().map(|checkpoint| checkpoint.records).sum())
    } else {
        pass.records
    };
    let done = PassRow { completed_generation: pass.generation, caught_up_at: Some(us(at)), records, ..pass };
    put_pass(c, org, connection, stream, &done).await?;
    Ok(ingested)
}

/// Buries rows that were read last before the pass began, and that no page of the pass named.
async fn sweep(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    (stream, limit): (&str, i64),
    pass: &PassRow,
    at: Timestamp,
) -> Result<Ingested> {
    let swept: Vec<Swept> = sqlx::query_as(SWEEP)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(stream)
        .bind(us(at))
        .bind(pass.start_seq)
        .bind(pass.generation)
        .bind(limit)
        .fetch_all(&mut *c)
        .await?;
    blank::blank_people(c, org, connection.as_str(), swept.iter().map(|row| &row.record_key)).await?;
    let mut all = Vec::with_capacity(swept.len());
    for row in &swept {
        let refs: Vec<String> = from_json("mirror_records", "refs", &row.record_key, &row.refs)?;
        all.push(Change {
            key: row.record_key.clone(),
            stream: stream.to_owned(),
            parties: row.party_key.iter().cloned().collect(),
            old_refs: changes::reverse_refs(&row.record_key, row.party_key.as_deref(), &refs),
            new_refs: BTreeSet::new(),
        });
    }
    let mut marks = Marks::new();
    changes::follow(c, org, connection.as_str(), &all, &mut marks).await?;
    let gone = swept.iter().map(|row| row.record_key.clone()).collect();
    let settled = people::observe(c, org, connection.as_str(), &[], &gone, at).await?;
    members::mark_settled(&mut marks, &settled);
    let dirty = dirty::mark(c, org, &marks, at).await?;
    Ok(Ingested {
        counts: Counts { deleted: i64::try_from(swept.len()).unwrap_or(i64::MAX), ..Counts::default() },
        dirty,
        changed: swept.iter().map(|row| key_of(&row.record_key)).collect(),
    })
}

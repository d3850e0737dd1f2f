//! Sync runs and what they counted.

use connector_sdk::Timestamp;
use sqlx::FromRow;

use super::Conn;
use crate::domain::runs::{Counts, RunStatus, StreamProgress, SyncRun};
use crate::domain::{ConnectionId, OrgId, RunId};
use crate::store::Result;
use crate::store::convert::{clean, from_word, json_list, time, us, word};

statements! {
    PUT_RUN = "INSERT INTO sync_runs (id, org_id, connection_id, kind, started_by, status, error, started_at, finished_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (id) DO UPDATE SET status = excluded.status, error = excluded.error,
            finished_at = excluded.finished_at";
    PUT_STREAM = "INSERT INTO sync_run_streams (org_id, run_id, stream, ordinal, state, reason, pages, records_read,
            created, updated, unchanged, stale, deleted, rejected)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT (run_id, stream) DO UPDATE SET ordinal = excluded.ordinal, state = excluded.state,
            reason = excluded.reason, pages = excluded.pages, records_read = excluded.records_read,
            created = excluded.created, updated = excluded.updated, unchanged = excluded.unchanged,
            stale = excluded.stale, deleted = excluded.deleted, rejected = excluded.rejected";
    COUNT = "INSERT INTO sync_run_streams (org_id, run_id, stream, ordinal, state, reason, pages, records_read,
            created, updated, unchanged, stale, deleted, rejected)
        VALUES ($1, $2, $3, 1000, 'running', NULL, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (run_id, stream) DO UPDATE SET pages = sync_run_streams.pages + excluded.pages,
            records_read = sync_run_streams.records_read + excluded.records_read,
            created = sync_run_streams.created + excluded.created,
            updated = sync_run_streams.updated + excluded.updated,
            unchanged = sync_run_streams.unchanged + excluded.unchanged,
            stale = sync_run_streams.stale + excluded.stale,
            deleted = sync_run_streams.deleted + excluded.deleted,
            rejected = sync_run_streams.rejected + excluded.rejected";
    LOCK_RUN = concat!("SELECT id FROM sync_runs WHERE org_id = $1 AND id = $2", for_update!());
    SET_STREAM = "INSERT INTO sync_run_streams (org_id, run_id, stream, ordinal, state, reason, pages, records_read,
            created, updated, unchanged, stale, deleted, rejected)
        VALUES ($1, $2, $3, 1000, $4, $5, 0, 0, 0, 0, 0, 0, 0, 0)
        ON CONFLICT (run_id, stream) DO UPDATE SET state = excluded.state, reason = excluded.reason";
    EXPECT = "UPDATE sync_run_streams SET expected = COALESCE(CAST($4 AS BIGINT), expected),
            begun_at = COALESCE(begun_at, CAST($5 AS BIGINT))
        WHERE org_id = $1 AND run_id = $2 AND stream = $3";
    FINISH_RUN = "UPDATE sync_runs SET status = $3, error = COALESCE($4, error), finished_at = $5
        WHERE org_id = $1 AND id = $2 AND status = 'running'";
    FIND_RUN = "SELECT * FROM sync_runs WHERE org_id = $1 AND id = $2";
    LIST_RUNS = "SELECT * FROM sync_runs WHERE org_id = $1 AND ($2 = '' OR connection_id = $2) AND ($3 = '' OR status = $3)
        ORDER BY started_at DESC, id DESC LIMIT $4";
    LOAD_STREAMS = concat!("SELECT run_id, stream, state, reason, pages, records_read, created, updated, unchanged, stale,
            deleted, rejected, expected, begun_at
        FROM sync_run_streams WHERE org_id = $1 AND run_id", in_list!("$2"), " ORDER BY run_id, ordinal, stream");
}

#[derive(FromRow)]
struct RunRow {
    id: String,
    connection_id: String,
    kind: String,
    started_by: String,
    status: String,
    error: Option<String>,
    started_at: i64,
    finished_at: Option<i64>,
}

#[derive(FromRow)]
struct StreamRow {
    run_id: String,
    stream: String,
    state: String,
    reason: Option<String>,
    pages: i64,
    records_read: i64,
    created: i64,
    updated: i64,
    unchanged: i64,
    stale: i64,
    deleted: i64,
    rejected: i64,
    expected: Option<i64>,
    begun_at: Option<i64>,
}

pub(crate) async fn put_run(c: &mut Conn, org: &OrgId, run: &SyncRun) -> Result<()> {
    sqlx::query(PUT_RUN)
        .bind(&run.id.0)
        .bind(&org.0)
        .bind(&run.connection_id.0)
        .bind(word(run.kind)?)
        .bind(clean(&run.trigger))
        .bind(word(run.status)?)
        .bind(run.error.as_deref().map(clean))
        .bind(us(run.started_at))
        .bind(run.finished_at.map(us))
        .execute(&mut *c)
        .await?;
    for (ordinal, x) in (0i64..).zip(&run.streams) {
        sqlx::query(PUT_STREAM)
            .bind(&org.0)
            .bind(&run.id.0)
            .bind(&x.stream)
            .bind(ordinal)
            .bind(&x.state)
            .bind(x.reason.as_deref().map(clean))
            .bind(x.counts.pages)
            .bind(x.counts.read)
            .bind(x.counts.created)
            .bind(x.counts.updated)
            .bind(x.counts.unchanged)
            .bind(x.counts.stale)
            .bind(x.counts.deleted)
            .bind(x.counts.rejected)
            .execute(&mut *c)
            .await?;
    }
    Ok(())
}

/// Adds to what a run counted of a stream.
pub(crate) async fn count(c: &mut Conn, org: &OrgId, run: &RunId, stream: &str, n: &Counts) -> Result<()> {
    sqlx::query(COUNT)
        .bind(&org.0)
        .bind(&run.0)
        .bind(stream)
        .bind(n.pages)
        .bind(n.read)
        .bind(n.created)
        .bind(n.updated)
        .bind(n.unchanged)
        .bind(n.stale)
        .bind(n.deleted)
        .bind(n.rejected)
        .execute(c)
        .await?;
    Ok(())
}

pub(crate) async fn set_run_stream(
    c: &mut Conn,
    org: &OrgId,
    run: &RunId,
    stream: &str,
    state: &str,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<Option<SyncRun>> {
    // Two streams that end at once must not each find the other unfinished.
    let locked: Option<String> =
        sqlx::query_scalar(LOCK_RUN).bind(&org.0).bind(&run.0).fetch_optional(&mut *c).await?;
    if locked.is_none() {
        return Ok(None);
    }
    sqlx::query(SET_STREAM)
        .bind(&org.0)
        .bind(&run.0)
        .bind(stream)
        .bind(state)
        .bind(reason.map(clean))
        .execute(&mut *c)
        .await?;
    let Some(found) = find_run(c, org, run).await? else { return Ok(None) };
    let Some((status, error)) = outcome(&found.streams) else { return Ok(Some(found)) };
    sqlx::query(FINISH_RUN)
        .bind(&org.0)
        .bind(&run.0)
        .bind(word(status)?)
        .bind(error)
        .bind(us(at))
        .execute(&mut *c)
        .await?;
    find_run(c, org, run).await
}

pub(crate) async fn expect(
    c: &mut Conn,
    org: &OrgId,
    run: &RunId,
    streams: &[(String, Option<i64>)],
    begun_at: Option<Timestamp>,
) -> Result<()> {
    for (stream, expected) in streams {
        sqlx::query(EXPECT)
            .bind(&org.0)
            .bind(&run.0)
            .bind(stream)
            .bind(expected)
            .bind(begun_at.map(us))
            .execute(&mut *c)
            .await?;
    }
    Ok(())
}

/// How a run ended, once no stream is pending or running: failed when a stream gave up, incomplete when one was
/// skipped or rejected a record. That everything was read instead of what changed is said, and no lack.
fn outcome(streams: &[StreamProgress]) -> Option<(RunStatus, Option<String>)> {
    if streams.iter().any(|x| x.state == "pending" || x.state == "running") {
        return None;
    }
    let named = |state: &str| {
        streams
            .iter()
            .filter(|x| x.state == state)
            .map(|x| match &x.reason {
                Some(reason) => format!("{}: {reason}", x.stream),
                None => x.stream.clone(),
            })
            .collect::<Vec<_>>()
    };
    let failed = named("failed");
    if !failed.is_empty() {
        return Some((RunStatus::Failed, Some(failed.join("; "))));
    }
    let mut lacking = named("skipped");
    let rejected: i64 = streams.iter().map(|x| x.counts.rejected).sum();
    if rejected > 0 {
        lacking.push(format!("{rejected} rejected"));
    }
    let status = if lacking.is_empty() { RunStatus::Succeeded } else { RunStatus::Incomplete };
    let why: Vec<String> = named("replaced").into_iter().chain(lacking).collect();
    Some((status, (!why.is_empty()).then(|| why.join("; "))))
}

async fn read_runs(c: &mut Conn, org: &OrgId, rows: Vec<RunRow>) -> Result<Vec<SyncRun>> {
    let streams: Vec<StreamRow> = sqlx::query_as(LOAD_STREAMS)
        .bind(&org.0)
        .bind(json_list(rows.iter().map(|row| &row.id)))
        .fetch_all(c)
        .await?;
    rows.into_iter()
        .map(|row| {
            Ok(SyncRun {
                kind: from_word("sync_runs", "kind", &row.id, &row.kind)?,
                status: from_word("sync_runs", "status", &row.id, &row.status)?,
                streams: streams
                    .iter()
                    .filter(|x| x.run_id == row.id)
                    .map(|x| StreamProgress {
                        stream: x.stream.clone(),
                        state: x.state.clone(),
                        reason: x.reason.clone(),
                        counts: Counts {
                            pages: x.pages,
                            read: x.records_read,
                            created: x.created,
                            updated: x.updated,
                            unchanged: x.unchanged,
                            stale: x.stale,
                            deleted: x.deleted,
                            rejected: x.rejected,
                        },
                        expected: x.expected,
                        begun_at: x.begun_at.map(time),
                    })
                    .collect(),
                id: row.id.into(),
                connection_id: row.connection_id.into(),
                trigger: row.started_by,
                error: row.error,
                started_at: time(row.started_at),
                finished_at: row.finished_at.map(time),
            })
        })
        .collect()
}

pub(crate) async fn find_run(c: &mut Conn, org: &OrgId, run: &RunId) -> Result<Option<SyncRun>> {
    let rows: Vec<RunRow> =
        sqlx::query_as(FIND_RUN).bind(&org.0).bind(clean(&run.0)).fetch_all(&mut *c).await?;
    Ok(read_runs(c, org, rows).await?.pop())
}

pub(crate) async fn list_runs(
    c: &mut Conn,
    org: &OrgId,
    connection: Option<&ConnectionId>,
    status: Option<RunStatus>,
    limit: i64,
) -> Result<Vec<SyncRun>> {
    let status = match status {
        Some(status) => word(status)?,
        None => String::new(),
    };
    let rows: Vec<RunRow> = sqlx::query_as(LIST_RUNS)
        .bind(&org.0)
        .bind(connection.map_or(String::new(), |id| clean(&id.0)))
        .bind(status)
        .bind(limit)
        .fetch_all(&mut *c)
        .await?;
    read_runs(c, org, rows).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str, state: &str, rejected: i64) -> StreamProgress {
        StreamProgress {
            stream: name.into(),
            state: state.into(),
            counts: Counts { rejected, ..Counts::default() },
            ..StreamProgress::default()
        }
    }

    #[test]
    fn a_run_ends_when_its_last_stream_does() {
        assert_eq!(outcome(&[stream("a", "done", 0), stream("b", "running", 0)]), None);
        assert_eq!(outcome(&[stream("a", "done", 0), stream("b", "pending", 0)]), None);
        assert_eq!(outcome(&[stream("a", "done", 0)]), Some((RunStatus::Succeeded, None)));
        assert_eq!(
            outcome(&[stream("a", "done", 2), stream("b", "skipped", 0)]),
            Some((RunStatus::Incomplete, Some("b; 2 rejected".into())))
        );
        assert_eq!(
            outcome(&[stream("feed", "replaced", 0), stream("a", "done", 0)]),
            Some((RunStatus::Succeeded, Some("feed".into())))
        );
        assert_eq!(
            outcome(&[stream("a", "failed", 0), stream("b", "skipped", 0)]),
            Some((RunStatus::Failed, Some("a".into())))
        );
    }
}

//! Jobs that wait or run: push, fence, claim, heartbeat.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use sqlx::FromRow;

use super::{Conn, Db, new_id_at};
use crate::domain::JobId;
use crate::domain::jobs::{ClaimedJob, Fence, NewJob, Pushed};
use crate::store::convert::{clean, from_json, json_list, time, to_json, us};
use crate::store::jobs::{Claim, Claimed, Take};
use crate::store::{Result, StoreError};
use connector_sdk::Timestamp;

/// Waiting jobs that become due in one claim; the rest is marked by the next one.
const PROMOTE: i64 = 1000;

statements! {
    PUSH = concat!("INSERT INTO jobs (id, org_id, connection_id, kind, lane, dedupe_key, args, priority, max_attempts,
            state, due, run_at, pushed_at, attempts, claim, suspicion)
        SELECT value ->> 'id', value ->> 'org', value ->> 'con', value ->> 'kind', value ->> 'lane', value ->> 'key',
            value ->> 'args', CAST(value ->> 'prio' AS BIGINT), CAST(value ->> 'max' AS BIGINT), 'ready',
            CAST(value ->> 'at' AS BIGINT) <= $2, CAST(value ->> 'at' AS BIGINT), $2, 0, 0, 0
        FROM ", json_rows!("$1"), " WHERE true
        ON CONFLICT (org_id, dedupe_key) WHERE state = 'ready' DO NOTHING RETURNING id");
    TOUCH = concat!("INSERT INTO job_touches (id, org_id, connection_id, kind, lane, dedupe_key, args, priority,
            max_attempts, run_at, pushed_at)
        SELECT value ->> 'id', value ->> 'org', value ->> 'con', value ->> 'kind', value ->> 'lane', value ->> 'key',
            value ->> 'args', CAST(value ->> 'prio' AS BIGINT), CAST(value ->> 'max' AS BIGINT),
            CAST(value ->> 'at' AS BIGINT), $2
        FROM ", json_rows!("$1"));
    FIND_WAITING = concat!("SELECT org_id, dedupe_key, id, run_at, priority FROM jobs
        WHERE id", in_select!(concat!("SELECT (SELECT w.id FROM jobs w WHERE w.org_id = x.org
            AND w.dedupe_key = x.dedupe AND w.state = 'ready' LIMIT 1)
        FROM (SELECT value ->> 'org' AS org, value ->> 'key' AS dedupe FROM ", json_rows!("$1"), fence!(), ") x")));
    // Never later than it is, never behind where it is.
    HASTEN = "UPDATE jobs SET
            run_at = CASE WHEN run_at > $2 THEN $2 ELSE run_at END,
            priority = CASE WHEN priority > $3 THEN $3 ELSE priority END,
            due = due OR $2 <= $4
        WHERE id = $1 AND state = 'ready' AND (run_at > $2 OR priority > $3)";
    FENCE = concat!("SELECT id FROM jobs WHERE id = $1 AND claim = $2 AND state = 'running'", for_share!());
    // The state is compared as an expression, lest a planner with old figures reads all jobs of the state.
    HEARTBEAT = concat!("UPDATE jobs SET lease_until = $3
        WHERE id", in_list!("$1"), " AND id || ':' || claim", in_list!("$2"), " AND state || '' = 'running'
        RETURNING id, claim");
    LEFT_TOUCHES = "SELECT EXISTS (SELECT 1 FROM job_touches)";
    // A touch whose waiting job is gone was committed after that job was claimed.
    REVIVE_TOUCHES = "DELETE FROM job_touches WHERE NOT EXISTS (SELECT 1 FROM jobs j
            WHERE j.org_id = job_touches.org_id AND j.dedupe_key = job_touches.dedupe_key AND j.state = 'ready')
        RETURNING id, org_id, connection_id, kind, lane, dedupe_key, args, priority, max_attempts, run_at";
    TAKE_TOUCHES = concat!("DELETE FROM job_touches WHERE EXISTS (SELECT 1 FROM
            (SELECT value ->> 'org' AS org, value ->> 'key' AS dedupe FROM ", json_rows!("$1"), fence!(), ") x
            WHERE x.org = job_touches.org_id AND x.dedupe = job_touches.dedupe_key)");
    PROMOTE_DUE = concat!("UPDATE jobs SET due = true WHERE id IN (SELECT id FROM jobs
        WHERE state = 'ready' AND NOT due AND run_at <= $1 ORDER BY run_at LIMIT $2", skip_locked!(), ")");
    // The lanes that have work, found by stepping through the index from lane to lane; those that are least
    // ahead, of which each has a job that may be claimed (asked for its first one: an EXISTS would be joined, by
    // reading the whole backlog); of each its first jobs; of these the first turns.
    PICK = concat!("WITH RECURSIVE
        span AS (SELECT value ->> 'lo' AS lo, value ->> 'hi' AS hi FROM ", json_rows!("$1"), "),
        step (lane, hi) AS (
            SELECT (SELECT MIN(j.lane) FROM jobs j WHERE j.state = 'ready' AND j.due AND j.suspicion = 0
                AND j.lane > span.lo AND j.lane < span.hi), span.hi FROM span
            UNION ALL
            SELECT (SELECT MIN(j.lane) FROM jobs j WHERE j.state = 'ready' AND j.due AND j.suspicion = 0
                AND j.lane > step.lane AND j.lane < step.hi), step.hi FROM step WHERE step.lane IS NOT NULL),
        served AS (SELECT value ->> 'lane' AS lane, CAST(value ->> 'ahead' AS BIGINT) AS ahead
            FROM ", json_rows!("$2"), "),
        turn AS (SELECT step.lane, COALESCE(served.ahead, 0) AS ahead FROM step
            LEFT JOIN served ON served.lane = step.lane
            WHERE step.lane IS NOT NULL AND (SELECT k.id FROM jobs k WHERE k.lane = step.lane
                AND k.state = 'ready' AND k.due AND k.suspicion = 0
                AND (k.dedupe_key IS NULL OR NOT EXISTS (SELECT 1 FROM jobs r WHERE r.org_id = k.org_id
                    AND r.dedupe_key = k.dedupe_key AND r.state = 'running'))
                ORDER BY k.priority, k.run_at, k.id LIMIT 1) IS NOT NULL
            ORDER BY 2, 1 LIMIT $3)
        SELECT id FROM (SELECT j.id, j.lane,
                turn.ahead + ROW_NUMBER() OVER (PARTITION BY j.lane ORDER BY j.priority, j.run_at, j.id) AS place
            FROM turn ", first_jobs!("FROM jobs k WHERE k.lane = turn.lane
                AND k.state = 'ready' AND k.due AND k.suspicion = 0
                AND (k.dedupe_key IS NULL OR NOT EXISTS (SELECT 1 FROM jobs r WHERE r.org_id = k.org_id
                    AND r.dedupe_key = k.dedupe_key AND r.state = 'running'))
                ORDER BY k.priority, k.run_at, k.id LIMIT $3"), ") picked
        ORDER BY place, lane LIMIT $3");
    PICK_SUSPECT = concat!("SELECT k.id FROM jobs k WHERE k.state = 'ready' AND k.due AND k.suspicion > 0
            AND EXISTS (SELECT 1 FROM (SELECT value ->> 'lo' AS lo, value ->> 'hi' AS hi FROM ", json_rows!("$1"), ") span
                WHERE k.lane > span.lo AND k.lane < span.hi)
            AND (k.dedupe_key IS NULL OR NOT EXISTS (SELECT 1 FROM jobs r WHERE r.org_id = k.org_id
                AND r.dedupe_key = k.dedupe_key AND r.state = 'running'))
        ORDER BY k.run_at, k.id LIMIT 1");
    TAKE = concat!("UPDATE jobs SET state = 'running', claim = claim + 1, worker = $2, claimed_at = $3,
            lease_until = $4
        WHERE id IN (SELECT j.id FROM jobs j WHERE j.id", in_list!("$1"), " AND j.state || '' = 'ready'", skip_locked!(), ")
        RETURNING id, claim, kind, org_id, connection_id, args, dedupe_key, attempts, max_attempts, run_at, suspicion");
    OUTLOOK = concat!("SELECT (SELECT MIN(run_at) FROM jobs WHERE state = 'ready' AND NOT due) AS next_due,
        EXISTS (SELECT 1 FROM jobs k WHERE k.state = 'ready' AND k.due AND k.suspicion > 0
            AND EXISTS (SELECT 1 FROM (SELECT value ->> 'lo' AS lo, value ->> 'hi' AS hi FROM ", json_rows!("$1"), ") span
                WHERE k.lane > span.lo AND k.lane < span.hi)
            AND (k.dedupe_key IS NULL OR NOT EXISTS (SELECT 1 FROM jobs r WHERE r.org_id = k.org_id
                AND r.dedupe_key = k.dedupe_key AND r.state = 'running'))) AS suspect_due");
}

/// A job on its way into the table.
fn push_row(id: &str, job: &NewJob) -> Result<serde_json::Value> {
    Ok(json!({
        "id": id,
        "org": job.org_id.as_str(),
        "con": job.connection_id.as_ref().map(|connection| connection.as_str()),
        "kind": job.kind,
        "lane": clean(&job.lane()),
        "key": job.dedupe_key.as_deref().map(clean),
        "args": to_json(&job.args)?,
        "at": us(job.run_at),
        "prio": job.priority,
        "max": job.max_attempts,
    }))
}

/// Inserts jobs, within any unit. Answers in the order of `jobs`.
///
/// A job whose key already waits is merged: the waiting one takes the earlier `run_at` and the smaller
/// priority. It is not claimed before the unit that merged into it has committed, or else the push becomes a job
/// of its own: what the unit wrote is always seen by a run that begins later.
pub(crate) async fn push_in(c: &mut Conn, jobs: &[NewJob], now: Timestamp) -> Result<Vec<Pushed>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    // One row for each key, in key order: other units lock the same rows.
    let mut keyed: BTreeMap<(&str, &str), NewJob> = BTreeMap::new();
    let mut rows = Vec::new();
    let mut ids: Vec<String> = Vec::with_capacity(jobs.len());
    for job in jobs {
        let id = new_id_at(JobId::PREFIX, now);
        match &job.dedupe_key {
            None => rows.push(push_row(&id, job)?),
            Some(key) => {
                let merged = keyed.entry((job.org_id.as_str(), key)).or_insert_with(|| job.clone());
                merged.run_at = merged.run_at.min(job.run_at);
                merged.priority = merged.priority.min(job.priority);
            }
        }
        ids.push(id);
    }
    let mut key_ids: HashMap<(&str, &str), String> = HashMap::new();
    for (key, job) in &keyed {
        let id = new_id_at(JobId::PREFIX, now);
        rows.push(push_row(&id, job)?);
        key_ids.insert(*key, id);
    }
    let inserted: Vec<String> =
        sqlx::query_scalar::<Db, _>(PUSH).bind(to_json(&rows)?).bind(us(now)).fetch_all(&mut *c).await?;
    crate::store::note_push();
    let mut fresh: std::collections::HashSet<String> = inserted.into_iter().collect();
    let met: Vec<(&(&str, &str), &NewJob)> =
        keyed.iter().filter(|(key, _)| key_ids.get(*key).is_some_and(|id| !fresh.contains(id))).collect();
    if !met.is_empty() {
        for (key, id) in merge(c, &met, &key_ids, now).await? {
            key_ids.insert(key, id);
        }
    }
    Ok(jobs
        .iter()
        .zip(ids)
        .map(|(job, id)| match &job.dedupe_key {
            None => Pushed::Inserted(id.into()),
            Some(key) => {
                let id = key_ids.get(&(job.org_id.as_str(), key.as_str())).cloned().unwrap_or(id);
                // Of several with one key in one push the first is the insertion.
                if fresh.remove(&id) { Pushed::Inserted(id.into()) } else { Pushed::Merged(id.into()) }
            }
        })
        .collect())
}

/// A job that waits.
#[derive(FromRow)]
pub(super) struct Waiting {
    pub(super) org_id: String,
    pub(super) dedupe_key: String,
    pub(super) id: String,
    pub(super) run_at: i64,
    priority: i64,
}

/// The jobs that wait with any of these keys: each `{"org", "key"}`.
pub(super) async fn find_waiting(c: &mut Conn, keys: &[Value]) -> Result<Vec<Waiting>> {
    Ok(sqlx::query_as(FIND_WAITING).bind(to_json(keys)?).fetch_all(c).await?)
}

/// Merges pushes into the waiting jobs that they met. Answers the waiting jobs' ids.
async fn merge<'k>(
    c: &mut Conn,
    met: &[(&(&'k str, &'k str), &NewJob)],
    new_ids: &HashMap<(&str, &str), String>,
    now: Timestamp,
) -> Result<Vec<((&'k str, &'k str), String)>> {
    if super::super::MANY_WRITERS {
        let mut rows = Vec::with_capacity(met.len());
        for (key, job) in met {
            if let Some(id) = new_ids.get(*key) {
                rows.push(push_row(id, job)?);
            }
        }
        sqlx::query(TOUCH).bind(to_json(&rows)?).bind(us(now)).execute(&mut *c).await?;
    }
    let keys: Vec<_> = met.iter().map(|(key, _)| json!({"org": key.0, "key": clean(key.1)})).collect();
    let waiting = find_waiting(c, &keys).await?;
    let mut found = Vec::with_capacity(met.len());
    for (key, job) in met {
        let same = |row: &&Waiting| row.org_id == key.0 && row.dedupe_key == clean(key.1);
        let Some(Waiting { id, run_at, priority, .. }) = waiting.iter().find(same) else { continue };
        if us(job.run_at) < *run_at || i64::from(job.priority) < *priority {
            sqlx::query(HASTEN)
                .bind(id)
                .bind(us(job.run_at))
                .bind(i64::from(job.priority))
                .bind(us(now))
                .execute(&mut *c)
                .await?;
        }
        found.push((**key, id.clone()));
    }
    Ok(found)
}

/// Fails unless the claim is still held; until the commit nobody can take it away.
///
/// # Errors
/// [`StoreError::Fenced`].
pub(crate) async fn fence_in(c: &mut Conn, fence: &Fence) -> Result<()> {
    let held: Option<String> =
        sqlx::query_scalar::<Db, _>(FENCE).bind(&fence.job_id.0).bind(fence.claim).fetch_optional(c).await?;
    match held {
        Some(_) => Ok(()),
        None => Err(StoreError::Fenced { job_id: fence.job_id.0.clone() }),
    }
}

pub(crate) async fn heartbeat_jobs(
    c: &mut Conn,
    held: &[Fence],
    lease_until: Timestamp,
) -> Result<Vec<Fence>> {
    let kept: Vec<(String, i64)> = sqlx::query_as(HEARTBEAT)
        .bind(json_list(held.iter().map(|fence| fence.job_id.as_str())))
        .bind(json_list(held.iter().map(|fence| format!("{}:{}", fence.job_id, fence.claim))))
        .bind(us(lease_until))
        .fetch_all(c)
        .await?;
    let kept: std::collections::HashSet<(String, i64)> = kept.into_iter().collect();
    Ok(held.iter().filter(|f| !kept.contains(&(f.job_id.0.clone(), f.claim))).cloned().collect())
}

#[derive(FromRow)]
struct ClaimedRow {
    id: String,
    claim: i64,
    kind: String,
    org_id: String,
    connection_id: Option<String>,
    args: String,
    dedupe_key: Option<String>,
    attempts: i64,
    max_attempts: i64,
    run_at: i64,
    suspicion: i64,
}

impl ClaimedRow {
    fn read(self) -> Result<ClaimedJob> {
        Ok(ClaimedJob {
            args: from_json("jobs", "args", &self.id, &self.args)?,
            fence: Fence { job_id: self.id.into(), claim: self.claim },
            kind: self.kind,
            org_id: self.org_id.into(),
            connection_id: self.connection_id.map(Into::into),
            dedupe_key: self.dedupe_key,
            attempts: count(self.attempts),
            max_attempts: count(self.max_attempts),
            run_at: time(self.run_at),
            suspect: self.suspicion > 0,
        })
    }
}

/// A stored small number.
pub(super) fn count(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[derive(FromRow)]
struct TouchRow {
    id: String,
    org_id: String,
    connection_id: Option<String>,
    kind: String,
    lane: String,
    dedupe_key: String,
    args: String,
    priority: i64,
    max_attempts: i64,
    run_at: i64,
}

/// Makes jobs of pushes that were merged into a job which was claimed before they were committed.
async fn revive_touches(c: &mut Conn, now: Timestamp) -> Result<()> {
    let some: bool = sqlx::query_scalar::<Db, _>(LEFT_TOUCHES).fetch_one(&mut *c).await?;
    if !some {
        return Ok(());
    }
    let mut left: Vec<TouchRow> = sqlx::query_as(REVIVE_TOUCHES).fetch_all(&mut *c).await?;
    if left.is_empty() {
        return Ok(());
    }
    left.sort_by(|a, b| (&a.org_id, &a.dedupe_key, a.run_at).cmp(&(&b.org_id, &b.dedupe_key, b.run_at)));
    left.dedup_by(|a, b| a.org_id == b.org_id && a.dedupe_key == b.dedupe_key);
    let rows: Vec<_> = left
        .into_iter()
        .map(|t| {
            json!({"id": t.id, "org": t.org_id, "con": t.connection_id, "kind": t.kind, "lane": t.lane,
                "key": t.dedupe_key, "args": t.args, "at": t.run_at, "prio": t.priority, "max": t.max_attempts})
        })
        .collect();
    // One that meets a job pushed meanwhile is part of it: that job has not been claimed yet.
    sqlx::query(PUSH).bind(to_json(&rows)?).bind(us(now)).execute(c).await?;
    Ok(())
}

/// The stretches of the lanes' order that hold these kinds; everything for none.
fn spans(kinds: &[String]) -> Result<String> {
    // '0' is the character after '/'.
    let rows: Vec<_> = if kinds.is_empty() {
        vec![json!({"lo": "", "hi": "\u{10ffff}"})]
    } else {
        kinds.iter().map(|kind| json!({"lo": format!("{kind}/"), "hi": format!("{kind}0")})).collect()
    };
    to_json(&rows)
}

pub(crate) async fn claim_jobs(c: &mut Conn, claim: &Claim) -> Result<Claimed> {
    /// Claimers that pick the same jobs at the same moment: the later one picks again.
    const ROUNDS: usize = 3;
    let now = us(claim.now);
    if super::super::MANY_WRITERS {
        revive_touches(c, claim.now).await?;
    }
    sqlx::query(PROMOTE_DUE).bind(now).bind(PROMOTE).execute(&mut *c).await?;
    let spans = spans(&claim.kinds)?;
    let ahead: Vec<_> =
        claim.ahead.iter().map(|(lane, ahead)| json!({"lane": lane, "ahead": ahead})).collect();
    let ahead = to_json(&ahead)?;
    let limit = match claim.take {
        Take::Healthy => claim.limit,
        Take::OneSuspect => claim.limit.min(1),
    };
    let mut jobs: Vec<ClaimedJob> = Vec::new();
    for _ in 0..ROUNDS {
        let want = limit - i64::try_from(jobs.len()).unwrap_or(i64::MAX);
        if want <= 0 {
            break;
        }
        let picked: Vec<String> = match claim.take {
            Take::Healthy => {
                sqlx::query_scalar::<Db, _>(PICK)
                    .bind(&spans)
                    .bind(&ahead)
                    .bind(want)
                    .fetch_all(&mut *c)
                    .await?
            }
            Take::OneSuspect => {
                sqlx::query_scalar::<Db, _>(PICK_SUSPECT).bind(&spans).fetch_all(&mut *c).await?
            }
        };
        if picked.is_empty() {
            break;
        }
        let taken: Vec<ClaimedRow> = sqlx::query_as(TAKE)
            .bind(json_list(&picked))
            .bind(&claim.worker)
            .bind(now)
            .bind(us(claim.lease_until))
            .fetch_all(&mut *c)
            .await?;
        let all = taken.len() == picked.len();
        let mut by_id: HashMap<String, ClaimedRow> =
            taken.into_iter().map(|row| (row.id.clone(), row)).collect();
        for id in picked {
            if let Some(row) = by_id.remove(&id) {
                jobs.push(row.read()?);
            }
        }
        if all {
            break;
        }
    }
    if super::super::MANY_WRITERS {
        let keys: Vec<_> = jobs
            .iter()
            .filter_map(|job| Some(json!({"org": job.org_id.as_str(), "key": job.dedupe_key.as_ref()?})))
            .collect();
        if !keys.is_empty() {
            sqlx::query(TAKE_TOUCHES).bind(to_json(&keys)?).execute(&mut *c).await?;
        }
    }
    let (next_due, suspect_due): (Option<i64>, bool) =
        sqlx::query_as(OUTLOOK).bind(&spans).fetch_one(&mut *c).await?;
    Ok(Claimed { jobs, suspect_due, next_due: next_due.map(time) })
}

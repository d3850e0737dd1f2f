//! Jobs for people: lists, figures, retries of dead letters; and the end of old history.

use std::collections::HashMap;

use sqlx::FromRow;

use super::{Conn, Db, jobs::count};
use crate::domain::jobs::{Attempt, JobState, JobSummary};
use crate::domain::{JobId, OrgId};
use crate::store::Result;
use crate::store::convert::{from_json, from_word, json_list, time, us};
use crate::store::jobs::JobStats;
use connector_sdk::Timestamp;

/// Dead letters that are put back in one step.
const RETRIES: i64 = 500;

statements! {
    LIST_LIVE = "SELECT id, kind, org_id, connection_id, args, state, attempts, max_attempts, run_at AS at,
            (SELECT a.error FROM job_attempts a WHERE a.job_id = jobs.id ORDER BY a.claim DESC LIMIT 1) AS error
        FROM jobs WHERE ($1 IS NULL OR org_id = $1) AND ($2 IS NULL OR state = $2) ORDER BY id DESC LIMIT $3";
    LIST_FINISHED = "SELECT id, kind, org_id, connection_id, args, state, attempts, max_attempts, finished_at AS at,
            error
        FROM finished_jobs WHERE ($1 IS NULL OR org_id = $1) AND ($2 IS NULL OR state = $2)
        ORDER BY finished_at DESC, id DESC LIMIT $3";
    LIST_ATTEMPTS = concat!("SELECT job_id, started_at, duration_us, outcome, error FROM job_attempts
        WHERE job_id", in_list!("$1"), " ORDER BY job_id, claim");
    LOAD_DEAD = concat!("SELECT id FROM finished_jobs WHERE state = 'dead' AND ($1 IS NULL OR org_id = $1)
        ORDER BY id LIMIT $2", for_update!());
    LOAD_DEAD_OF = concat!("SELECT id FROM finished_jobs WHERE state = 'dead' AND ($1 IS NULL OR org_id = $1)
        AND id", in_list!("$2"), " ORDER BY id", for_update!());
    PUT_BACK = concat!("INSERT INTO jobs (id, org_id, connection_id, kind, lane, dedupe_key, args, priority,
            max_attempts, state, due, run_at, pushed_at, attempts, claim, suspicion)
        SELECT id, org_id, connection_id, kind, lane, dedupe_key, args, priority, max_attempts, 'ready', true, $2,
            pushed_at, 0, claim, 0
        FROM finished_jobs WHERE id", in_list!("$1"), " ORDER BY org_id, dedupe_key, id
        ON CONFLICT (org_id, dedupe_key) WHERE state = 'ready' DO NOTHING RETURNING id");
    DROP_FINISHED = concat!("DELETE FROM finished_jobs WHERE id", in_list!("$1"));
    MARK_MERGED = concat!("UPDATE finished_jobs SET state = 'merged', finished_at = $2
        WHERE state = 'dead' AND id", in_list!("$1"));
    STATS = "SELECT (SELECT COUNT(*) FROM jobs WHERE state = 'ready') AS ready,
        (SELECT COUNT(*) FROM jobs WHERE state = 'running') AS running,
        (SELECT COUNT(*) FROM finished_jobs WHERE state = 'dead') AS dead,
        (SELECT MIN(run_at) FROM jobs WHERE state = 'ready' AND run_at <= $1) AS oldest";
    LOAD_OLD = "SELECT id FROM finished_jobs WHERE state = $1 AND finished_at < $2 ORDER BY finished_at LIMIT $3";
    DROP_ATTEMPTS = concat!("DELETE FROM job_attempts WHERE job_id", in_list!("$1"));
}

#[derive(FromRow)]
struct SummaryRow {
    id: String,
    kind: String,
    org_id: String,
    connection_id: Option<String>,
    args: String,
    state: String,
    attempts: i64,
    max_attempts: i64,
    at: i64,
    error: Option<String>,
}

impl SummaryRow {
    fn read(self, history: Vec<Attempt>) -> Result<JobSummary> {
        Ok(JobSummary {
            args: from_json("jobs", "args", &self.id, &self.args)?,
            state: from_word("jobs", "state", &self.id, &self.state)?,
            id: self.id.into(),
            kind: self.kind,
            org_id: self.org_id.into(),
            connection_id: self.connection_id.map(Into::into),
            attempts: count(self.attempts),
            max_attempts: count(self.max_attempts),
            at: time(self.at),
            error: self.error,
            history,
        })
    }
}

#[derive(FromRow)]
struct AttemptRow {
    job_id: String,
    started_at: i64,
    duration_us: i64,
    outcome: String,
    error: Option<String>,
}

/// Live jobs come before finished ones; each group newest first.
pub(crate) async fn list_jobs(
    c: &mut Conn,
    org: Option<&OrgId>,
    state: Option<JobState>,
    limit: i64,
) -> Result<Vec<JobSummary>> {
    let (live, finished) = match state {
        None => (true, true),
        Some(JobState::Ready | JobState::Running) => (true, false),
        Some(JobState::Done | JobState::Merged | JobState::Dead) => (false, true),
    };
    let mut rows: Vec<SummaryRow> = Vec::new();
    for (wanted, sql) in [(live, LIST_LIVE), (finished, LIST_FINISHED)] {
        let left = limit - i64::try_from(rows.len()).unwrap_or(i64::MAX);
        if wanted && left > 0 {
            let found: Vec<SummaryRow> = sqlx::query_as(sql)
                .bind(org.map(OrgId::as_str))
                .bind(state.map(JobState::as_str))
                .bind(left)
                .fetch_all(&mut *c)
                .await?;
            rows.extend(found);
        }
    }
    let attempts: Vec<AttemptRow> =
        sqlx::query_as(LIST_ATTEMPTS).bind(json_list(rows.iter().map(|row| &row.id))).fetch_all(c).await?;
    let mut histories: HashMap<String, Vec<Attempt>> = HashMap::new();
    for row in attempts {
        histories.entry(row.job_id).or_default().push(Attempt {
            started_at: time(row.started_at),
            duration_us: row.duration_us,
            outcome: row.outcome,
            error: row.error,
        });
    }
    rows.into_iter()
        .map(|row| {
            let history = histories.remove(&row.id).unwrap_or_default();
            row.read(history)
        })
        .collect()
}

/// Puts dead letters back; one whose key waits already is merged into that job. Answers how many were dealt
/// with.
pub(crate) async fn retry_dead_jobs(
    c: &mut Conn,
    org: Option<&OrgId>,
    ids: Option<&[JobId]>,
    now: Timestamp,
) -> Result<i64> {
    let org = org.map(OrgId::as_str);
    let mut retried = 0;
    loop {
        let dead: Vec<String> = match ids {
            None => sqlx::query_scalar::<Db, _>(LOAD_DEAD).bind(org).bind(RETRIES).fetch_all(&mut *c).await?,
            Some(ids) => {
                sqlx::query_scalar::<Db, _>(LOAD_DEAD_OF)
                    .bind(org)
                    .bind(json_list(ids.iter().map(JobId::as_str)))
                    .fetch_all(&mut *c)
                    .await?
            }
        };
        if dead.is_empty() {
            return Ok(retried);
        }
        retried += i64::try_from(dead.len()).unwrap_or(i64::MAX);
        let back: Vec<String> = sqlx::query_scalar::<Db, _>(PUT_BACK)
            .bind(json_list(&dead))
            .bind(us(now))
            .fetch_all(&mut *c)
            .await?;
        sqlx::query(DROP_FINISHED).bind(json_list(&back)).execute(&mut *c).await?;
        sqlx::query(MARK_MERGED).bind(json_list(&dead)).bind(us(now)).execute(&mut *c).await?;
        crate::store::note_push();
    }
}

pub(crate) async fn job_stats(c: &mut Conn, now: Timestamp) -> Result<JobStats> {
    let (ready, running, dead, oldest): (i64, i64, i64, Option<i64>) =
        sqlx::query_as(STATS).bind(us(now)).fetch_one(c).await?;
    Ok(JobStats { ready, running, dead, oldest_due_us: oldest.map_or(0, |oldest| us(now) - oldest) })
}

pub(crate) async fn prune_jobs(c: &mut Conn, before: Timestamp, limit: i64) -> Result<i64> {
    let mut old: Vec<String> = Vec::new();
    for state in [JobState::Done, JobState::Merged] {
        let left = limit - i64::try_from(old.len()).unwrap_or(i64::MAX);
        let found: Vec<String> = sqlx::query_scalar::<Db, _>(LOAD_OLD)
            .bind(state.as_str())
            .bind(us(before))
            .bind(left)
            .fetch_all(&mut *c)
            .await?;
        old.extend(found);
    }
    if old.is_empty() {
        return Ok(0);
    }
    let list = json_list(&old);
    sqlx::query(DROP_ATTEMPTS).bind(&list).execute(&mut *c).await?;
    sqlx::query(DROP_FINISHED).bind(&list).execute(c).await?;
    Ok(i64::try_from(old.len()).unwrap_or(i64::MAX))
}

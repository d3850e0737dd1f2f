//! How a claim ends: recorded, given back, or lost with its process.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::json;
use sqlx::FromRow;

use super::{Conn, jobs};
use crate::domain::jobs::{Fence, Finished, JobOutcome};
use crate::store::Result;
use crate::store::convert::{clean, json_list, to_json, us};
use connector_sdk::Timestamp;

/// Attempts that are kept of a job that goes on and on.
const ATTEMPTS_KEPT: i64 = 100;
/// Orphans that are freed in one step.
const ORPHANS: i64 = 1000;

statements! {
    LOAD_HELD = concat!("SELECT id, claim, org_id, dedupe_key, attempts, max_attempts, suspicion, run_at, claimed_at
        FROM jobs WHERE id", in_list!("$1"), " AND state = 'running' ORDER BY id", for_update!());
    LOAD_ORPHANS = concat!("SELECT id, claim, org_id, dedupe_key, attempts, max_attempts, suspicion, run_at, claimed_at
        FROM jobs WHERE state = 'running' AND (lease_until < $1 OR $2) ORDER BY id LIMIT $3", skip_locked!());
    ADD_ATTEMPTS = concat!("INSERT INTO job_attempts (job_id, claim, org_id, started_at, duration_us, outcome, error)
        SELECT value ->> 'job', CAST(value ->> 'claim' AS BIGINT), value ->> 'org',
            CAST(value ->> 'started' AS BIGINT), CAST(value ->> 'took' AS BIGINT), value ->> 'outcome',
            value ->> 'error'
        FROM ", json_rows!("$1"), " WHERE true ON CONFLICT (job_id, claim) DO NOTHING");
    FINISH = concat!("INSERT INTO finished_jobs (id, org_id, connection_id, kind, lane, dedupe_key, args, priority,
            max_attempts, state, pushed_at, attempts, claim, finished_at, error)
        SELECT j.id, j.org_id, j.connection_id, j.kind, j.lane, j.dedupe_key, j.args, j.priority, j.max_attempts,
            x.state, j.pushed_at, x.attempts, j.claim, x.ended, x.error
        FROM (SELECT value ->> 'job' AS job, value ->> 'state' AS state, CAST(value ->> 'attempts' AS BIGINT) AS attempts,
                CAST(value ->> 'ended' AS BIGINT) AS ended, value ->> 'error' AS error FROM ", json_rows!("$1"), fence!(), ") x
        JOIN jobs j ON j.id = x.job");
    REMOVE = concat!("DELETE FROM jobs WHERE id", in_list!("$1"));
    READY = concat!("UPDATE jobs SET state = 'ready', due = x.run_at <= $2, run_at = x.run_at, attempts = x.attempts,
            suspicion = x.suspicion, worker = NULL, claimed_at = NULL, lease_until = NULL
        FROM (SELECT value ->> 'job' AS job, CAST(value ->> 'at' AS BIGINT) AS run_at,
                CAST(value ->> 'attempts' AS BIGINT) AS attempts,
                CAST(value ->> 'suspicion' AS BIGINT) AS suspicion FROM ", json_rows!("$1"), fence!(), ") x
        WHERE jobs.id = x.job");
    FORGET_OLD_ATTEMPTS = concat!("DELETE FROM job_attempts WHERE job_id", in_list!("$1"), " AND claim <=
        (SELECT j.claim FROM jobs j WHERE j.id = job_attempts.job_id) - $2");
    // What an unfinished job hands to the waiting one that takes its place.
    INHERIT = "UPDATE jobs SET run_at = CAST($2 AS BIGINT), due = CAST($2 AS BIGINT) <= CAST($3 AS BIGINT),
            attempts = CASE WHEN attempts < $4 THEN $4 ELSE attempts END,
            suspicion = CASE WHEN suspicion < $5 THEN $5 ELSE suspicion END
        WHERE id = $1 AND state = 'ready'";
}

#[derive(FromRow)]
struct HeldRow {
    id: String,
    claim: i64,
    org_id: String,
    dedupe_key: Option<String>,
    attempts: i64,
    max_attempts: i64,
    suspicion: i64,
    run_at: i64,
    claimed_at: Option<i64>,
}

/// How one claim ends.
struct Ending {
    job: HeldRow,
    /// The attempt's row.
    started: i64,
    ended: i64,
    outcome: &'static str,
    error: Option<String>,
    attempts: i64,
    suspicion: i64,
    next: Next,
}

/// What becomes of the job.
enum Next {
    /// It goes to the history, in this state.
    Finished(&'static str),
    /// It waits again. `floor`: not before this instant, whatever waits with its key.
    Again { at: i64, floor: Option<i64> },
}

/// Writes the ends of claims whose rows are locked: history, finished jobs, jobs that wait again.
async fn end_claims(c: &mut Conn, endings: Vec<Ending>, now: i64) -> Result<()> {
    if endings.is_empty() {
        return Ok(());
    }
    let attempts: Vec<_> = endings
        .iter()
        .map(|e| {
            json!({"job": e.job.id, "claim": e.job.claim, "org": e.job.org_id, "started": e.started,
                "took": (e.ended - e.started).max(0), "outcome": e.outcome, "error": e.error})
        })
        .collect();
    sqlx::query(ADD_ATTEMPTS).bind(to_json(&attempts)?).execute(&mut *c).await?;

    let waiting = load_waiting(c, &endings).await?;
    let mut finished = Vec::new();
    let mut again = Vec::new();
    for ending in &endings {
        let (mut state, mut error) = ("", ending.error.clone());
        match &ending.next {
            Next::Finished(word) => state = word,
            Next::Again { at, floor } => {
                let key = ending.job.dedupe_key.as_ref().map(|key| (ending.job.org_id.clone(), key.clone()));
                match key.and_then(|key| waiting.get(&key)) {
                    None => again.push(json!({"job": ending.job.id, "at": at, "attempts": ending.attempts,
                        "suspicion": ending.suspicion})),
                    Some((heir, run_at)) => {
                        // A provider's "not before" holds for everything with this key.
                        let at = (*run_at).min(*at).max(floor.unwrap_or(i64::MIN));
                        // A job that may have killed its process is no less suspect under another id.
                        let attempts = if ending.suspicion > 0 { ending.attempts } else { 0 };
                        sqlx::query(INHERIT)
                            .bind(heir)
                            .bind(at)
                            .bind(now)
                            .bind(attempts)
                            .bind(ending.suspicion)
                            .execute(&mut *c)
                            .await?;
                        state = "merged";
                        error = error.or_else(|| Some(format!("went on as {heir}")));
                    }
                }
            }
        }
        if !state.is_empty() {
            finished.push(json!({"job": ending.job.id, "state": state, "attempts": ending.attempts,
                "ended": ending.ended, "error": error}));
        }
    }
    if !finished.is_empty() {
        sqlx::query(FINISH).bind(to_json(&finished)?).execute(&mut *c).await?;
        let ids: Vec<&str> = finished.iter().filter_map(|row| row["job"].as_str()).collect();
        sqlx::query(REMOVE).bind(json_list(ids)).execute(&mut *c).await?;
    }
    if !again.is_empty() {
        sqlx::query(READY).bind(to_json(&again)?).bind(now).execute(&mut *c).await?;
        let ids: Vec<&str> = again.iter().filter_map(|row| row["job"].as_str()).collect();
        sqlx::query(FORGET_OLD_ATTEMPTS).bind(json_list(ids)).bind(ATTEMPTS_KEPT).execute(&mut *c).await?;
        crate::store::note_push();
    }
    Ok(())
}

/// The jobs that wait with the keys of those that would wait again, by key: id and `run_at`.
async fn load_waiting(c: &mut Conn, endings: &[Ending]) -> Result<HashMap<(String, String), (String, i64)>> {
    let keys: Vec<_> = endings
        .iter()
        .filter(|e| matches!(e.next, Next::Again { .. }))
        .filter_map(|e| Some(json!({"org": e.job.org_id, "key": e.job.dedupe_key.as_ref()?})))
        .collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = jobs::find_waiting(c, &keys).await?;
    Ok(rows.into_iter().map(|row| ((row.org_id, row.dedupe_key), (row.id, row.run_at))).collect())
}

/// Loads and locks the rows of these claims; answers them by job, and the claims that are not held.
async fn load_held(c: &mut Conn, fences: &[&Fence]) -> Result<(BTreeMap<String, HeldRow>, Vec<Fence>)> {
    let ids = json_list(fences.iter().map(|fence| fence.job_id.as_str()));
    let rows: Vec<HeldRow> = sqlx::query_as(LOAD_HELD).bind(ids).fetch_all(c).await?;
    let claims: HashSet<(&str, i64)> =
        fences.iter().map(|fence| (fence.job_id.as_str(), fence.claim)).collect();
    let held: BTreeMap<String, HeldRow> = rows
        .into_iter()
        .filter(|row| claims.contains(&(row.id.as_str(), row.claim)))
        .map(|row| (row.id.clone(), row))
        .collect();
    let is_held = |fence: &Fence| held.get(fence.job_id.as_str()).is_some_and(|row| row.claim == fence.claim);
    let lost = fences.iter().filter(|fence| !is_held(fence)).map(|fence| (*fence).clone()).collect();
    Ok((held, lost))
}

pub(crate) async fn record_outcomes(
    c: &mut Conn,
    finished: &[Finished],
    now: Timestamp,
) -> Result<Vec<Fence>> {
    let fences: Vec<&Fence> = finished.iter().map(|run| &run.fence).collect();
    let (mut held, lost) = load_held(c, &fences).await?;
    let mut endings = Vec::with_capacity(finished.len());
    for run in finished {
        let matches = held.get(run.fence.job_id.as_str()).is_some_and(|row| row.claim == run.fence.claim);
        // Removed as it is used: a claim ends once, also when a batch names it twice.
        if let Some(job) = matches.then(|| held.remove(run.fence.job_id.as_str())).flatten() {
            endings.push(ending(job, run));
        }
    }
    end_claims(c, endings, us(now)).await?;
    Ok(lost)
}

fn ending(job: HeldRow, run: &Finished) -> Ending {
    let at = run.next_run_at.map_or(us(run.finished_at), us);
    let attempts = job.attempts;
    let (outcome, error, attempts, next) = match &run.outcome {
        JobOutcome::Done => ("done", None, attempts, Next::Finished("done")),
        JobOutcome::Snooze(_) => ("snoozed", None, attempts, Next::Again { at, floor: None }),
        JobOutcome::Discard(reason) => ("discarded", Some(clean(reason)), attempts, Next::Finished("dead")),
        JobOutcome::Retry { error, not_before } => {
            let attempts = attempts + 1;
            let next = if attempts >= job.max_attempts {
                Next::Finished("dead")
            } else {
                Next::Again { at, floor: not_before.map(|_| at) }
            };
            ("failed", Some(clean(error)), attempts, next)
        }
    };
    Ending {
        started: us(run.started_at),
        ended: us(run.finished_at),
        outcome,
        error,
        attempts,
        // Whatever came out of the run, its process lived.
        suspicion: 0,
        next,
        job,
    }
}

pub(crate) async fn release_jobs(c: &mut Conn, held: &[Fence], at: Timestamp) -> Result<i64> {
    let fences: Vec<&Fence> = held.iter().collect();
    let (rows, _) = load_held(c, &fences).await?;
    let endings: Vec<Ending> = rows
        .into_values()
        .map(|job| Ending {
            started: job.claimed_at.unwrap_or(us(at)),
            ended: us(at),
            outcome: "released",
            error: None,
            attempts: job.attempts,
            suspicion: job.suspicion,
            next: Next::Again { at: job.run_at.min(us(at)), floor: None },
            job,
        })
        .collect();
    let released = endings.len();
    end_claims(c, endings, us(at)).await?;
    Ok(i64::try_from(released).unwrap_or(i64::MAX))
}

pub(crate) async fn release_orphans(c: &mut Conn, now: Timestamp, all: bool) -> Result<(i64, i64)> {
    let (mut freed, mut buried) = (0, 0);
    loop {
        let orphans: Vec<HeldRow> =
            sqlx::query_as(LOAD_ORPHANS).bind(us(now)).bind(all).bind(ORPHANS).fetch_all(&mut *c).await?;
        if orphans.is_empty() {
            return Ok((freed, buried));
        }
        let endings: Vec<Ending> = orphans.into_iter().map(|job| orphaned(job, us(now))).collect();
        let dead = endings.iter().filter(|e| matches!(e.next, Next::Finished(_))).count();
        buried += i64::try_from(dead).unwrap_or(i64::MAX);
        freed += i64::try_from(endings.len() - dead).unwrap_or(i64::MAX);
        end_claims(c, endings, us(now)).await?;
    }
}

/// The first death in company proves nothing, so it is not charged. The next one, alone, proves both.
fn orphaned(job: HeldRow, now: i64) -> Ending {
    let charge = match job.suspicion {
        0 => 0,
        1 => 2,
        _ => 1,
    };
    let attempts = job.attempts + charge;
    let guilty = job.suspicion > 0;
    let (error, next) = if guilty && attempts >= job.max_attempts {
        let reason =
            format!("its process died while this job ran alone (claim {}); attempts are used up", job.claim);
        (reason, Next::Finished("dead"))
    } else {
        let reason = if guilty { "its process died while this job ran alone" } else { "its process died" };
        (reason.to_owned(), Next::Again { at: job.run_at.min(now), floor: None })
    };
    Ending {
        started: job.claimed_at.unwrap_or(now),
        ended: now,
        outcome: "lost",
        error: Some(error),
        attempts,
        suspicion: if guilty { 2 } else { 1 },
        next,
        job,
    }
}

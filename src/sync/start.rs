//! Making runs: on connect, on schedule, by hand. A run is a row and a job; the job does the reading.

use connector_sdk::{Clock, Spec, Timestamp};
use serde_json::json;

use super::SyncError;
use crate::domain::connections::Connection;
use crate::domain::jobs::NewJob;
use crate::domain::runs::{RunKind, RunStatus, StreamProgress, SyncRun};
use crate::domain::{ConnectionId, OrgId, RunId};
use crate::store::Store;

/// The kind of the job that reads a run's streams.
pub const RUN_JOB: &str = "sync.run";
/// The kind of the job that a schedule inserts: it makes a run and its job.
pub const SCHEDULED_JOB: &str = "sync.scheduled";

/// Failures in a row after which a run gives up. With the ladder of `jobs::ladder` that is several hours.
const RUN_ATTEMPTS: i32 = 12;

/// A run to be made.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// Why it reads.
    pub kind: RunKind,
    /// `connect`, `schedule`, `manual`, `reconcile`.
    pub trigger: &'static str,
    /// Streams; empty for all.
    pub streams: Vec<String>,
}

/// What came of a request.
#[derive(Debug, Clone)]
pub enum Started {
    /// A new run.
    New(SyncRun),
    /// A run is at work already; the request adds nothing to it.
    AlreadyRunning(SyncRun),
}

/// Makes a run and its job, unless one of the same or a wider kind is at work on the connection.
///
/// Job first would be a job without a run; run first may be a run without a job after a crash, which
/// reconcile finds (a running run with no job) and mends. Hence this order.
pub async fn start_run(
    store: &dyn Store,
    clock: &dyn Clock,
    spec: &Spec,
    connection: &Connection,
    request: RunRequest,
) -> Result<Started, SyncError> {
    let running =
        store.list_runs(&connection.org_id, Some(&connection.id), Some(RunStatus::Running), 1).await?;
    if let Some(run) = running.into_iter().next() {
        store.push_jobs(vec![run_job(&connection.org_id, &connection.id, &run.id, clock.now())]).await?;
        return Ok(Started::AlreadyRunning(run));
    }
    let mut streams: Vec<_> = spec.streams.iter().collect();
    streams.sort_by_key(|s| (s.order, s.name));
    for wanted in &request.streams {
        if spec.stream(wanted).is_none() {
            let known: Vec<_> = streams.iter().map(|s| s.name).collect();
            return Err(SyncError::Gone(format!(
                "{} has no stream {wanted:?}; there are: {}",
                spec.id,
                known.join(", ")
            )));
        }
    }
    // What changed is of the whole account: a run of chosen streams lists these. A full run takes the feed's
    // place before it reads anything, so that the next one knows what changed meanwhile.
    let feed = spec.feed.iter().map(|feed| feed.name).filter(|_| request.streams.is_empty());
    let now = clock.now();
    let run = SyncRun {
        id: RunId::generate(clock),
        connection_id: connection.id.clone(),
        kind: request.kind,
        trigger: request.trigger.to_owned(),
        streams: feed
            .chain(streams.iter().map(|s| s.name))
            .filter(|name| request.streams.is_empty() || request.streams.iter().any(|w| w == name))
            .map(|name| StreamProgress {
                stream: name.to_owned(),
                state: "pending".to_owned(),
                ..StreamProgress::default()
            })
            .collect(),
        status: RunStatus::Running,
        error: None,
        started_at: now,
        finished_at: None,
    };
    store.put_run(&connection.org_id, &run).await?;
    store.push_jobs(vec![run_job(&connection.org_id, &connection.id, &run.id, now)]).await?;
    Ok(Started::New(run))
}

/// The job of a run. One a connection: two runs never read one account at the same time.
pub fn run_job(org: &OrgId, connection: &ConnectionId, run: &RunId, at: Timestamp) -> NewJob {
    NewJob {
        kind: RUN_JOB,
        org_id: org.clone(),
        connection_id: Some(connection.clone()),
        dedupe_key: Some(format!("{RUN_JOB}:{connection}")),
        args: json!({ "run": run }),
        run_at: at,
        priority: 10,
        max_attempts: RUN_ATTEMPTS,
    }
}

impl Started {
    /// The run, new or not.
    pub fn run(&self) -> &SyncRun {
        match self {
            Self::New(run) | Self::AlreadyRunning(run) => run,
        }
    }
}

//! Jobs: an id, a kind, and a little JSON that never holds a secret.

use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ConnectionId, JobId, OrgId};

/// A job to be inserted, inside the transaction of whatever makes it necessary.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Stable kind (`sync.stream`).
    pub kind: &'static str,
    /// Whose lane it runs in.
    pub org_id: OrgId,
    /// The connection that it is for, where there is one.
    pub connection_id: Option<ConnectionId>,
    /// At most one job with this key waits; while one runs, one more may wait behind it and starts after it.
    pub dedupe_key: Option<String>,
    /// Arguments; ids, never secrets or payloads.
    pub args: Value,
    /// Not before.
    pub run_at: Timestamp,
    /// Smaller first within a lane.
    pub priority: i16,
    /// Attempts that may fail before the job is a dead letter.
    pub max_attempts: i32,
}

impl NewJob {
    /// A job that is due now, without arguments, key or connection, of middling priority, that may fail
    /// five times. Change the fields that differ.
    pub fn now(kind: &'static str, org_id: OrgId, now: Timestamp) -> Self {
        Self {
            kind,
            org_id,
            connection_id: None,
            dedupe_key: None,
            args: Value::Object(serde_json::Map::new()),
            run_at: now,
            priority: 100,
            max_attempts: 5,
        }
    }

    /// The lane that the job waits in.
    pub fn lane(&self) -> String {
        lane(self.kind, &self.org_id, self.connection_id.as_ref())
    }
}

/// The lane of a job: what shares its turns with the others. The kind stands first, so that the lanes of a
/// kind are neighbours in an index.
pub fn lane(kind: &str, org: &OrgId, connection: Option<&ConnectionId>) -> String {
    format!("{kind}/{org}/{}", connection.map_or("-", ConnectionId::as_str))
}

/// What an insertion did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// A row was inserted.
    Inserted(JobId),
    /// A job with the same key already waits; its `run_at` is now the earlier of both.
    Merged(JobId),
}

/// Proof of a claim. A stale holder's writes are refused by comparing it with the row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The job.
    pub job_id: JobId,
    /// Counts claims; a later claim has a larger one.
    pub claim: i64,
}

/// A claimed job, ready to run.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedJob {
    /// The job's id and this claim.
    pub fence: Fence,
    /// Kind, as inserted.
    pub kind: String,
    /// Organisation.
    pub org_id: OrgId,
    /// Connection.
    pub connection_id: Option<ConnectionId>,
    /// Arguments.
    pub args: Value,
    /// The key of deduplication, as inserted.
    pub dedupe_key: Option<String>,
    /// Attempts that have failed so far.
    pub attempts: i32,
    /// The cap.
    pub max_attempts: i32,
    /// When the job became due.
    pub run_at: Timestamp,
    /// True when a process died while this job ran: it runs alone until it proves harmless.
    pub suspect: bool,
}

impl ClaimedJob {
    /// The lane that the job waited in.
    pub fn lane(&self) -> String {
        lane(&self.kind, &self.org_id, self.connection_id.as_ref())
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub enum JobOutcome {
    /// Finished.
    Done,
    /// Not finished, nothing wrong: again after this long. Costs no attempt.
    Snooze(std::time::Duration),
    /// Failed; again by the ladder, or not before the given instant.
    Retry {
        /// What went wrong, without bodies or secrets.
        error: String,
        /// A provider's own "not before".
        not_before: Option<Timestamp>,
    },
    /// Failed for good: a dead letter with this reason.
    Discard(String),
}

/// A finished run, to be recorded in a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Which claim.
    pub fence: Fence,
    /// What it came to.
    pub outcome: JobOutcome,
    /// When the run began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// When the next try is due (computed by the ladder for `Retry` and `Snooze`).
    pub next_run_at: Option<Timestamp>,
}

impl JobState {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Done => "done",
            Self::Merged => "merged",
            Self::Dead => "dead",
        }
    }
}

/// Where a job stands, for lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its time or a worker.
    Ready,
    /// Is claimed.
    Running,
    /// Finished well.
    Done,
    /// Gave way to a waiting job with the same key, which does its work.
    Merged,
    /// Gave up; waits for a person.
    Dead,
}

/// A job in a list, live or finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSummary {
    /// Id.
    pub id: JobId,
    /// Kind.
    pub kind: String,
    /// Organisation.
    pub org_id: OrgId,
    /// Connection.
    pub connection_id: Option<ConnectionId>,
    /// Arguments.
    pub args: Value,
    /// State.
    pub state: JobState,
    /// Failed attempts.
    pub attempts: i32,
    /// The cap.
    pub max_attempts: i32,
    /// Due, or finished.
    pub at: Timestamp,
    /// The last error.
    pub error: Option<String>,
    /// Every attempt: when, how long, what went wrong.
    pub history: Vec<Attempt>,
}

/// One attempt of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, microseconds.
    pub duration_us: i64,
    /// `done`, `snoozed`, `failed`, `discarded`, `lost` (the process died), `released` (graceful stop).
    pub outcome: String,
    /// What went wrong.
    pub error: Option<String>,
}

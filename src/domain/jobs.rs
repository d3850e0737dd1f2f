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
    /// Attempts that have failed so far.
    pub attempts: i32,
    /// The cap.
    pub max_attempts: i32,
    /// When the job became due.
    pub run_at: Timestamp,
    /// True when a process died while this job ran: it runs alone until it proves harmless.
    pub suspect: bool,
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

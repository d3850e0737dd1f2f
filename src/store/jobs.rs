//! The jobs table: inserted by our own units, claimed by the workers' backend.

use async_trait::async_trait;
use connector_sdk::Timestamp;

use super::Result;
use crate::domain::connections::Schedule;
use crate::domain::jobs::{ClaimedJob, Fence, Finished, JobState, JobSummary, NewJob, Pushed};
use crate::domain::{JobId, OrgId, ScheduleId};

/// A claim for up to `limit` jobs.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Unique name of this process start.
    pub worker: String,
    /// Free slots.
    pub limit: i64,
    /// Now.
    pub now: Timestamp,
    /// Until when the jobs are held without a heartbeat.
    pub lease_until: Timestamp,
    /// Kinds to be claimed; empty for all.
    pub kinds: Vec<String>,
    /// How far each lane is ahead of the least served one, in jobs; a lane that is missing is at 0.
    pub ahead: Vec<(String, i64)>,
    /// Which jobs.
    pub take: Take,
}

/// Healthy jobs run side by side, suspects alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Up to `limit` jobs that are not suspect.
    Healthy,
    /// The suspect that has been due longest, and nothing else. For a process that runs nothing.
    OneSuspect,
}

/// What a claim gave.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// The jobs; a suspect is the only one.
    pub jobs: Vec<ClaimedJob>,
    /// Whether a suspect is due (beside the claimed one).
    pub suspect_due: bool,
    /// When the next job that is not due yet becomes due.
    pub next_due: Option<Timestamp>,
}

/// Jobs and schedules. Cross-organisation.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Inserts jobs. The same function runs inside other units.
    async fn push_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Pushed>>;

    /// Claims due jobs: turns go to the lane that is least ahead, within a lane the smallest priority and the
    /// earliest `run_at` come first. A job whose key has a running job is left waiting.
    async fn claim_jobs(&self, claim: Claim) -> Result<Claimed>;

    /// Extends leases in one batch; answers the claims that are no longer held.
    async fn heartbeat_jobs(
        &self,
        worker: &str,
        held: &[Fence],
        lease_until: Timestamp,
    ) -> Result<Vec<Fence>>;

    /// Records finished runs in one batch, each only when its claim is still held; answers the claims that
    /// were lost. Writes the attempt history and moves finished jobs out of the hot table.
    async fn record_outcomes(&self, finished: Vec<Finished>) -> Result<Vec<Fence>>;

    /// Gives unfinished jobs back at a graceful stop: due at once, no attempt burned, no suspicion.
    async fn release_jobs(&self, worker: &str, held: &[Fence], at: Timestamp) -> Result<i64>;

    /// Frees jobs whose lease has ended (all leases, with `all`: the only process of an SQLite file does
    /// that at its start). They become suspects, which costs nothing. A suspect that is lost again ran alone:
    /// it is charged this loss and the first one, and buried with that reason when its attempts reach the
    /// cap. Answers (freed, buried).
    async fn release_orphans(&self, now: Timestamp, all: bool) -> Result<(i64, i64)>;

    /// Jobs in a state, newest first; `Dead` lists the dead letters.
    async fn list_jobs(
        &self,
        org: Option<&OrgId>,
        state: Option<JobState>,
        limit: i64,
    ) -> Result<Vec<JobSummary>>;

    /// Puts dead letters back: due now, attempts 0. `None` for all of them. Answers how many.
    async fn retry_dead_jobs(
        &self,
        org: Option<&OrgId>,
        ids: Option<&[JobId]>,
        now: Timestamp,
    ) -> Result<i64>;

    /// Ready and running jobs, dead letters, and the age of the oldest due job.
    async fn job_stats(&self, now: Timestamp) -> Result<JobStats>;

    /// Deletes history of jobs finished before `before`, dead letters excepted; at most `limit`.
    async fn prune_jobs(&self, before: Timestamp, limit: i64) -> Result<i64>;

    /// Schedules that are due.
    async fn list_due_schedules(&self, now: Timestamp) -> Result<Vec<Schedule>>;

    /// Claims one tick by compare-and-set on `next_run_at` and inserts its job in the same unit. False when
    /// another process was first.
    async fn claim_tick(
        &self,
        schedule: &ScheduleId,
        expected: Timestamp,
        next: Timestamp,
        job: NewJob,
    ) -> Result<bool>;

    /// Schedules of an organisation.
    async fn list_schedules(&self, org: Option<&OrgId>) -> Result<Vec<Schedule>>;

    /// Makes or replaces a schedule, by id.
    async fn put_schedule(&self, schedule: &Schedule) -> Result<()>;
}

/// The queue at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct JobStats {
    /// Waiting.
    pub ready: i64,
    /// Claimed.
    pub running: i64,
    /// Dead letters.
    pub dead: i64,
    /// How long the oldest due job has been due, microseconds.
    pub oldest_due_us: i64,
}

//! What runs a kind of job.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::domain::connections::Schedule;
use crate::domain::jobs::{ClaimedJob, Fence, JobOutcome};

/// Runs the jobs of one kind. A handler is idempotent: after a crash its job runs again.
#[async_trait]
pub trait JobHandler: Send + Sync + 'static {
    /// The stable name that is stored in the row (`sync.stream`).
    fn kind(&self) -> &'static str;

    /// How long a run may take. Then it is dropped where it awaits, and counted as failed.
    fn timeout(&self) -> Duration;

    /// The key of deduplication of a job that a schedule inserts: the same that other authors of this kind use
    /// for the same work, so that both do not run side by side. By default the schedule's own.
    fn schedule_key(&self, schedule: &Schedule) -> String {
        format!("schedule:{}", schedule.id)
    }

    /// One run. A panic counts as a failure. Its writes pass the fence (`JobContext::fence`), so that a run
    /// whose claim was lost commits nothing.
    async fn run(&self, cx: JobContext) -> JobOutcome;
}

/// What a run is given.
#[derive(Debug, Clone)]
pub struct JobContext {
    /// The job.
    pub job: ClaimedJob,
    /// Cancelled when the process stops gracefully or the claim is lost. A long run looks at it between pages,
    /// commits what it has, and answers `Snooze(0)`.
    pub stop: CancellationToken,
    /// When the run is dropped.
    pub deadline: tokio::time::Instant,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl JobContext {
    /// Proof of the claim, for the store's units.
    pub fn fence(&self) -> &Fence {
        &self.job.fence
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How much of the time budget is left.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(tokio::time::Instant::now())
    }
}

/// The handlers of a process, by kind.
#[derive(Clone, Default)]
pub(super) struct Registry(BTreeMap<&'static str, Arc<dyn JobHandler>>);

impl Registry {
    /// Adds a handler. A second one for a kind replaces the first.
    pub(super) fn add(&mut self, handler: Arc<dyn JobHandler>) {
        self.0.insert(handler.kind(), handler);
    }

    pub(super) fn find(&self, kind: &str) -> Option<&Arc<dyn JobHandler>> {
        self.0.get(kind)
    }

    pub(super) fn kinds(&self) -> Vec<String> {
        self.0.keys().map(|kind| (*kind).to_owned()).collect()
    }

    /// Keeps these kinds only.
    pub(super) fn retain(&mut self, kinds: &[String]) {
        self.0.retain(|kind, _| kinds.iter().any(|wanted| wanted == kind));
    }
}

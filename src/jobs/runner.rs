//! One run of one job: our own boundary for panics, time limits and lost claims.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use connector_sdk::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::held::{Held, Ticket};
use super::kind::{JobContext, JobHandler, Registry};
use super::ladder::{Jitter, Ladder};
use super::stats::Stats;
use super::telemetry;
use crate::domain::jobs::{ClaimedJob, Finished, JobOutcome};

/// How long a run whose claim was lost may go on to wind up.
const LOST_GRACE: Duration = Duration::from_secs(5);

/// The longest error text that is kept, in characters.
const ERROR_CHARS: usize = 2000;

/// Runs claimed jobs and hands their outcomes to the recorder.
pub(super) struct Runner {
    pub(super) registry: Registry,
    pub(super) held: Arc<Held>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) jitter: Arc<dyn Jitter>,
    pub(super) ladder: Ladder,
    pub(super) stats: Arc<Stats>,
    pub(super) records: mpsc::UnboundedSender<Finished>,
    /// Drops every run where it awaits: the deadline of a graceful stop, or a simulated crash.
    pub(super) abandon: CancellationToken,
}

impl Runner {
    /// Runs the job to its end. Nothing comes out of it: the outcome goes to the recorder.
    pub(super) async fn run(&self, job: ClaimedJob) {
        let Some(ticket) = self.held.begin(&job.fence) else { return };
        let started_at = self.clock.now();
        let wait = (started_at - job.run_at).to_std().unwrap_or_default();
        metrics::histogram!(telemetry::WAIT_SECONDS, "kind" => job.kind.clone()).record(wait);

        let outcome = match self.registry.find(&job.kind) {
            Some(handler) => self.attempt(handler, &job, &ticket).await,
            None => Some(JobOutcome::Retry {
                error: format!("this process has no handler for `{}`", job.kind),
                not_before: None,
            }),
        };
        let Some(outcome) = outcome.map(clean) else {
            if ticket.lost.is_cancelled() {
                self.held.forget([&job.fence]);
            }
            return;
        };
        let finished_at = self.clock.now();
        self.observe(&job, &outcome, (finished_at - started_at).to_std().unwrap_or_default());
        let next_run_at = self.ladder.next_run_at(&outcome, job.attempts, finished_at, self.jitter.as_ref());
        let fence = job.fence;
        self.held.end(&fence);
        // The recorder outlives every run; when it is gone the process is as good as dead, and the lease ends.
        let _ = self.records.send(Finished { fence, outcome, started_at, finished_at, next_run_at });
    }

    /// The outcome, or `None` when the run was cut off and nothing is to be recorded.
    async fn attempt(
        &self,
        handler: &Arc<dyn JobHandler>,
        job: &ClaimedJob,
        ticket: &Ticket,
    ) -> Option<JobOutcome> {
        let timeout = handler.timeout();
        let cx = JobContext {
            job: job.clone(),
            stop: ticket.stop.clone(),
            deadline: Instant::now() + timeout,
            clock: Arc::clone(&self.clock),
        };
        let span = tracing::info_span!(
            telemetry::RUN_SPAN,
            kind = %job.kind,
            job = %job.fence.job_id,
            claim = job.fence.claim,
            org = %job.org_id,
            connection = job.connection_id.as_ref().map(|id| id.as_str()),
        );
        let handler = Arc::clone(handler);
        let mut task = Task(tokio::spawn(async move { handler.run(cx).await }.instrument(span)));
        let lost = async {
            ticket.lost.cancelled().await;
            tokio::time::sleep(LOST_GRACE).await;
        };
        tokio::select! {
            biased;
            joined = &mut task.0 => match joined {
                Ok(_) if ticket.lost.is_cancelled() => None,
                Ok(outcome) => Some(outcome),
                Err(error) if error.is_panic() => {
                    self.stats.panicked();
                    Some(failed(format!("panicked: {}", panic_text(error.into_panic().as_ref()))))
                }
                // Only the end of the process cancels the task.
                Err(_) => None,
            },
            () = self.abandon.cancelled() => None,
            () = lost => None,
            () = tokio::time::sleep(timeout) => {
                self.stats.timed_out();
                Some(failed(format!("timed out after {timeout:?}")))
            }
        }
    }

    fn observe(&self, job: &ClaimedJob, outcome: &JobOutcome, took: Duration) {
        let word = match outcome {
            JobOutcome::Done => "done",
            JobOutcome::Snooze(_) => "snoozed",
            JobOutcome::Retry { .. } => "failed",
            JobOutcome::Discard(_) => "discarded",
        };
        self.stats.ended(outcome);
        metrics::counter!(telemetry::RUNS, "kind" => job.kind.clone(), "outcome" => word).increment(1);
        metrics::histogram!(telemetry::RUN_SECONDS, "kind" => job.kind.clone()).record(took);
        match outcome {
            JobOutcome::Retry { error, .. } => {
                let last = job.attempts + 1 >= job.max_attempts;
                tracing::warn!(
                    job = %job.fence.job_id, kind = %job.kind, org = %job.org_id, %error,
                    attempt = job.attempts + 1, of = job.max_attempts, dead = last, "job failed"
                );
            }
            JobOutcome::Discard(reason) => tracing::warn!(
                job = %job.fence.job_id, kind = %job.kind, org = %job.org_id, %reason, "job discarded"
            ),
            JobOutcome::Done | JobOutcome::Snooze(_) => {}
        }
    }
}

/// Aborts the task when it is dropped.
struct Task(JoinHandle<JobOutcome>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn failed(error: String) -> JobOutcome {
    JobOutcome::Retry { error, not_before: None }
}

/// Texts as both databases can hold them: without NUL, of bounded length.
fn clean(outcome: JobOutcome) -> JobOutcome {
    let text = |text: String| -> String { text.chars().filter(|c| *c != '\0').take(ERROR_CHARS).collect() };
    match outcome {
        JobOutcome::Retry { error, not_before } => JobOutcome::Retry { error: text(error), not_before },
        JobOutcome::Discard(reason) => JobOutcome::Discard(text(reason)),
        other => other,
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

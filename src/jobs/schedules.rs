//! Schedules tick: each due tick becomes one job, however many processes look.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::Timestamp;

use super::cron;
use super::kind::Registry;
use super::reconcile::Scan;
use crate::domain::connections::Schedule;
use crate::domain::jobs::NewJob;
use crate::store::{JobStore, Result};

/// Attempts of a scheduled job.
const MAX_ATTEMPTS: i32 = 5;
/// Priority of a scheduled job within its lane.
const PRIORITY: i16 = 100;

/// Turns due ticks into jobs.
///
/// The tick is claimed by compare-and-set on `next_run_at`, in the unit that inserts the job. Ticks that were
/// missed while no process ran fire once, together; then comes the next one in the future. The job carries the
/// schedule's key, so that a tick which finds the previous one still waiting adds nothing, and one that finds it
/// running waits behind it.
pub(super) struct DueSchedules {
    store: Arc<dyn JobStore>,
    registry: Registry,
}

impl DueSchedules {
    /// Ticks of kinds that the registry does not know are left to processes that do.
    pub(super) fn new(store: Arc<dyn JobStore>, registry: Registry) -> Self {
        Self { store, registry }
    }

    async fn tick(&self, schedule: &Schedule, now: Timestamp) -> Result<bool> {
        let Some(handler) = self.registry.find(&schedule.job_kind) else {
            tracing::debug!(schedule = %schedule.id, kind = %schedule.job_kind, "no handler for this schedule here");
            return Ok(false);
        };
        let next = match cron::next_after(&schedule.expression, &schedule.time_zone, now) {
            Ok(next) => next,
            Err(error) => {
                // Schedules are checked before they are stored; this one came another way. It is switched off,
                // visibly, rather than met again every second.
                tracing::error!(schedule = %schedule.id, %error, "a stored schedule cannot be read and is switched off");
                self.store.put_schedule(&Schedule { enabled: false, ..schedule.clone() }).await?;
                return Ok(false);
            }
        };
        let job = NewJob {
            kind: handler.kind(),
            org_id: schedule.org_id.clone(),
            connection_id: schedule.connection_id.clone(),
            dedupe_key: Some(handler.schedule_key(schedule)),
            args: schedule.args.clone(),
            run_at: schedule.next_run_at.min(now),
            priority: PRIORITY,
            max_attempts: MAX_ATTEMPTS,
        };
        self.store.claim_tick(&schedule.id, schedule.next_run_at, next, job).await
    }
}

#[async_trait]
impl Scan for DueSchedules {
    fn name(&self) -> &'static str {
        "schedules.due"
    }

    fn every(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn run(&self, now: Timestamp) -> Result<u64> {
        let mut fired = 0;
        for schedule in self.store.list_due_schedules(now).await? {
            fired += u64::from(self.tick(&schedule, now).await?);
        }
        Ok(fired)
    }
}

/// A schedule that is ready to be stored: checked, with its first tick.
///
/// # Errors
/// The expression or the time zone cannot be read, or it never fires; the text names the field.
pub fn checked(mut schedule: Schedule, now: Timestamp) -> std::result::Result<Schedule, cron::CronError> {
    schedule.next_run_at = cron::next_after(&schedule.expression, &schedule.time_zone, now)?;
    Ok(schedule)
}

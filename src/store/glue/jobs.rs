//! [`JobStore`].

use async_trait::async_trait;
use connector_sdk::Timestamp;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::connections::Schedule;
use crate::domain::jobs::{Fence, Finished, JobState, JobSummary, NewJob, Pushed};
use crate::domain::{JobId, OrgId, ScheduleId};
use crate::store::JobStore;
use crate::store::jobs::{Claim, Claimed, JobStats};

#[async_trait]
impl JobStore for Engine {
    async fn push_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Pushed>> {
        let now = self.clock().now();
        unit!(self.write(Lane::Ack, Scope::System), [jobs = jobs, now = now], |c| {
            units::jobs::push_in(c, jobs, *now)
        })
    }

    async fn claim_jobs(&self, claim: Claim) -> Result<Claimed> {
        unit!(self.write(Lane::Ack, Scope::System), [claim = claim], |c| units::jobs::claim_jobs(c, claim))
    }

    async fn heartbeat_jobs(
        &self,
        _worker: &str,
        held: &[Fence],
        lease_until: Timestamp,
    ) -> Result<Vec<Fence>> {
        unit!(self.write(Lane::Ack, Scope::System), [held = held.to_vec(), until = lease_until], |c| {
            units::jobs::heartbeat_jobs(c, held, *until)
        })
    }

    async fn record_outcomes(&self, finished: Vec<Finished>) -> Result<Vec<Fence>> {
        let now = self.clock().now();
        unit!(self.write(Lane::Ack, Scope::System), [finished = finished, now = now], |c| {
            units::job_outcomes::record_outcomes(c, finished, *now)
        })
    }

    async fn release_jobs(&self, _worker: &str, held: &[Fence], at: Timestamp) -> Result<i64> {
        unit!(self.write(Lane::Ack, Scope::System), [held = held.to_vec(), at = at], |c| {
            units::job_outcomes::release_jobs(c, held, *at)
        })
    }

    async fn release_orphans(&self, now: Timestamp, all: bool) -> Result<(i64, i64)> {
        unit!(self.write(Lane::Bulk, Scope::System), [now = now, all = all], |c| {
            units::job_outcomes::release_orphans(c, *now, *all)
        })
    }

    async fn list_jobs(
        &self,
        org: Option<&OrgId>,
        state: Option<JobState>,
        limit: i64,
    ) -> Result<Vec<JobSummary>> {
        unit!(self.snapshot(Scope::System), [org = org.cloned(), state = state, limit = limit], |c| {
            units::job_lists::list_jobs(c, org.as_ref(), *state, *limit)
        })
    }

    async fn retry_dead_jobs(
        &self,
        org: Option<&OrgId>,
        ids: Option<&[JobId]>,
        now: Timestamp,
    ) -> Result<i64> {
        unit!(
            self.write(Lane::Bulk, Scope::System),
            [org = org.cloned(), ids = ids.map(<[JobId]>::to_vec), now = now],
            |c| units::job_lists::retry_dead_jobs(c, org.as_ref(), ids.as_deref(), *now)
        )
    }

    async fn job_stats(&self, now: Timestamp) -> Result<JobStats> {
        unit!(self.read(Scope::System), [now = now], |c| units::job_lists::job_stats(c, *now))
    }

    async fn prune_jobs(&self, before: Timestamp, limit: i64) -> Result<i64> {
        unit!(self.write(Lane::Bulk, Scope::System), [before = before, limit = limit], |c| {
            units::job_lists::prune_jobs(c, *before, *limit)
        })
    }

    async fn list_due_schedules(&self, now: Timestamp) -> Result<Vec<Schedule>> {
        unit!(self.read(Scope::System), [now = now], |c| units::schedules::list_due_schedules(c, *now))
    }

    async fn claim_tick(
        &self,
        schedule: &ScheduleId,
        expected: Timestamp,
        next: Timestamp,
        job: NewJob,
    ) -> Result<bool> {
        let now = self.clock().now();
        unit!(
            self.write(Lane::Ack, Scope::System),
            [schedule = schedule.clone(), expected = expected, next = next, job = job, now = now],
            |c| units::schedules::claim_tick(c, schedule, *expected, *next, job, *now)
        )
    }

    async fn list_schedules(&self, org: Option<&OrgId>) -> Result<Vec<Schedule>> {
        unit!(self.read(Scope::System), [org = org.cloned()], |c| {
            units::schedules::list_schedules(c, org.as_ref())
        })
    }

    async fn put_schedule(&self, schedule: &Schedule) -> Result<()> {
        unit!(self.write(Lane::Bulk, Scope::System), [schedule = schedule.clone()], |c| {
            units::schedules::put_schedule(c, schedule)
        })
    }
}

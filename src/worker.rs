//! The worker put together: which handlers a process runs, and which scans find what events missed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use connector_sdk::Timestamp;

use crate::derive;
use crate::domain::OrgId;
use crate::domain::jobs::{JobState, JobSummary};
use crate::domain::runs::{RunStatus, SyncRun};
use crate::jobs::{Runtime, RuntimeBuilder, Scan};
use crate::recompute::Recompute;
use crate::service::Services;
use crate::store::{JobStore, JobsSignal, Result, Store};
use crate::sync::audit::AuditHandler;
use crate::sync::reread::RereadHandler;
use crate::sync::run::{RunHandler, RunLimits};
use crate::sync::scheduled::ScheduledHandler;
use crate::sync::start::{RUN_JOB, run_job};
use crate::webhooks::endpoint::{CheckHandler, Endpoints, UnseenEndpoints};
use crate::webhooks::process::{ProcessHandler, process_job};

/// How long finished deliveries are kept: longer than any provider retries, so that a late duplicate is
/// still known.
const KEEP_DELIVERIES: TimeDelta = TimeDelta::days(35);
/// Events hasten what is younger; a scan takes up what is older.
const MISSED: TimeDelta = TimeDelta::seconds(30);
/// Rows that one scan touches in a unit.
const SCAN_ROWS: i64 = 1_000;

/// A runtime with every handler and scan of the program, ready to be started.
pub fn builder(
    services: &Services,
    settings: &Arc<derive::Settings>,
    signal: &JobsSignal,
    limits: RunLimits,
) -> RuntimeBuilder {
    let Services { store, providers, clock, public_url, .. } = services;
    let endpoints = Endpoints::new(store.clone(), providers.clone(), clock.clone(), public_url.clone());
    let jobs: Arc<dyn JobStore> = store.clone();
    Runtime::builder(jobs, clock.clone())
        .signal(signal.clone())
        .register(Arc::new(RunHandler::new(store.clone(), providers.clone(), clock.clone(), limits)))
        .register(Arc::new(ScheduledHandler::new(store.clone(), providers.clone(), clock.clone())))
        .register(Arc::new(ProcessHandler::new(
            store.clone(),
            providers.clone(),
            clock.clone(),
            settings.include_test_clocks,
        )))
        .register(Arc::new(RereadHandler::new(store.clone(), providers.clone(), clock.clone())))
        .register(Arc::new(Recompute::new(store.clone(), providers.clone(), settings.clone())))
        .register(Arc::new(CheckHandler(endpoints)))
        .register(Arc::new(AuditHandler::new(store.clone(), providers.clone(), clock.clone())))
        .scan(Arc::new(StalledInboxes { store: store.clone() }))
        .scan(Arc::new(UnseenEndpoints { store: store.clone(), by_url: public_url.is_some() }))
        .scan(Arc::new(DirtyOrgs { store: store.clone() }))
        .scan(Arc::new(Turned { store: store.clone() }))
        .scan(Arc::new(StaleRuns { store: store.clone() }))
        .scan(Arc::new(OldDeliveries { store: store.clone() }))
}

/// Deliveries that no job looks at.
struct StalledInboxes {
    store: Arc<dyn Store>,
}

#[async_trait]
impl Scan for StalledInboxes {
    fn name(&self) -> &'static str {
        "inbox.stalled"
    }

    fn every(&self) -> Duration {
        Duration::from_secs(15)
    }

    async fn run(&self, now: Timestamp) -> Result<u64> {
        let stalled = self.store.list_stalled_inboxes(now - MISSED).await?;
        let jobs: Vec<_> =
            stalled.iter().map(|(org, connection)| process_job(org, connection, now)).collect();
        let found = jobs.len() as u64;
        if found > 0 {
            self.store.push_jobs(jobs).await?;
        }
        Ok(found)
    }
}

/// Dirty companies that no job looks at.
struct DirtyOrgs {
    store: Arc<dyn Store>,
}

#[async_trait]
impl Scan for DirtyOrgs {
    fn name(&self) -> &'static str {
        "companies.dirty"
    }

    fn every(&self) -> Duration {
        Duration::from_secs(15)
    }

    async fn run(&self, now: Timestamp) -> Result<u64> {
        let orgs = self.store.list_orgs_with_dirty(now - MISSED).await?;
        for org in &orgs {
            // An empty list of companies adds no mark, only the job.
            self.store.mark_dirty(org, &[], "reconcile", now).await?;
        }
        Ok(orgs.len() as u64)
    }
}

/// Companies whose fields change today without any event.
struct Turned {
    store: Arc<dyn Store>,
}

#[async_trait]
impl Scan for Turned {
    fn name(&self) -> &'static str {
        "companies.turned"
    }

    fn every(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn run(&self, now: Timestamp) -> Result<u64> {
        let mut all = 0;
        loop {
            let turned = self.store.mark_turned(now, SCAN_ROWS).await?;
            all += turned.unsigned_abs();
            if turned < SCAN_ROWS {
                return Ok(all);
            }
        }
    }
}

/// Runs that say that they are at work and have no job: the process died between the two rows, or the job
/// gave up in a way that it could not record (it panicked each time).
struct StaleRuns {
    store: Arc<dyn Store>,
}

impl StaleRuns {
    async fn of_org(&self, org: &OrgId, now: Timestamp) -> Result<u64> {
        let running = self.store.list_runs(org, None, Some(RunStatus::Running), SCAN_ROWS).await?;
        let mut found = 0;
        for mut run in running.into_iter().filter(|run| run.started_at < now - MISSED) {
            if self.has_job(org, &run, &[JobState::Ready, JobState::Running]).await? {
                continue;
            }
            found += 1;
            if self.has_job(org, &run, &[JobState::Dead]).await? {
                run.status = RunStatus::Failed;
                run.error = Some("its job gave up: halo-sync jobs list --state dead".to_owned());
                run.finished_at = Some(now);
                self.store.put_run(org, &run).await?;
            } else {
                self.store.push_jobs(vec![run_job(org, &run.connection_id, &run.id, now)]).await?;
            }
        }
        Ok(found)
    }

    async fn has_job(&self, org: &OrgId, run: &SyncRun, states: &[JobState]) -> Result<bool> {
        for state in states {
            let jobs = self.store.list_jobs(Some(org), Some(*state), SCAN_ROWS).await?;
            let of_run = |job: &JobSummary| job.kind == RUN_JOB && job.args["run"] == run.id.as_str();
            if jobs.iter().any(of_run) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Scan for StaleRuns {
    fn name(&self) -> &'static str {
        "runs.stale"
    }

    fn every(&self) -> Duration {
        Duration::from_secs(300)
    }

    async fn run(&self, now: Timestamp) -> Result<u64> {
        let mut found = 0;
        for org in self.store.list_orgs().await? {
            found += self.of_org(&org, now).await?;
        }
        Ok(found)
    }
}

/// Events and days of activity that are older than they are kept, and OAuth flows that are over.
pub struct OldActivity {
    /// The store.
    pub store: Arc<dyn Store>,
    /// How long events are kept.
    pub events: TimeDelta,
    /// How long the counts by day are kept.
    pub days: TimeDelta,
}

impl OldActivity {
    async fn of_org(&self, org: &OrgId, now: Timestamp) -> Result<u64> {
        let mut all = self.store.prune_flows(org, now).await?.unsigned_abs();
        loop {
            let pruned = self.store.prune_events(org, now - self.events, SCAN_ROWS).await?;
            all += pruned.unsigned_abs();
            if pruned < SCAN_ROWS {
                break;
            }
        }
        let before_day = (now - self.days).timestamp().div_euclid(86_400);
        loop {
            let pruned = self.store.prune_activity(org, before_day, SCAN_ROWS).await?;
            all += pruned.unsigned_abs();
            if pruned < SCAN_ROWS {
                return Ok(all);
            }
        }
    }
}

#[async_trait]
impl Scan for OldActivity {
    fn name(&self) -> &'static str {
        "activity.prune"
    }

    fn every(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn run(&self, now: Timestamp) -> Result<u64> {
        let mut all = 0;
        for org in self.store.list_orgs().await? {
            all += self.of_org(&org, now).await?;
        }
        Ok(all)
    }
}

/// Deliveries that nobody will ask for again.
struct OldDeliveries {
    store: Arc<dyn Store>,
}

#[async_trait]
impl Scan for OldDeliveries {
    fn name(&self) -> &'static str {
        "inbox.prune"
    }

    fn every(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn run(&self, now: Timestamp) -> Result<u64> {
        let before = now - KEEP_DELIVERIES;
        let mut all = 0;
        loop {
            let pruned = self.store.prune_deliveries(before, SCAN_ROWS).await?;
            all += pruned.unsigned_abs();
            if pruned < SCAN_ROWS {
                return Ok(all);
            }
        }
    }
}

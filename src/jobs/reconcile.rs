//! Recovery is a scan, not luck.
//!
//! Events only hasten what these scans would find by themselves: due schedules, jobs of dead processes, and whatever
//! other modules register (undelivered inbox rows, dirty companies, stale runs). A scan has no input: it
//! looks at what is stored and does what is left to do. Running it twice, or in two processes at once, does no harm.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use connector_sdk::{Clock, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::leases::HEARTBEAT;
use crate::store::{JobStore, Result};

/// A scan that takes longer is cut off; the next one goes on.
const LONGEST_SCAN: Duration = Duration::from_secs(60);

/// One kind of leftover work that is looked for regularly.
#[async_trait]
pub trait Scan: Send + Sync + 'static {
    /// For logs (`schedules.due`).
    fn name(&self) -> &'static str;

    /// How often.
    fn every(&self) -> Duration;

    /// Looks once. Answers how many things it set going.
    async fn run(&self, now: Timestamp) -> Result<u64>;
}

/// Runs the registered scans, each at its interval.
pub(super) struct Reconciler {
    clock: Arc<dyn Clock>,
    scans: Vec<Entry>,
    /// Told when a scan found something: there may be jobs to claim.
    wake: Arc<Notify>,
}

struct Entry {
    scan: Arc<dyn Scan>,
    next: Instant,
    failing: bool,
}

impl Reconciler {
    pub(super) fn new(clock: Arc<dyn Clock>, scans: &[Arc<dyn Scan>], wake: Arc<Notify>) -> Self {
        let next = Instant::now();
        let scans = scans.iter().map(|scan| Entry { scan: Arc::clone(scan), next, failing: false }).collect();
        Self { clock, scans, wake }
    }

    /// Scans for ever: all of them at once at the start, then each at its interval.
    pub(super) async fn run(mut self) {
        loop {
            let Some(entry) = self.scans.iter_mut().min_by_key(|entry| entry.next) else { return };
            tokio::time::sleep_until(entry.next).await;
            let outcome = look(entry.scan.as_ref(), self.clock.as_ref()).await;
            entry.next = Instant::now() + entry.scan.every();
            if let Err(error) = &outcome
                && !entry.failing
            {
                tracing::warn!(scan = entry.scan.name(), %error, "a scan failed, it will be tried again");
            }
            entry.failing = outcome.is_err();
            if outcome.is_ok_and(|found| found > 0) {
                self.wake.notify_one();
            }
        }
    }
}

/// Runs one scan within its time.
async fn look(scan: &dyn Scan, clock: &dyn Clock) -> std::result::Result<u64, String> {
    match tokio::time::timeout(LONGEST_SCAN, scan.run(clock.now())).await {
        Ok(Ok(found)) => {
            if found > 0 {
                tracing::debug!(scan = scan.name(), found, "a scan found work");
            }
            Ok(found)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("took longer than {LONGEST_SCAN:?}")),
    }
}

/// Runs every scan once, in order; answers what each found. The first error ends it.
///
/// # Errors
/// The scan's.
pub(super) async fn run_all(scans: &[Arc<dyn Scan>], clock: &dyn Clock) -> Result<Vec<(&'static str, u64)>> {
    let mut found = Vec::with_capacity(scans.len());
    for scan in scans {
        found.push((scan.name(), scan.run(clock.now()).await?));
    }
    Ok(found)
}

/// Frees the jobs of processes that died: their leases ended.
pub(super) struct ExpiredLeases {
    store: Arc<dyn JobStore>,
    sight: Mutex<Sight>,
}

/// After an outage of the store all leases look expired, those of living processes too: these get time for a
/// heartbeat first.
#[derive(Debug, Clone, Copy)]
enum Sight {
    Clear,
    Failed,
    ClearFrom(Instant),
}

impl ExpiredLeases {
    pub(super) fn new(store: Arc<dyn JobStore>) -> Self {
        Self { store, sight: Mutex::new(Sight::Failed) }
    }

    fn see(&self, sight: Sight) {
        *self.sight.lock().unwrap_or_else(PoisonError::into_inner) = sight;
    }
}

#[async_trait]
impl Scan for ExpiredLeases {
    fn name(&self) -> &'static str {
        "jobs.expired_leases"
    }

    fn every(&self) -> Duration {
        Duration::from_millis(500)
    }

    async fn run(&self, now: Timestamp) -> Result<u64> {
        let sight = *self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        match sight {
            Sight::Failed => {
                self.store.list_due_schedules(now).await?;
                self.see(Sight::ClearFrom(Instant::now() + 2 * HEARTBEAT));
                return Ok(0);
            }
            Sight::ClearFrom(instant) if Instant::now() < instant => return Ok(0),
            Sight::ClearFrom(_) | Sight::Clear => {}
        }
        match self.store.release_orphans(now, false).await {
            Ok((freed, buried)) => {
                self.see(Sight::Clear);
                if freed + buried > 0 {
                    tracing::warn!(freed, buried, "jobs of a dead process were freed");
                }
                Ok(u64::try_from(freed + buried).unwrap_or(0))
            }
            Err(error) => {
                self.see(Sight::Failed);
                Err(error)
            }
        }
    }
}

/// Deletes the history of jobs that finished long ago. Dead letters stay.
pub(super) struct Prune {
    pub(super) store: Arc<dyn JobStore>,
    /// How long finished jobs are kept.
    pub(super) keep: TimeDelta,
}

#[async_trait]
impl Scan for Prune {
    fn name(&self) -> &'static str {
        "jobs.prune"
    }

    fn every(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self, now: Timestamp) -> Result<u64> {
        /// Rows in one commit, so that other writers get their turn in between.
        const CHUNK: i64 = 1000;
        /// Chunks in one scan: more than the busiest minute finishes.
        const CHUNKS: u64 = 1000;
        let mut deleted = 0;
        for _ in 0..CHUNKS {
            let chunk = self.store.prune_jobs(now - self.keep, CHUNK).await?;
            deleted += u64::try_from(chunk).unwrap_or(0);
            if chunk < CHUNK {
                break;
            }
        }
        Ok(deleted)
    }
}

//! Starts and stops a process's share of the job engine.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use connector_sdk::Clock;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backend;
use super::claimer::Claimer;
use super::held::Held;
use super::kind::{JobHandler, Registry};
use super::ladder::{Jitter, Ladder, SystemJitter};
use super::leases;
use super::reconcile::{self, ExpiredLeases, Prune, Reconciler, Scan};
use super::recorder::Recorder;
use super::runner::Runner;
use super::schedules::DueSchedules;
use super::stats::{RuntimeStats, Stats};
use crate::domain::ids::new_id;
use crate::store::{JobStore, JobsSignal, Result};

/// How long the last records and the hand-back may take after the deadline of a graceful stop.
const WIND_UP: Duration = Duration::from_secs(5);

/// What a process runs of the job engine. [`Runtime::builder`] starts here.
#[derive(Debug)]
pub struct Runtime;

impl Runtime {
    /// A builder with default settings: 16 slots, the default ladder, 14 days of history, every registered kind.
    pub fn builder(store: Arc<dyn JobStore>, clock: Arc<dyn Clock>) -> RuntimeBuilder {
        RuntimeBuilder {
            store,
            clock,
            jitter: Arc::new(SystemJitter),
            signal: JobsSignal::default(),
            ladder: Ladder::default(),
            registry: Registry::default(),
            scans: Vec::new(),
            concurrency: 16,
            kinds: None,
            keep_history: TimeDelta::days(14),
            sole_process: false,
            housekeeping: true,
        }
    }
}

/// Settings of a runtime.
pub struct RuntimeBuilder {
    store: Arc<dyn JobStore>,
    clock: Arc<dyn Clock>,
    jitter: Arc<dyn Jitter>,
    signal: JobsSignal,
    ladder: Ladder,
    registry: Registry,
    scans: Vec<Arc<dyn Scan>>,
    concurrency: usize,
    kinds: Option<Vec<String>>,
    keep_history: TimeDelta,
    sole_process: bool,
    housekeeping: bool,
}

impl RuntimeBuilder {
    /// Adds the handler of a kind.
    #[must_use]
    pub fn register(mut self, handler: Arc<dyn JobHandler>) -> Self {
        self.registry.add(handler);
        self
    }

    /// Adds a scan to the housekeeping.
    #[must_use]
    pub fn scan(mut self, scan: Arc<dyn Scan>) -> Self {
        self.scans.push(scan);
        self
    }

    /// The signal that the store gives after commits that inserted jobs.
    #[must_use]
    pub fn signal(mut self, signal: JobsSignal) -> Self {
        self.signal = signal;
        self
    }

    /// Where jitter comes from.
    #[must_use]
    pub fn jitter(mut self, jitter: Arc<dyn Jitter>) -> Self {
        self.jitter = jitter;
        self
    }

    /// The retry ladder.
    #[must_use]
    pub fn ladder(mut self, ladder: Ladder) -> Self {
        self.ladder = ladder;
        self
    }

    /// How many jobs run at once; at least 1.
    #[must_use]
    pub fn concurrency(mut self, slots: usize) -> Self {
        self.concurrency = slots.max(1);
        self
    }

    /// Runs these kinds only. Jobs of other kinds wait for another process.
    #[must_use]
    pub fn kinds(mut self, kinds: Vec<String>) -> Self {
        self.kinds = Some(kinds);
        self
    }

    /// How long finished jobs are kept. Dead letters are kept until they are retried.
    #[must_use]
    pub fn keep_history(mut self, keep: TimeDelta) -> Self {
        self.keep_history = keep;
        self
    }

    /// Says that no other process runs jobs of this database (whoever holds the lock of an SQLite file knows
    /// that): all leases are old ones and are released at the start, and none is ever taken for expired.
    #[must_use]
    pub fn sole_process(mut self, sole: bool) -> Self {
        self.sole_process = sole;
        self
    }

    /// Whether scans run by themselves; without, they run when [`RuntimeHandle::reconcile`] is called.
    #[must_use]
    pub fn housekeeping(mut self, by_itself: bool) -> Self {
        self.housekeeping = by_itself;
        self
    }

    /// Starts the workers. The runtime must be in a tokio runtime.
    ///
    /// # Errors
    /// The store's, when old leases cannot be released at the start of the sole process.
    pub async fn start(mut self) -> Result<RuntimeHandle> {
        if self.sole_process {
            let (freed, buried) = self.store.release_orphans(self.clock.now(), true).await?;
            if freed + buried > 0 {
                tracing::warn!(freed, buried, "jobs that the last process left behind were freed");
            }
        }
        if let Some(kinds) = &self.kinds {
            self.registry.retain(kinds);
        }
        let mut scans: Vec<Arc<dyn Scan>> = Vec::new();
        if !self.sole_process {
            scans.push(Arc::new(ExpiredLeases::new(Arc::clone(&self.store))));
        }
        scans.push(Arc::new(DueSchedules::new(Arc::clone(&self.store), self.registry.clone())));
        scans.append(&mut self.scans);
        scans.push(Arc::new(Prune { store: Arc::clone(&self.store), keep: self.keep_history }));
        Ok(self.spawn(scans))
    }

    fn spawn(self, scans: Vec<Arc<dyn Scan>>) -> RuntimeHandle {
        let worker = new_id("wrk", self.clock.as_ref());
        let held = Arc::new(Held::default());
        let stats = Arc::new(Stats::default());
        let wake = Arc::new(Notify::new());
        let abandon = CancellationToken::new();
        let (records, recorded) = mpsc::unbounded_channel();
        let (jobs, claimed) = mpsc::channel(self.concurrency);
        let (drain, drains) = mpsc::unbounded_channel();

        let runner = Arc::new(Runner {
            registry: self.registry.clone(),
            held: Arc::clone(&held),
            clock: Arc::clone(&self.clock),
            jitter: self.jitter,
            ladder: self.ladder,
            stats: Arc::clone(&stats),
            records,
            abandon: abandon.clone(),
        });
        let claimer = Claimer {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            held: Arc::clone(&held),
            stats: Arc::clone(&stats),
            signal: self.signal.listen(),
            wake: Arc::clone(&wake),
            jobs,
            drains,
            worker: worker.clone(),
            slots: self.concurrency,
            kinds: self.registry.kinds(),
        };
        let recorder = Recorder {
            store: Arc::clone(&self.store),
            held: Arc::clone(&held),
            stats: Arc::clone(&stats),
            wake: Arc::clone(&wake),
        };
        let monitor = backend::spawn(worker.clone(), self.concurrency, claimed, runner, held.stop.clone());
        let housekeeping = self
            .housekeeping
            .then(|| tokio::spawn(Reconciler::new(Arc::clone(&self.clock), &scans, Arc::clone(&wake)).run()));
        let leases = tokio::spawn(leases::keep(
            Arc::clone(&self.store),
            Arc::clone(&self.clock),
            Arc::clone(&held),
            Arc::clone(&stats),
            worker.clone(),
        ));
        RuntimeHandle {
            tasks: Tasks {
                claimer: tokio::spawn(claimer.run()),
                recorder: tokio::spawn(recorder.run(recorded)),
                leases,
                monitor,
                housekeeping,
                abandon,
                stop: held.stop.clone(),
            },
            store: self.store,
            clock: self.clock,
            held,
            stats,
            wake,
            drain,
            scans,
            worker,
        }
    }
}

/// The tasks of a runtime. Dropping them is what a crash is to the jobs: nothing more is recorded or given back.
struct Tasks {
    claimer: JoinHandle<()>,
    recorder: JoinHandle<()>,
    leases: JoinHandle<()>,
    monitor: JoinHandle<()>,
    housekeeping: Option<JoinHandle<()>>,
    abandon: CancellationToken,
    stop: CancellationToken,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.recorder.abort();
        self.claimer.abort();
        self.leases.abort();
        self.monitor.abort();
        if let Some(housekeeping) = &self.housekeeping {
            housekeeping.abort();
        }
        self.abandon.cancel();
        self.stop.cancel();
    }
}

/// A running runtime. Dropping it stops everything at once, as a crash would; [`RuntimeHandle::stop`] is the
/// graceful way.
pub struct RuntimeHandle {
    tasks: Tasks,
    store: Arc<dyn JobStore>,
    clock: Arc<dyn Clock>,
    held: Arc<Held>,
    stats: Arc<Stats>,
    wake: Arc<Notify>,
    drain: mpsc::UnboundedSender<oneshot::Sender<()>>,
    scans: Vec<Arc<dyn Scan>>,
    worker: String,
}

/// How a graceful stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct StopReport {
    /// Jobs that ran when the stop began and ended by themselves.
    pub finished: usize,
    /// Jobs that were given back unfinished; no attempt was spent.
    pub released: usize,
}

impl RuntimeHandle {
    /// The name under which this process claims.
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// Looks for work now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// What was done since the start.
    pub fn stats(&self) -> RuntimeStats {
        self.stats.snapshot()
    }

    /// How many jobs run at this moment.
    pub fn running(&self) -> usize {
        self.held.running()
    }

    /// Runs every scan once, in order; answers what each found.
    ///
    /// # Errors
    /// The first scan's that failed.
    pub async fn reconcile(&self) -> Result<Vec<(&'static str, u64)>> {
        let found = reconcile::run_all(&self.scans, self.clock.as_ref()).await?;
        self.wake();
        Ok(found)
    }

    /// Returns when no job is due, none runs and every outcome is recorded. For tests and one-shot commands.
    pub async fn drain(&self) {
        let (done, drained) = oneshot::channel();
        if self.drain.send(done).is_ok() {
            // An error means that the claimer has ended: there is nothing to wait for.
            let _ = drained.await;
        }
    }

    /// Stops gracefully: nothing new is claimed, running jobs are told (`JobContext::stop`) and may end until the
    /// deadline, outcomes are recorded, and what is left is given back at no cost.
    pub async fn stop(mut self, deadline: Duration) -> StopReport {
        let until = Instant::now() + deadline;
        let running = self.held.close();
        self.held.stop.cancel();
        // The claim that is on its way is finished, so that what it claimed can be given back.
        let _ = tokio::time::timeout(WIND_UP, &mut self.tasks.claimer).await;
        while self.held.running() > 0 {
            if tokio::time::timeout_at(until, self.held.freed.notified()).await.is_err() {
                break;
            }
        }
        let left = self.held.running();
        self.tasks.abandon.cancel();
        // With the last run the last sender of outcomes goes, and the recorder ends when all are written.
        let wind_up = Instant::now() + WIND_UP;
        let _ = tokio::time::timeout_at(wind_up, &mut self.tasks.monitor).await;
        let _ = tokio::time::timeout_at(wind_up, &mut self.tasks.recorder).await;
        self.tasks.leases.abort();
        let released = self.give_back(wind_up).await;
        StopReport { finished: running.saturating_sub(left), released }
    }

    /// Gives back everything that is still held.
    async fn give_back(&self, until: Instant) -> usize {
        let fences = self.held.fences();
        if fences.is_empty() {
            return 0;
        }
        loop {
            match self.store.release_jobs(&self.worker, &fences, self.clock.now()).await {
                Ok(released) => return usize::try_from(released).unwrap_or(0),
                Err(error) => {
                    // Without the hand-back the leases end, and the jobs come back as suspects.
                    tracing::warn!(%error, jobs = fences.len(), "jobs cannot be given back");
                    if Instant::now() >= until {
                        return 0;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

//! Claims jobs for free slots and hands them to the worker.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use connector_sdk::{Clock, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::held::Held;
use super::lanes::Lanes;
use super::stats::Stats;
use crate::domain::jobs::ClaimedJob;
use crate::store::jobs::{Claim, Claimed, Take};
use crate::store::{JobStore, JobsListener};

/// How long a claim lasts without a heartbeat.
pub(super) const LEASE: TimeDelta = TimeDelta::seconds(8);
/// How often the store is asked when nothing announces work.
const POLL: Duration = Duration::from_secs(1);
/// How long healthy jobs, and suspects, have the process to themselves while the others wait.
const TURN: Duration = Duration::from_secs(10);
/// Under load, a claim waits so long for half of the slots to be free: few large claims cost less than many
/// small ones.
const GATHER: Duration = Duration::from_millis(5);
/// Waits between tries while the store does not answer; the last one repeats.
const PAUSES_MS: [u64; 4] = [100, 300, 1000, 2000];

/// Whose turn it is in this process: healthy jobs run side by side, suspects alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    take: Take,
    since: Instant,
}

impl Turn {
    fn of(take: Take) -> Self {
        Self { take, since: Instant::now() }
    }

    fn is_over(self) -> bool {
        self.since.elapsed() >= TURN
    }
}

/// The claimer task.
pub(super) struct Claimer {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) held: Arc<Held>,
    pub(super) stats: Arc<Stats>,
    pub(super) signal: JobsListener,
    /// Told by the recorder, by `wake()` and by whoever else knows that something may be claimable.
    pub(super) wake: Arc<Notify>,
    pub(super) jobs: mpsc::Sender<ClaimedJob>,
    pub(super) drains: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    pub(super) worker: String,
    pub(super) slots: usize,
    pub(super) kinds: Vec<String>,
}

impl Claimer {
    /// Claims until the process stops. A claim that was asked for is waited for: what it gave must be known,
    /// to be given back.
    pub(super) async fn run(mut self) {
        let stop = self.held.stop.clone();
        let mut lanes = Lanes::default();
        // Suspects first: a process that comes back after a crash clears up before it goes on.
        let mut turn = Turn::of(Take::OneSuspect);
        let mut failures = 0;
        let mut last_claim = Instant::now();
        let mut handed_over = last_claim;
        let mut drains: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            let limit = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                limit = self.wait_for_room(turn, handed_over) => limit,
            };
            while let Ok(drain) = self.drains.try_recv() {
                drains.push(drain);
            }
            // What was announced so far is what this claim looks for.
            self.signal.catch_up();
            last_claim = Instant::now();
            // A run that ends while the claim is on its way may leave a job due that the claim did not see.
            let was_idle = self.is_idle();
            let answer = self.claim(turn.take, limit, &lanes).await;
            let Claimed { jobs, suspect_due, next_due } = match answer {
                Ok(claimed) => {
                    if failures > 0 {
                        tracing::info!(failures, "the job store answers again");
                        failures = 0;
                    }
                    claimed
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(%error, "jobs cannot be claimed, trying again");
                    }
                    failures += 1;
                    let pause = PAUSES_MS[usize::min(failures, PAUSES_MS.len()) - 1];
                    let _ = tokio::time::timeout(Duration::from_millis(pause), stop.cancelled()).await;
                    continue;
                }
            };
            let count = jobs.len();
            let full = count == limit;
            self.stats.claimed(count);
            if turn.take == Take::Healthy {
                lanes.charge(&jobs, full);
            }
            self.hand_over(jobs).await;
            handed_over = Instant::now();

            turn = match turn.take {
                Take::OneSuspect if count == 0 || turn.is_over() => Turn::of(Take::Healthy),
                Take::Healthy if suspect_due && (turn.is_over() || self.is_idle()) => {
                    Turn::of(Take::OneSuspect)
                }
                _ => turn,
            };
            let more = full || turn.take == Take::OneSuspect || turn.since >= last_claim;
            if more {
                continue;
            }
            if count == 0 && self.is_idle() && !drains.is_empty() {
                if !was_idle {
                    continue;
                }
                for drain in drains.drain(..) {
                    let _ = drain.send(());
                }
            }
            // A turn of the suspects comes at its time, also when nothing else happens.
            let turn_ends = suspect_due.then(|| turn.since + TURN);
            let when_freed = !drains.is_empty() || suspect_due;
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                drain = self.wait_for_work(next_due, turn_ends, when_freed) => drains.extend(drain),
            }
        }
    }

    /// Waits until something may be claimed in this turn; answers how many.
    async fn wait_for_room(&self, turn: Turn, handed_over: Instant) -> usize {
        loop {
            let counts = self.held.counts();
            let free = self.slots.saturating_sub(counts.busy);
            match turn.take {
                Take::OneSuspect if counts.busy + counts.unrecorded == 0 => return 1,
                Take::OneSuspect => self.held.freed.notified().await,
                // Records that lag behind hold claims back, so that what is held stays bounded.
                Take::Healthy if free == 0 || counts.unrecorded > 4 * self.slots.max(64) => {
                    self.held.freed.notified().await;
                }
                Take::Healthy if free < self.slots.div_ceil(2) && handed_over.elapsed() < GATHER => {
                    let _ = tokio::time::timeout_at(handed_over + GATHER, self.held.freed.notified()).await;
                }
                Take::Healthy => return free,
            }
        }
    }

    async fn claim(&self, take: Take, limit: usize, lanes: &Lanes) -> crate::store::Result<Claimed> {
        let now = self.clock.now();
        let claim = Claim {
            worker: self.worker.clone(),
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            now,
            lease_until: now + LEASE,
            kinds: self.kinds.clone(),
            ahead: lanes.ahead(),
            take,
        };
        self.store.claim_jobs(claim).await
    }

    async fn hand_over(&self, jobs: Vec<ClaimedJob>) {
        for job in &jobs {
            self.held.take(job);
        }
        for job in jobs {
            // The channel has a place for each slot; it closes only when the process stops, and then what was
            // not begun is given back.
            let _ = self.jobs.send(job).await;
        }
    }

    fn is_idle(&self) -> bool {
        let counts = self.held.counts();
        counts.busy + counts.unrecorded == 0
    }

    /// Waits for a reason to claim again.
    async fn wait_for_work(
        &mut self,
        next_due: Option<Timestamp>,
        turn_ends: Option<Instant>,
        when_freed: bool,
    ) -> Option<oneshot::Sender<()>> {
        let due = next_due
            .map_or(POLL, |due| (due - self.clock.now()).to_std().unwrap_or_default())
            .clamp(Duration::from_millis(1), POLL);
        let mut until = Instant::now() + due;
        if let Some(turn_ends) = turn_ends {
            until = until.min(turn_ends.max(Instant::now() + Duration::from_millis(1)));
        }
        tokio::select! {
            () = self.signal.heard() => None,
            () = self.wake.notified() => None,
            () = self.held.freed.notified(), if when_freed => None,
            () = tokio::time::sleep_until(until) => None,
            Some(drain) = self.drains.recv() => Some(drain),
        }
    }
}

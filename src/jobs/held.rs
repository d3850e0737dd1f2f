//! The jobs that this process holds: claimed, running, or ended and not yet recorded.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::domain::jobs::{ClaimedJob, Fence};

/// How far a held job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Claimed, not yet begun.
    Waiting,
    /// Runs.
    Running,
    /// Ended; its record is on the way. Its slot is free, its lease is still kept.
    Ended,
}

#[derive(Debug)]
struct Entry {
    phase: Phase,
    /// Whether another job may wait for this one to end.
    keyed: bool,
    ticket: Ticket,
}

/// What a running job is told through.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    /// The process stops, or the claim is lost.
    pub(super) stop: CancellationToken,
    /// The claim is lost: nothing that this run does will be committed.
    pub(super) lost: CancellationToken,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Fence, Entry>,
    busy: usize,
    closed: bool,
}

/// The table of held jobs. A claim that was lost and made again by this same process has another fence, so that
/// both runs can stand side by side until the stale one has ended.
#[derive(Debug, Default)]
pub(super) struct Held {
    inner: Mutex<Inner>,
    /// Cancelled when the process stops.
    pub(super) stop: CancellationToken,
    /// Told when a slot became free or a record was written.
    pub(super) freed: Notify,
}

/// How many jobs are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// In a slot: waiting or running.
    pub(super) busy: usize,
    /// Ended, not yet recorded.
    pub(super) unrecorded: usize,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The lock is never held over anything that can panic, and the table is consistent between statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> Counts {
        let inner = self.lock();
        Counts { busy: inner.busy, unrecorded: inner.entries.len() - inner.busy }
    }

    /// A claim was made.
    pub(super) fn take(&self, job: &ClaimedJob) {
        let ticket = Ticket { stop: self.stop.child_token(), lost: CancellationToken::new() };
        let mut inner = self.lock();
        inner.busy += 1;
        let entry = Entry { phase: Phase::Waiting, keyed: job.dedupe_key.is_some(), ticket };
        inner.entries.insert(job.fence.clone(), entry);
    }

    /// A worker is about to run the job; `None` when it must not, because the process stops or the claim was
    /// lost on the way.
    pub(super) fn begin(&self, fence: &Fence) -> Option<Ticket> {
        let mut inner = self.lock();
        if inner.closed {
            return None;
        }
        let entry = inner.entries.get_mut(fence)?;
        entry.phase = Phase::Running;
        Some(entry.ticket.clone())
    }

    /// The run ended and its record is on the way.
    pub(super) fn end(&self, fence: &Fence) {
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.get_mut(fence)
            && entry.phase != Phase::Ended
        {
            entry.phase = Phase::Ended;
            inner.busy -= 1;
        }
        drop(inner);
        self.freed.notify_one();
    }

    /// These jobs are no longer held: recorded, or lost and ended. Answers whether one of them has a key, behind
    /// which another may have waited.
    pub(super) fn forget<'a>(&self, fences: impl IntoIterator<Item = &'a Fence>) -> bool {
        let mut inner = self.lock();
        let mut keyed = false;
        for fence in fences {
            let Some(entry) = inner.entries.remove(fence) else { continue };
            keyed |= entry.keyed;
            if entry.phase != Phase::Ended {
                inner.busy -= 1;
            }
        }
        drop(inner);
        self.freed.notify_one();
        keyed
    }

    /// The claim was lost. Answers whether the job was still waiting or running here.
    pub(super) fn lose(&self, fence: &Fence) -> bool {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get(fence) else { return false };
        match entry.phase {
            Phase::Ended => false,
            Phase::Running => {
                entry.ticket.lost.cancel();
                entry.ticket.stop.cancel();
                true
            }
            Phase::Waiting => {
                inner.entries.remove(fence);
                inner.busy -= 1;
                drop(inner);
                self.freed.notify_one();
                true
            }
        }
    }

    /// Every claim that is still worth a lease.
    pub(super) fn fences(&self) -> Vec<Fence> {
        let inner = self.lock();
        let held = inner.entries.iter().filter(|(_, entry)| !entry.ticket.lost.is_cancelled());
        held.map(|(fence, _)| fence.clone()).collect()
    }

    /// From now on nothing begins. Answers how many run.
    pub(super) fn close(&self) -> usize {
        let mut inner = self.lock();
        inner.closed = true;
        inner.entries.values().filter(|entry| entry.phase == Phase::Running).count()
    }

    /// How many run.
    pub(super) fn running(&self) -> usize {
        self.lock().entries.values().filter(|entry| entry.phase == Phase::Running).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(claim: i64) -> Fence {
        Fence { job_id: "job_1".into(), claim }
    }

    fn job(claim: i64) -> ClaimedJob {
        ClaimedJob {
            fence: fence(claim),
            kind: "k".into(),
            org_id: "org_1".into(),
            connection_id: None,
            args: serde_json::json!({}),
            dedupe_key: (claim == 2).then(|| "key".to_owned()),
            attempts: 0,
            max_attempts: 3,
            run_at: "2026-03-01T12:00:00Z".parse().unwrap(),
            suspect: false,
        }
    }

    #[test]
    fn counts_follow_the_phases() {
        let held = Held::default();
        held.take(&job(1));
        held.take(&job(2));
        assert_eq!(held.counts(), Counts { busy: 2, unrecorded: 0 });
        assert!(held.begin(&fence(1)).is_some());
        held.end(&fence(1));
        held.end(&fence(1));
        assert_eq!(held.counts(), Counts { busy: 1, unrecorded: 1 });
        assert_eq!(held.fences().len(), 2, "a lease is kept until the record is written");
        assert!(!held.forget(&[fence(1), fence(1)]));
        assert_eq!(held.counts(), Counts { busy: 1, unrecorded: 0 });
        assert!(held.forget(&[fence(2)]), "the second has a key");
    }

    #[test]
    fn a_lost_claim_stops_its_run_and_never_begins() {
        let held = Held::default();
        held.take(&job(1));
        held.take(&job(2));
        let ticket = held.begin(&fence(1)).unwrap();
        assert!(held.lose(&fence(1)) && held.lose(&fence(2)) && !held.lose(&fence(3)));
        assert!(ticket.lost.is_cancelled() && ticket.stop.is_cancelled());
        assert!(held.begin(&fence(2)).is_none());
        assert_eq!(held.counts(), Counts { busy: 1, unrecorded: 0 });
        assert!(held.fences().is_empty());
        held.forget(&[fence(1)]);
        assert_eq!(held.counts().busy, 0);
    }

    #[test]
    fn nothing_begins_after_the_close() {
        let held = Held::default();
        held.take(&job(1));
        held.take(&job(2));
        held.begin(&fence(1)).unwrap();
        assert_eq!(held.close(), 1);
        assert!(held.begin(&fence(2)).is_none());
        assert_eq!(held.fences().len(), 2, "both are still to be given back or recorded");
    }
}

//! Writes outcomes in batches.
//!
//! While one batch is being committed the next one gathers, so that the batch grows with the load and a single
//! outcome waits for nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::held::Held;
use super::stats::Stats;
use super::telemetry;
use crate::domain::jobs::{Fence, Finished};
use crate::store::{JobStore, StoreError};

/// The most outcomes in one commit.
const BATCH: usize = 512;
/// Waits between tries while the store cannot be written; the last one repeats.
const PAUSES_MS: [u64; 5] = [50, 200, 500, 1000, 2000];
/// After so many failed tries of a batch each outcome is tried by itself, so that one that the store refuses
/// does not hold up the others.
const TRIES_TOGETHER: usize = 3;

/// Takes outcomes from the runs and commits them.
pub(super) struct Recorder {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) held: Arc<Held>,
    pub(super) stats: Arc<Stats>,
    /// Told when a record may have made a waiting job claimable.
    pub(super) wake: Arc<Notify>,
}

impl Recorder {
    /// Records until the last sender is gone and everything is written.
    pub(super) async fn run(self, mut records: mpsc::UnboundedReceiver<Finished>) {
        let mut batch = Vec::with_capacity(BATCH);
        while records.recv_many(&mut batch, BATCH).await > 0 {
            // Runs that end in the same moment share a commit.
            tokio::task::yield_now().await;
            while batch.len() < BATCH {
                match records.try_recv() {
                    Ok(finished) => batch.push(finished),
                    Err(_) => break,
                }
            }
            self.commit(std::mem::take(&mut batch)).await;
        }
    }

    async fn commit(&self, batch: Vec<Finished>) {
        let mut failures = 0;
        loop {
            match self.store.record_outcomes(batch.clone()).await {
                Ok(lost) => return self.recorded(&batch, &lost),
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(%error, outcomes = batch.len(), "outcomes cannot be recorded, trying again");
                    }
                    failures += 1;
                    if failures >= TRIES_TOGETHER && refuses_for_good(&error) {
                        return self.commit_singly(batch).await;
                    }
                    tokio::time::sleep(pause(failures)).await;
                }
            }
        }
    }

    async fn commit_singly(&self, batch: Vec<Finished>) {
        for finished in batch {
            let mut failures = 0;
            loop {
                match self.store.record_outcomes(vec![finished.clone()]).await {
                    Ok(lost) => break self.recorded(std::slice::from_ref(&finished), &lost),
                    Err(error) if refuses_for_good(&error) => {
                        // The lease ends and the job comes back: nothing is lost but this record.
                        tracing::error!(%error, job = %finished.fence.job_id, "an outcome is refused by the store");
                        self.held.forget([&finished.fence]);
                        break;
                    }
                    Err(_) => {
                        failures += 1;
                        tokio::time::sleep(pause(failures)).await;
                    }
                }
            }
        }
    }

    fn recorded(&self, batch: &[Finished], lost: &[Fence]) {
        self.stats.recorded();
        if !lost.is_empty() {
            self.stats.lost(lost.len());
            metrics::counter!(telemetry::LOST).increment(lost.len() as u64);
            for fence in lost {
                tracing::warn!(job = %fence.job_id, claim = fence.claim, "the claim was lost, its outcome is void");
            }
        }
        let unblocked = self.held.forget(batch.iter().map(|finished| &finished.fence));
        // A job that was put back, or one that waited behind a finished one, may be due.
        if unblocked || batch.iter().any(|finished| finished.next_run_at.is_some()) {
            self.wake.notify_one();
        }
    }
}

fn pause(failures: usize) -> Duration {
    Duration::from_millis(PAUSES_MS[failures.clamp(1, PAUSES_MS.len()) - 1])
}

/// Whether trying the same again cannot help.
fn refuses_for_good(error: &StoreError) -> bool {
    match error {
        StoreError::Database(sqlx::Error::Database(error)) => {
            error.is_unique_violation() || error.is_check_violation() || error.is_foreign_key_violation()
        }
        StoreError::Invalid(_) | StoreError::Inconsistent { .. } => true,
        _ => false,
    }
}

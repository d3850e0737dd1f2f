//! What a runtime has done since its start.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::jobs::JobOutcome;

macro_rules! stats {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// Counters of a running runtime.
        #[derive(Debug, Default)]
        pub(super) struct Stats { $($field: AtomicU64),* }

        /// What a runtime has done since its start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
        pub struct RuntimeStats { $($(#[$doc])* pub $field: u64),* }

        impl Stats {
            /// The figures now.
            pub(super) fn snapshot(&self) -> RuntimeStats {
                RuntimeStats { $($field: self.$field.load(Ordering::Relaxed)),* }
            }
        }
    };
}

stats! {
    /// Jobs claimed.
    claimed,
    /// Runs that were done.
    done,
    /// Runs that snoozed.
    snoozed,
    /// Runs that failed (panics and time-outs included).
    failed,
    /// Runs that gave their job up.
    discarded,
    /// Runs that panicked.
    panics,
    /// Runs that timed out.
    timeouts,
    /// Claims that were lost while their job was held here.
    lost,
    /// Batches of records written.
    record_batches,
    /// Claims asked of the store.
    claims,
}

fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

impl Stats {
    pub(super) fn claimed(&self, jobs: usize) {
        add(&self.claims, 1);
        add(&self.claimed, jobs);
    }

    pub(super) fn ended(&self, outcome: &JobOutcome) {
        let counter = match outcome {
            JobOutcome::Done => &self.done,
            JobOutcome::Snooze(_) => &self.snoozed,
            JobOutcome::Retry { .. } => &self.failed,
            JobOutcome::Discard(_) => &self.discarded,
        };
        add(counter, 1);
    }

    pub(super) fn panicked(&self) {
        add(&self.panics, 1);
    }

    pub(super) fn timed_out(&self) {
        add(&self.timeouts, 1);
    }

    pub(super) fn lost(&self, claims: usize) {
        add(&self.lost, claims);
    }

    pub(super) fn recorded(&self) {
        add(&self.record_batches, 1);
    }
}

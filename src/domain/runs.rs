//! Sync runs and what they counted.

use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ConnectionId, RunId};

/// One run of a sync: a backfill, an incremental read or a full resync of a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncRun {
    /// Id.
    pub id: RunId,
    /// Which connection.
    pub connection_id: ConnectionId,
    /// `backfill`, `incremental` or `full_resync`.
    pub kind: RunKind,
    /// `connect`, `schedule`, `manual`, `reconcile`.
    pub trigger: String,
    /// Streams to be read, and those done.
    pub streams: Vec<StreamProgress>,
    /// State.
    pub status: RunStatus,
    /// Why it failed or is incomplete, or read more than what changed.
    pub error: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Why a run reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// The first full read.
    Backfill,
    /// What may have changed.
    Incremental,
    /// Everything again; what is not seen becomes a tombstone.
    FullResync,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// At work, or waiting for a worker.
    Running,
    /// Everything was read.
    Succeeded,
    /// Read to the end, with rejected records or streams that could not be read.
    Incomplete,
    /// Gave up.
    Failed,
}

/// Progress and counts of one stream in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamProgress {
    /// The stream.
    pub stream: String,
    /// `pending`, `running`, `done`, `skipped` (not offered or not permitted), `replaced` (a list of changes that
    /// could not be read, so that everything is), `failed`.
    pub state: String,
    /// Why it was skipped, replaced, read in full or failed.
    pub reason: Option<String>,
    /// Counts.
    pub counts: Counts,
    /// How many records it is expected to hold, where everything is read: the provider's own count, or what
    /// the last complete pass read. `None` where neither is known.
    #[serde(default)]
    pub expected: Option<i64>,
    /// When reading it began.
    #[serde(default)]
    pub begun_at: Option<Timestamp>,
}

impl StreamProgress {
    fn is_finished(&self) -> bool {
        !matches!(self.state.as_str(), "pending" | "running")
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Records read.
    pub read: i64,
    /// Records that all its streams are expected to hold; `None` while that is not known of one of them.
    pub expected: Option<i64>,
    /// Seconds until the rest is read, at the rate so far.
    pub eta_seconds: Option<i64>,
}

impl Progress {
    /// Of these streams of a run, at that time.
    pub fn of(streams: &[StreamProgress], now: Timestamp) -> Self {
        let read = streams.iter().map(|s| s.counts.read).sum();
        let expected =
            streams
                .iter()
                // A stream that is read to its end holds what was read.
                .map(|s| {
                    if s.is_finished() {
                        Some(s.counts.read)
                    } else {
                        s.expected.map(|e| e.max(s.counts.read))
                    }
                })
                .sum::<Option<i64>>();
        let begun = streams.iter().filter_map(|s| s.begun_at).min();
        let eta_seconds = expected.zip(begun).filter(|_| read > 0).map(|(expected, begun)| {
            let so_far = i128::from((now - begun).num_milliseconds().max(0));
            let left = i128::from(expected - read) * so_far / i128::from(read);
            i64::try_from((left + 999) / 1_000).unwrap_or(i64::MAX)
        });
        Self { read, expected, eta_seconds }
    }
}

/// What reading did to the mirror. Additive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Provider pages or batches read.
    pub pages: i64,
    /// Records read.
    pub read: i64,
    /// Rows made.
    pub created: i64,
    /// Rows replaced.
    pub updated: i64,
    /// Records equal to their row; nothing was written.
    pub unchanged: i64,
    /// Records older than their row; nothing was written.
    pub stale: i64,
    /// Rows marked as gone.
    pub deleted: i64,
    /// Items quarantined.
    pub rejected: i64,
}

impl Counts {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.pages += other.pages;
        self.read += other.read;
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.stale += other.stale;
        self.deleted += other.deleted;
        self.rejected += other.rejected;
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn stream(state: &str, read: i64, expected: Option<i64>, begun_at: Option<Timestamp>) -> StreamProgress {
        StreamProgress {
            state: state.to_owned(),
            counts: Counts { read, ..Counts::default() },
            expected,
            begun_at,
            ..StreamProgress::default()
        }
    }

    #[test]
    fn what_is_left_takes_as_long_as_what_was_read() {
        let begun = DateTime::UNIX_EPOCH;
        let now = begun + TimeDelta::seconds(30);
        let at = |streams: &[StreamProgress]| Progress::of(streams, now);
        let done = stream("done", 200, Some(500), Some(begun));
        let running = stream("running", 100, Some(400), Some(begun + TimeDelta::seconds(20)));
        let known = at(&[done.clone(), running.clone(), stream("pending", 0, Some(300), None)]);
        assert_eq!(known, Progress { read: 300, expected: Some(900), eta_seconds: Some(60) });
        // One stream of unknown size, and there is no saying.
        let unknown = at(&[done.clone(), running, stream("pending", 0, None, None)]);
        assert_eq!(unknown, Progress { read: 300, expected: None, eta_seconds: None });
        // More than was expected is no less than nothing.
        let more = at(&[done, stream("running", 50, Some(40), Some(begun))]);
        assert_eq!(more, Progress { read: 250, expected: Some(250), eta_seconds: Some(0) });
        let nothing_yet = at(&[stream("running", 0, Some(40), Some(now))]);
        assert_eq!(nothing_yet, Progress { read: 0, expected: Some(40), eta_seconds: None });
    }
}

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

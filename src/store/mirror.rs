//! The mirror: raw records, their facts and references, checkpoints, runs, rejected records.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use connector_sdk::{Cursor, Partition, RecordKey, Rejected, Timestamp};
use serde::{Deserialize, Serialize};

use super::Result;
use super::identity::PartyObserved;
use super::people::PersonObserved;
use crate::domain::jobs::{Fence, NewJob};
use crate::domain::runs::{Counts, RunStatus, SyncRun};
use crate::domain::{ConnectionId, DeliveryId, OrgId, RunId};

/// The kind of the job that reads records again by their keys (its argument `keys`, each `stream/id`).
pub const REREAD_KIND: &str = "records.reread";

/// Tells which records the stored body of a delivery names, as its connector reads it.
pub type NamesOf = Arc<dyn Fn(&[u8]) -> Vec<RecordKey> + Send + Sync>;

/// One record as it goes into the mirror.
#[derive(Debug, Clone)]
pub struct MirrorWrite {
    /// Stream and id.
    pub key: RecordKey,
    /// Taken from [`MirrorStore::next_read_seq`] before the request that gave it went out.
    pub read_seq: i64,
    /// The provider's JSON text.
    pub payload: String,
    /// SHA-256 of the canonical JSON (sorted keys, no white space), hex.
    pub hash: String,
    /// Facts as JSON text (an array); `[]` for a record without meaning for derivation.
    pub facts: String,
    /// Version of the translation.
    pub facts_version: i64,
    /// What the facts depend on.
    pub refs: Vec<RecordKey>,
    /// Whose record it is.
    pub party: Option<RecordKey>,
}

/// An item that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRecord {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The stream.
    pub stream: String,
    /// The item's id, or `sha256:…` of its text where it has none.
    pub external_id: String,
    /// What was wrong.
    pub reason: String,
    /// The item's text.
    pub payload: String,
    /// When it was first seen.
    pub first_seen_at: Timestamp,
    /// When it was last seen.
    pub last_seen_at: Timestamp,
}

/// Where a partition of a stream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The stream.
    pub stream: String,
    /// The partition, as the connector planned it.
    pub partition: Partition,
    /// Where to read on; `None` at the start.
    pub cursor: Option<Cursor>,
    /// Whether the current pass has read this partition to its end.
    pub caught_up: bool,
    /// The pass that the partition belongs to.
    pub generation: i64,
    /// Records read in this pass.
    pub records: i64,
    /// How many the partition holds, where the provider says so.
    pub total: Option<i64>,
    /// When the checkpoint was written.
    pub updated_at: Timestamp,
}

/// The current pass over a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamPass {
    /// Counts full passes; `0` before the first.
    pub generation: i64,
    /// The last generation that was read to its end.
    pub completed_generation: i64,
    /// The read number at the beginning of the current full pass: a row with a larger one was read since.
    pub start_seq: i64,
    /// Partitions of the current pass.
    pub checkpoints: Vec<Checkpoint>,
    /// When a pass (full or incremental) was last complete: freshness.
    pub caught_up_at: Option<Timestamp>,
    /// Records that the last complete full pass read; `None` before the first.
    pub records: Option<i64>,
}

/// What happens to a delivery in the unit that applies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryDone {
    /// Which delivery.
    pub id: DeliveryId,
    /// `applied`, `ignored` or `failed`.
    pub state: &'static str,
    /// Why.
    pub error: Option<String>,
    /// The records that it had read again, or said to be gone.
    pub touched: Vec<RecordKey>,
    /// All records that its body names. One that names an erased record is not kept.
    pub named: Vec<RecordKey>,
    /// The party that it was about.
    pub party: Option<RecordKey>,
}

/// Everything that one page, or one batch of touched records, changes: committed whole.
#[derive(Debug, Clone)]
pub struct IngestCommit {
    /// Connection.
    pub connection_id: ConnectionId,
    /// The run that counts it; `None` for webhook touches.
    pub run_id: Option<RunId>,
    /// As [`MirrorWrite::read_seq`], of the read that told of the tombstones.
    pub read_seq: i64,
    /// How many of a stream's pages it holds, for the run's counts.
    pub pages: i64,
    /// The full pass that saw these records; `None` outside a pass.
    pub generation: Option<i64>,
    /// Records.
    pub records: Vec<MirrorWrite>,
    /// Records that are gone.
    pub tombstones: Vec<RecordKey>,
    /// Items to quarantine.
    pub rejected: Vec<Rejected>,
    /// Parties among the records, to be matched. (A manual link is left alone.)
    pub parties: Vec<PartyObserved>,
    /// People among the records, who are end users or become them.
    pub people: Vec<PersonObserved>,
    /// Records that say what somebody of our side is called.
    pub staff: HashSet<RecordKey>,
    /// The partition's new state.
    pub checkpoint: Option<Checkpoint>,
    /// Further partitions of the stream: read in this commit as well, or new from a split.
    pub others: Vec<Checkpoint>,
    /// Deliveries that this commit finishes.
    pub deliveries: Vec<DeliveryDone>,
    /// Jobs that the commit makes necessary. A derive job is pushed by the unit itself when a company
    /// became dirty and none waits.
    pub jobs: Vec<NewJob>,
    /// The claim behind the work; the unit is refused when it was lost.
    pub fence: Option<Fence>,
    /// When the derive job that a change makes necessary is due: a little later while a backfill runs, so
    /// that a customer and its subscriptions are derived once.
    pub derive_at: Timestamp,
    /// Now.
    pub at: Timestamp,
}

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Counts of this commit.
    pub counts: Counts,
    /// Companies that became dirty or dirtier.
    pub dirty: i64,
    /// Records that were created, updated or deleted.
    pub changed: Vec<RecordKey>,
}

/// A stored record.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// Stream and id.
    pub key: RecordKey,
    /// The provider's JSON text.
    pub payload: String,
    /// Facts as JSON text.
    pub facts: String,
    /// Whose record it is.
    pub party: Option<RecordKey>,
    /// The read that gave it.
    pub read_seq: i64,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// When it was found to be gone.
    pub deleted_at: Option<Timestamp>,
}

/// Mirror, checkpoints, runs.
#[async_trait]
pub trait MirrorStore {
    /// The next number of the sequence that orders reads. Taken before a request goes out. Strictly
    /// increasing over all processes that share the database.
    async fn next_read_seq(&self) -> Result<i64>;

    /// One unit: for each record, the row is written when `read_seq` is larger and the hash differs (a
    /// larger `read_seq` with an equal hash writes nothing at all, unless a pass must note that it saw the
    /// row); references are replaced; parties are matched; every company that a change reaches (through its
    /// party, or through `record_refs` of another record) is marked dirty with a reason; rejected items,
    /// tombstones, checkpoint, deliveries, jobs and the run's counts follow.
    async fn commit_ingest(&self, org: &OrgId, commit: IngestCommit) -> Result<Ingested>;

    /// The state of a stream's pass.
    async fn load_pass(&self, org: &OrgId, connection: &ConnectionId, stream: &str) -> Result<StreamPass>;

    /// Begins a pass: a larger generation for a full one, the same for an incremental one; `partitions`
    /// replace the stream's checkpoints, keeping nothing of the old ones but a cursor passed in them.
    async fn begin_pass(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        stream: &str,
        full: bool,
        partitions: Vec<(Partition, Option<Cursor>)>,
        fence: Option<&Fence>,
        at: Timestamp,
    ) -> Result<StreamPass>;

    /// Ends a pass when every partition is caught up. With `sweep`, rows that a full pass did not see
    /// become tombstones, at most so many a call, and are counted in `run`; call again while the answer's `deleted`
    /// is that number.
    async fn finish_pass(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        stream: &str,
        run: Option<&RunId>,
        sweep: Option<i64>,
        fence: Option<&Fence>,
        at: Timestamp,
    ) -> Result<Ingested>;

    /// Stored records by key, in no particular order.
    async fn load_records(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        keys: &[RecordKey],
    ) -> Result<Vec<StoredRecord>>;

    /// Keys of a stream's live records in their order, at most `limit`, from behind the id `after`.
    async fn list_record_keys(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        stream: &str,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<RecordKey>>;

    /// Keys of the live records that belong to these parties.
    async fn list_party_record_keys(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        parties: &[RecordKey],
    ) -> Result<Vec<RecordKey>>;

    /// Parties whose link could not be decided when they were read, or whose company keys have changed
    /// since, to be matched again: the party's record. At most `limit`.
    async fn list_unmatched_party_records(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<StoredRecord>>;

    /// Deletes records of people who asked to be forgotten, and those that were merged into them, with all that names
    /// them: references, links, stored requests, rejected records, histories; companies that they were of become
    /// dirty, and later reads pass the records over. Jobs of [`REREAD_KIND`] for the records that referred to them
    /// are pushed in the same unit, for these may hold more of the person than the reference.
    async fn erase_records(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        keys: &[RecordKey],
        names_of: NamesOf,
        at: Timestamp,
    ) -> Result<()>;

    /// Number of live records by stream, and when each stream was last caught up.
    async fn count_records(&self, org: &OrgId, connection: &ConnectionId) -> Result<Vec<StreamCount>>;

    /// Quarantined items of a connection, newest first.
    async fn list_rejected(
        &self,
        org: &OrgId,
        connection: Option<&ConnectionId>,
        limit: i64,
    ) -> Result<Vec<RejectedRecord>>;

    /// Stores a run.
    async fn put_run(&self, org: &OrgId, run: &SyncRun) -> Result<()>;

    /// Sets a stream's state in a run (`running`, `done`, `skipped`, `failed`) and, when no stream of the
    /// run is pending or running any more, the run's status.
    async fn set_run_stream(
        &self,
        org: &OrgId,
        run: &RunId,
        stream: &str,
        state: &str,
        reason: Option<&str>,
        at: Timestamp,
    ) -> Result<Option<SyncRun>>;

    /// Says of streams of a run how many records each is expected to hold, and with `begun_at` that reading
    /// it begins; the first beginning stays.
    async fn expect_of_run(
        &self,
        org: &OrgId,
        run: &RunId,
        streams: &[(String, Option<i64>)],
        begun_at: Option<Timestamp>,
    ) -> Result<()>;

    /// One run.
    async fn find_run(&self, org: &OrgId, run: &RunId) -> Result<Option<SyncRun>>;

    /// Runs, newest first.
    async fn list_runs(
        &self,
        org: &OrgId,
        connection: Option<&ConnectionId>,
        status: Option<RunStatus>,
        limit: i64,
    ) -> Result<Vec<SyncRun>>;
}

/// How much of a stream is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCount {
    /// The stream.
    pub stream: String,
    /// Live records.
    pub records: i64,
    /// When a pass over it was last complete.
    pub caught_up_at: Option<Timestamp>,
}

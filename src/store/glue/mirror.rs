//! [`MirrorStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::{Cursor, Partition, RecordKey, Timestamp};

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::jobs::Fence;
use crate::domain::runs::{RunStatus, SyncRun};
use crate::domain::{ConnectionId, OrgId, RunId};
use crate::store::mirror::{
    IngestCommit, Ingested, MirrorStore, NamesOf, RejectedRecord, StoredRecord, StreamCount, StreamPass,
};

#[async_trait]
impl MirrorStore for Engine {
    async fn next_read_seq(&self) -> Result<i64> {
        self.take_read_seq().await
    }

    async fn commit_ingest(&self, org: &OrgId, commit: IngestCommit) -> Result<Ingested> {
        let lane = Lane::of_many(commit.records.len());
        unit!(self.write(lane, Scope::Org(org.clone())), [org = org.clone(), commit = commit], |c| {
            units::ingest::commit_ingest(c, org, commit)
        })
    }

    async fn load_pass(&self, org: &OrgId, connection: &ConnectionId, stream: &str) -> Result<StreamPass> {
        unit!(
            self.snapshot(Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.clone(), stream = stream.to_owned()],
            |c| units::passes::load_pass(c, org, connection, stream)
        )
    }

    async fn begin_pass(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        stream: &str,
        full: bool,
        partitions: Vec<(Partition, Option<Cursor>)>,
        fence: Option<&Fence>,
        at: Timestamp,
    ) -> Result<StreamPass> {
        let full_from = if full { Some(self.take_read_seq().await?) } else { None };
        let begin = units::passes::Begin { stream: stream.to_owned(), full_from, partitions };
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.clone(), begin = begin, fence = fence.cloned()],
            |c| units::passes::begin_pass(c, org, connection, begin, fence.as_ref(), at)
        )
    }

    async fn finish_pass(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        stream: &str,
        run: Option<&RunId>,
        sweep: Option<i64>,
        fence: Option<&Fence>,
        at: Timestamp,
    ) -> Result<Ingested> {
        let finish = units::passes::Finish { stream: stream.to_owned(), run: run.cloned(), sweep };
        let lane = if sweep.is_some() { Lane::Whole } else { Lane::Bulk };
        unit!(
            self.write(lane, Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.clone(), finish = finish, fence = fence.cloned()],
            |c| units::passes::finish_pass(c, org, connection, finish, fence.as_ref(), at)
        )
    }

    async fn load_records(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        keys: &[RecordKey],
    ) -> Result<Vec<StoredRecord>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.clone(), keys = keys.to_vec()],
            |c| units::mirror::load_records(c, org, connection, keys)
        )
    }

    async fn list_record_keys(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        stream: &str,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<RecordKey>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [
                org = org.clone(),
                connection = connection.clone(),
                stream = stream.to_owned(),
                after = after.map(str::to_owned)
            ],
            |c| units::mirror::list_record_keys(c, org, connection, stream, after.as_deref(), limit)
        )
    }

    async fn list_party_record_keys(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        parties: &[RecordKey],
    ) -> Result<Vec<RecordKey>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.clone(), parties = parties.to_vec()],
            |c| units::mirror::list_party_record_keys(c, org, connection, parties)
        )
    }

    async fn list_unmatched_party_records(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<StoredRecord>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.clone(), after = after.map(str::to_owned)],
            |c| units::mirror::list_unmatched_party_records(c, org, connection, after.as_deref(), limit)
        )
    }

    async fn erase_records(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        keys: &[RecordKey],
        names_of: NamesOf,
        at: Timestamp,
    ) -> Result<()> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.clone(), keys = keys.to_vec(), names_of = names_of],
            |c| units::erase::erase_records(c, org, connection, keys, names_of, at)
        )
    }

    async fn count_records(&self, org: &OrgId, connection: &ConnectionId) -> Result<Vec<StreamCount>> {
        unit!(
            self.snapshot(Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.clone()],
            |c| units::mirror::count_records(c, org, connection)
        )
    }

    async fn list_rejected(
        &self,
        org: &OrgId,
        connection: Option<&ConnectionId>,
        limit: i64,
    ) -> Result<Vec<RejectedRecord>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.cloned()],
            |c| units::mirror::list_rejected(c, org, connection.as_ref(), limit)
        )
    }

    async fn put_run(&self, org: &OrgId, run: &SyncRun) -> Result<()> {
        unit!(self.write(Lane::Ack, Scope::Org(org.clone())), [org = org.clone(), run = run.clone()], |c| {
            units::runs::put_run(c, org, run)
        })
    }

    async fn set_run_stream(
        &self,
        org: &OrgId,
        run: &RunId,
        stream: &str,
        state: &str,
        reason: Option<&str>,
        at: Timestamp,
    ) -> Result<Option<SyncRun>> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [
                org = org.clone(),
                run = run.clone(),
                stream = stream.to_owned(),
                state = state.to_owned(),
                reason = reason.map(str::to_owned)
            ],
            |c| units::runs::set_run_stream(c, org, run, stream, state, reason.as_deref(), at)
        )
    }

    async fn expect_of_run(
        &self,
        org: &OrgId,
        run: &RunId,
        streams: &[(String, Option<i64>)],
        begun_at: Option<Timestamp>,
    ) -> Result<()> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), run = run.clone(), streams = streams.to_vec()],
            |c| units::runs::expect(c, org, run, streams, begun_at)
        )
    }

    async fn find_run(&self, org: &OrgId, run: &RunId) -> Result<Option<SyncRun>> {
        unit!(self.snapshot(Scope::Org(org.clone())), [org = org.clone(), run = run.clone()], |c| {
            units::runs::find_run(c, org, run)
        })
    }

    async fn list_runs(
        &self,
        org: &OrgId,
        connection: Option<&ConnectionId>,
        status: Option<RunStatus>,
        limit: i64,
    ) -> Result<Vec<SyncRun>> {
        unit!(
            self.snapshot(Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.cloned()],
            |c| units::runs::list_runs(c, org, connection.as_ref(), status, limit)
        )
    }
}

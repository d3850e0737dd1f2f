//! A provider's list of what changed, which an incremental run reads instead of listing streams.
//!
//! A full run takes the list's present end before it reads anything. A stream that was read whole since then
//! owes later changes to the list alone. Where the list cannot be read, or no longer reaches back, every stream
//! is read in full again, and the run says so.

use std::collections::{BTreeMap, HashSet};

use connector_sdk::{ConnectorError, FeedSpec, Next, Page, ReadMode, StreamSpec, Touch};

use super::SyncError;
use super::reader::{Reader, Way};
use super::run::unreadable;
use crate::domain::runs::{RunKind, SyncRun};
use crate::store::mirror::Checkpoint;

/// What a run knows by its provider's list of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// The run does not read the list.
    No,
    /// Everything since this read has been read again.
    Since(i64),
    /// Nothing: the list could not be read.
    Nothing,
}

/// Why a stream is read in full although the list of changes is read.
const NOT_WHOLE: &str = "read in full: it has not been read whole since the list of changes is followed";

impl Reader {
    /// What an earlier slice of this run has learned.
    pub(super) async fn fed(&self, run: &SyncRun) -> Result<Fed, SyncError> {
        let Some(feed) = &self.translator.spec.feed else { return Ok(Fed::No) };
        match run.streams.iter().find(|s| s.stream == feed.name).map(|s| s.state.as_str()) {
            None => Ok(Fed::No),
            Some("done") => self.since(feed).await,
            Some(_) => Ok(Fed::Nothing),
        }
    }

    async fn since(&self, feed: &FeedSpec) -> Result<Fed, SyncError> {
        let pass = self.store.load_pass(&self.org, &self.connection, feed.name).await?;
        Ok(Fed::Since(pass.start_seq))
    }

    /// How a stream is read.
    pub(super) async fn way(
        &self,
        stream: &StreamSpec,
        kind: RunKind,
        begun: bool,
        fed: Fed,
    ) -> Result<Way, SyncError> {
        if kind != RunKind::Incremental {
            return Ok(Way::Full(None));
        }
        let pass = self.store.load_pass(&self.org, &self.connection, stream.name).await?;
        let reason = matches!(fed, Fed::Since(_)).then_some(NOT_WHOLE).filter(|_| stream.feed);
        let unfinished = pass.generation == 0 || pass.generation > pass.completed_generation;
        if begun {
            // Incremental passes follow complete ones only.
            return Ok(if unfinished { Way::Full(reason) } else { Way::Incremental });
        }
        let whole = !unfinished && pass.checkpoints.iter().all(|c| c.caught_up);
        Ok(match fed {
            Fed::Since(start) if stream.feed && whole && pass.start_seq > start => Way::Fed,
            Fed::Since(_) | Fed::Nothing if stream.feed => Way::Full(reason),
            _ if stream.incremental && whole => Way::Incremental,
            _ => Way::Full(None),
        })
    }

    /// Reads the list of changes to its end, or takes its end in a full run. `None`: this slice's share is used
    /// up.
    pub(super) async fn read_feed(
        &self,
        feed: &FeedSpec,
        kind: RunKind,
        begun: bool,
    ) -> Result<Option<Fed>, SyncError> {
        let read = match kind {
            RunKind::Backfill | RunKind::FullResync => self.take_end(feed).await.map(|()| true),
            RunKind::Incremental => self.follow(feed, begun).await,
        };
        let why = match read {
            Ok(false) => return Ok(None),
            Ok(true) => {
                self.set_stream(feed.name, "done", None).await?;
                return self.since(feed).await.map(Some);
            }
            Err(SyncError::Connector(ConnectorError::Expired(why))) => {
                // From here on changes are known again, once the streams are read.
                match self.take_end(feed).await {
                    Ok(()) => why,
                    Err(SyncError::Connector(error)) => unreadable(error)?,
                    Err(error) => return Err(error),
                }
            }
            Err(SyncError::Connector(error)) => unreadable(error)?,
            Err(error) => return Err(error),
        };
        let (state, why) = match kind {
            RunKind::Incremental => ("replaced", format!("{why}; every stream is read in full instead")),
            // This run lacks nothing.
            RunKind::Backfill | RunKind::FullResync => {
                ("done", format!("{why}; later runs will read every stream in full"))
            }
        };
        tracing::warn!(run = %self.run, connection = %self.connection, feed = feed.name, %why, "changes cannot be followed");
        self.set_stream(feed.name, state, Some(&why)).await?;
        Ok(Some(Fed::Nothing))
    }

    /// Takes the present end of the list: streams that are read whole after this owe it their later changes.
    /// Nothing is written before the list has answered.
    async fn take_end(&self, feed: &FeedSpec) -> Result<(), SyncError> {
        let planned = self.session.plan(feed.name, ReadMode::Full, self.clock.now()).await?;
        let mut ends = Vec::with_capacity(planned.len());
        for partition in planned {
            let read_seq = self.store.next_read_seq().await?;
            let page = self.session.read_page(feed.name, ReadMode::Full, &partition, None).await?;
            ends.push((partition, read_seq, page));
        }
        let partitions = ends.iter().map(|(partition, ..)| (partition.clone(), None)).collect();
        self.begin_pass(feed.name, ReadMode::Full, partitions).await?;
        let pass = self.store.load_pass(&self.org, &self.connection, feed.name).await?;
        for checkpoint in pass.checkpoints {
            let end = ends.iter().position(|(partition, ..)| *partition == checkpoint.partition);
            if let Some((_, read_seq, page)) = end.map(|at| ends.swap_remove(at)) {
                self.commit_feed_page(checkpoint, read_seq, page).await?;
            }
        }
        self.finish_feed(feed).await
    }

    /// Reads what changed. False: there is more than this slice's share.
    async fn follow(&self, feed: &FeedSpec, begun: bool) -> Result<bool, SyncError> {
        if !begun {
            // Also from between two pages, where the last run gave up: the cursor knows where it began.
            let old = self.store.load_pass(&self.org, &self.connection, feed.name).await?;
            let partitions: Vec<_> = old
                .checkpoints
                .into_iter()
                .map(|c| (c.partition, c.cursor))
                .filter(|(_, c)| c.is_some())
                .collect();
            if partitions.is_empty() {
                let why = "no place in the list of changes has been kept yet";
                return Err(ConnectorError::Expired(why.to_owned()).into());
            }
            self.begin_pass(feed.name, ReadMode::Incremental, partitions).await?;
            self.set_stream(feed.name, "running", None).await?;
        }
        while self.read_feed_page(feed).await? {
            if !self.share.take_page() {
                return Ok(false);
            }
        }
        self.finish_feed(feed).await?;
        Ok(true)
    }

    async fn finish_feed(&self, feed: &FeedSpec) -> Result<(), SyncError> {
        let (fence, now) = (Some(&self.fence), self.clock.now());
        self.store.finish_pass(&self.org, &self.connection, feed.name, None, None, fence, now).await?;
        Ok(())
    }

    /// Reads one page. Whether there is more.
    async fn read_feed_page(&self, feed: &FeedSpec) -> Result<bool, SyncError> {
        let pass = self.store.load_pass(&self.org, &self.connection, feed.name).await?;
        let Some(checkpoint) = pass.checkpoints.into_iter().find(|c| !c.caught_up) else {
            return Ok(false);
        };
        let (mode, cursor) = (ReadMode::Incremental, checkpoint.cursor.as_ref());
        let read_seq = self.store.next_read_seq().await?;
        let page = self.session.read_page(feed.name, mode, &checkpoint.partition, cursor).await?;
        let more = matches!(page.next, Next::More(_));
        self.commit_feed_page(checkpoint, read_seq, page).await?;
        Ok(more)
    }

    /// Reads what a page names before the checkpoint moves past it.
    async fn commit_feed_page(
        &self,
        mut checkpoint: Checkpoint,
        read_seq: i64,
        page: Page,
    ) -> Result<(), SyncError> {
        let Page { touched, tombstones, rejected, next, .. } = page;
        self.read_touched(touched).await?;
        let (cursor, caught_up) = match next {
            Next::More(cursor) => (cursor, false),
            Next::CaughtUp(cursor) => (cursor, true),
        };
        checkpoint.cursor = Some(cursor);
        checkpoint.caught_up = caught_up;
        checkpoint.updated_at = self.clock.now();
        let mut commit = self.translator.commit(read_seq, Vec::new(), rejected);
        commit.pages = 1;
        commit.tombstones = tombstones;
        commit.checkpoint = Some(checkpoint);
        self.store.commit_ingest(&self.org, commit).await?;
        Ok(())
    }

    /// Objects that a change feed names are read now, as a webhook's touches are, each once however many
    /// events name it, and committed before the page's checkpoint moves past them. What a webhook brought and
    /// is applied has been read since it happened.
    pub(super) async fn read_touched(&self, touched: Vec<Touch>) -> Result<(), SyncError> {
        if touched.is_empty() {
            return Ok(());
        }
        let events: Vec<String> = touched.iter().filter_map(|t| t.event.clone()).collect();
        let applied: HashSet<String> =
            self.store.list_applied_events(&self.org, &self.connection, &events).await?.into_iter().collect();
        let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Touch { key, event } in touched {
            if !event.is_some_and(|event| applied.contains(&event)) {
                wanted.entry(key.stream).or_default().push(key.id);
            }
        }
        for (stream, mut ids) in wanted {
            ids.sort_unstable();
            ids.dedup();
            let read_seq = self.store.next_read_seq().await?;
            let mut batch = match self.session.read_many(&stream, &ids).await {
                Ok(batch) => batch,
                Err(error) => {
                    // One stream that these credentials may not read does not hold the others back. What it
                    // misses here it gets when it is read whole.
                    let why = unreadable(error)?;
                    tracing::warn!(run = %self.run, connection = %self.connection, stream, %why, "changes cannot be read");
                    if let Some(stream) = self.translator.spec.stream(&stream) {
                        self.begin(stream, ReadMode::Full).await?;
                    }
                    continue;
                }
            };
            self.complete(&mut batch.records).await?;
            let mut commit = self.translator.commit(read_seq, batch.records, batch.rejected);
            commit.tombstones = batch.tombstones;
            self.store.commit_ingest(&self.org, commit).await?;
        }
        Ok(())
    }
}

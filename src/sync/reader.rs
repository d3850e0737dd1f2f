//! Reading a stream page by page, several of its partitions at once.
//!
//! A page is committed whole: records, references, links, dirty marks, checkpoint and counts in one unit,
//! together with those that arrived behind it meanwhile. While pages are committed the next ones are read and
//! translated. Pages of one partition are read and committed in their order; those of different partitions come as
//! they come. How many pages are in memory does not depend on how many partitions are read.

use std::collections::{HashMap, VecDeque};
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use connector_sdk::{
    Clock, ConnectorError, Cursor, DynConnector, Next, Page, Partition, ReadMode, Record, Rejected, Session,
    Spec, StreamSpec, Timestamp,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::SyncError;
use super::ingest;
use super::links::LinkSettings;
use crate::domain::jobs::Fence;
use crate::domain::{ConnectionId, OrgId, RunId};
use crate::store::Store;
use crate::store::mirror::{Checkpoint, IngestCommit};

/// Pages that arrived are committed together up to about so many records.
const COMMIT_RECORDS: usize = 512;
/// Pages that are being read, translated or committed, of all partitions together.
const PAGES_IN_HAND: usize = 12;
/// Rows that one sweep turns into tombstones in a unit.
const SWEEP: i64 = 500;
/// While a run reads, derivation waits this long after a change: customers and their subscriptions come
/// on different pages, and deriving in between would be work for nothing. The run's end hastens it. Less
/// than the age at which the scan for forgotten marks takes them up.
const DERIVE_DELAY: Duration = Duration::from_secs(20);

/// How a slice ended.
pub(super) enum Slice {
    Finished,
    More,
}

/// How a stream is read in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Everything. Why, where a list of changes should have been enough.
    Full(Option<&'static str>),
    /// What may have changed, by a listing of the stream itself.
    Incremental,
    /// Not at all: the list of changes named what changed.
    Fed,
}

/// Reads streams for one slice.
pub(super) struct Reader {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) translator: Arc<Translator>,
    pub(super) session: Arc<dyn Session>,
    pub(super) org: OrgId,
    pub(super) connection: ConnectionId,
    pub(super) run: RunId,
    pub(super) fence: Fence,
    pub(super) share: Arc<Share>,
}

/// How much a slice may still read.
pub(super) struct Share {
    until: Instant,
    pages_left: AtomicU32,
    stop: CancellationToken,
}

impl Share {
    /// So many pages beyond the first of each stream, for so long.
    pub(super) fn new(time: Duration, pages: u32, stop: CancellationToken) -> Self {
        Self { until: Instant::now() + time, pages_left: AtomicU32::new(pages.saturating_sub(1)), stop }
    }

    /// Whether one page more is read, which is taken off.
    pub(super) fn take_page(&self) -> bool {
        let left = |pages: u32| pages.checked_sub(1);
        Instant::now() < self.until
            && !self.stop.is_cancelled()
            && self.pages_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }
}

/// How many partitions are open: being read, or waiting for it.
struct Seats {
    open: AtomicUsize,
    most: usize,
}

impl Seats {
    /// Whether there is room for so many more, which is taken.
    fn take(&self, n: usize) -> bool {
        let more = |open: usize| open.checked_add(n).filter(|open| *open <= self.most);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn free(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A page on its way, being translated.
struct Arriving {
    partition: String,
    page: Result<AbortOnDropHandle<Translated>, SyncError>,
    in_hand: OwnedSemaphorePermit,
}

impl Arriving {
    async fn arrived(self) -> Result<Arrived, SyncError> {
        let Translated { page, commit } = self.page?.await.map_err(abnormal)?;
        let read = i64::try_from(commit.records.len()).unwrap_or(i64::MAX);
        Ok(Arrived { pages: vec![(self.partition, read, page)], commit, in_hand: vec![self.in_hand] })
    }
}

/// A page that was translated: its records and rejected items are in `commit`.
struct Translated {
    page: Page,
    commit: IngestCommit,
}

/// Pages to be committed together.
struct Arrived {
    /// Of which partition, with how many records.
    pages: Vec<(String, i64, Page)>,
    commit: IngestCommit,
    in_hand: Vec<OwnedSemaphorePermit>,
}

impl Arrived {
    /// Whether it may be committed in one unit with other pages. Between a deletion and a record the order
    /// matters.
    fn joins(&self) -> bool {
        self.pages.iter().all(|(.., page)| page.touched.is_empty() && page.tombstones.is_empty())
    }

    fn join(&mut self, next: Self) {
        self.commit.records.extend(next.commit.records);
        self.commit.rejected.extend(next.commit.rejected);
        self.commit.parties.extend(next.commit.parties);
        self.commit.people.extend(next.commit.people);
        self.commit.staff.extend(next.commit.staff);
        self.commit.pages += next.commit.pages;
        self.pages.extend(next.pages);
        self.in_hand.extend(next.in_hand);
    }
}

/// Turns records into a commit of this run.
pub(super) struct Translator {
    pub(super) connector: Arc<dyn DynConnector>,
    pub(super) spec: Spec,
    pub(super) link: LinkSettings,
    pub(super) connection: ConnectionId,
    pub(super) run: RunId,
    pub(super) fence: Fence,
    pub(super) clock: Arc<dyn Clock>,
}

impl Translator {
    async fn complete(
        &self,
        store: &dyn Store,
        org: &OrgId,
        records: &mut [Record],
    ) -> Result<(), SyncError> {
        ingest::complete(store, org, &self.connection, &*self.connector, records).await?;
        Ok(())
    }

    fn translated(&self, read_seq: i64, mut page: Page) -> Translated {
        let (records, rejected) = (take(&mut page.records), take(&mut page.rejected));
        let mut commit = self.commit(read_seq, records, rejected);
        commit.pages = 1;
        Translated { page, commit }
    }

    pub(super) fn commit(
        &self,
        read_seq: i64,
        records: Vec<Record>,
        rejected: Vec<Rejected>,
    ) -> IngestCommit {
        let now = self.clock.now();
        let prepared = ingest::prepare(&*self.connector, &self.spec, &self.link, read_seq, records);
        IngestCommit {
            run_id: Some(self.run.clone()),
            fence: Some(self.fence.clone()),
            derive_at: now + DERIVE_DELAY,
            ..prepared.into_commit(self.connection.clone(), read_seq, rejected, now)
        }
    }
}

/// The pass over one stream, as it is being read.
struct Pass<'a> {
    stream: &'a StreamSpec,
    mode: ReadMode,
    /// Partitions that are not caught up, by id.
    open: HashMap<String, Checkpoint>,
    /// Those that nobody reads yet.
    waiting: VecDeque<String>,
    seats: Arc<Seats>,
    in_hand: Arc<Semaphore>,
    sender: mpsc::Sender<Arriving>,
    readers: JoinSet<()>,
}

impl Reader {
    pub(super) async fn set_stream(
        &self,
        stream: &str,
        state: &str,
        reason: Option<&str>,
    ) -> Result<(), SyncError> {
        let now = self.clock.now();
        self.store.set_run_stream(&self.org, &self.run, stream, state, reason, now).await?;
        Ok(())
    }

    pub(super) async fn read_stream(
        &self,
        stream: &StreamSpec,
        way: &Way,
        begun: bool,
    ) -> Result<Slice, SyncError> {
        let (mode, reason) = match way {
            Way::Fed => {
                // Nothing is swept; the stream is as fresh as the list of changes.
                self.finish(stream, false).await?;
                self.set_stream(stream.name, "done", None).await?;
                return Ok(Slice::Finished);
            }
            Way::Full(reason) => (ReadMode::Full, *reason),
            Way::Incremental => (ReadMode::Incremental, None),
        };
        if !begun {
            let expected = if mode == ReadMode::Full { self.last_count(stream.name).await? } else { None };
            self.begin(stream, mode).await?;
            self.set_stream(stream.name, "running", reason).await?;
            self.expect(vec![(stream.name.to_owned(), expected)], Some(self.clock.now())).await?;
        }
        if let Slice::More = self.read_partitions(stream, mode).await? {
            return Ok(Slice::More);
        }
        self.finish(stream, mode == ReadMode::Full && stream.full_pass_deletes).await?;
        self.set_stream(stream.name, "done", reason).await?;
        Ok(Slice::Finished)
    }

    /// Gives partial records what they lack.
    pub(super) async fn complete(&self, records: &mut [Record]) -> Result<(), SyncError> {
        self.translator.complete(&*self.store, &self.org, records).await
    }

    /// How many records the last complete pass read.
    pub(super) async fn last_count(&self, stream: &str) -> Result<Option<i64>, SyncError> {
        Ok(self.store.load_pass(&self.org, &self.connection, stream).await?.records)
    }

    pub(super) async fn expect(
        &self,
        streams: Vec<(String, Option<i64>)>,
        begun_at: Option<Timestamp>,
    ) -> Result<(), SyncError> {
        self.store.expect_of_run(&self.org, &self.run, &streams, begun_at).await?;
        Ok(())
    }

    async fn finish(&self, stream: &StreamSpec, sweep: bool) -> Result<(), SyncError> {
        loop {
            let (fence, now, sweep) = (Some(&self.fence), self.clock.now(), sweep.then_some(SWEEP));
            let swept = self
                .store
                .finish_pass(&self.org, &self.connection, stream.name, Some(&self.run), sweep, fence, now)
                .await?;
            if swept.counts.deleted < SWEEP {
                return Ok(());
            }
        }
    }

    /// Begins a pass. An incremental one goes on from the cursors that the last pass was caught up with.
    pub(super) async fn begin(&self, stream: &StreamSpec, mode: ReadMode) -> Result<(), SyncError> {
        let now = self.clock.now();
        let planned = self.session.plan(stream.name, mode, now).await?;
        let partitions = match mode {
            ReadMode::Full => planned.into_iter().map(|p| (p, None)).collect(),
            ReadMode::Incremental => {
                let old = self.store.load_pass(&self.org, &self.connection, stream.name).await?;
                let mut partitions = Vec::with_capacity(planned.len());
                for partition in planned {
                    let cursor = self.joined_cursor(stream, &partition, &old.checkpoints)?;
                    partitions.push((partition, cursor));
                }
                partitions
            }
        };
        self.begin_pass(stream.name, mode, partitions).await
    }

    pub(super) async fn begin_pass(
        &self,
        stream: &str,
        mode: ReadMode,
        partitions: Vec<(Partition, Option<Cursor>)>,
    ) -> Result<(), SyncError> {
        let (full, fence, now) = (mode == ReadMode::Full, Some(&self.fence), self.clock.now());
        self.store.begin_pass(&self.org, &self.connection, stream, full, partitions, fence, now).await?;
        Ok(())
    }

    /// Where a partition goes on. One of the same name may have been cut since, so that what the last pass
    /// read in other partitions counts, too.
    fn joined_cursor(
        &self,
        stream: &StreamSpec,
        partition: &Partition,
        old: &[Checkpoint],
    ) -> Result<Option<Cursor>, SyncError> {
        let ends: Option<Vec<Cursor>> =
            old.iter().map(|c| c.cursor.clone().filter(|_| c.caught_up)).collect();
        Ok(match ends.as_deref() {
            Some([end]) if old.iter().all(|c| c.partition.id == partition.id) => Some(end.clone()),
            Some(ends @ [_, ..]) => self.session.join_cursors(stream.name, ends)?,
            _ => None,
        })
    }

    /// Reads what is open of a pass, until it is caught up or this slice's share is used up.
    async fn read_partitions(&self, stream: &StreamSpec, mode: ReadMode) -> Result<Slice, SyncError> {
        let stored = self.store.load_pass(&self.org, &self.connection, stream.name).await?;
        let open: Vec<_> = stored.checkpoints.into_iter().filter(|c| !c.caught_up).collect();
        let most = self.session.partitions_at_once().max(1);
        let (sender, mut pages) = mpsc::channel(PAGES_IN_HAND);
        let mut pass = Pass {
            stream,
            mode,
            waiting: open.iter().map(|c| c.partition.id.clone()).collect(),
            seats: Arc::new(Seats { open: AtomicUsize::new(open.len()), most }),
            open: open.into_iter().map(|c| (c.partition.id.clone(), c)).collect(),
            in_hand: Arc::new(Semaphore::new(PAGES_IN_HAND)),
            sender,
            readers: JoinSet::new(),
        };
        // The first page of a slice is read whatever its share: every slice comes on.
        self.start_reader(&mut pass);
        // What came behind the pages of the last commit and was not committed with them.
        let mut behind = None;
        loop {
            while pass.readers.len() < most && !pass.waiting.is_empty() && self.share.take_page() {
                self.start_reader(&mut pass);
            }
            let mut arrived = match behind.take() {
                Some(arrived) => arrived?,
                None => match next(&mut pages, &mut pass.readers).await? {
                    Some(page) => page.arrived().await?,
                    None => break,
                },
            };
            while arrived.joins() && arrived.commit.records.len() < COMMIT_RECORDS {
                // Only what is there already: nothing waits for a page that has not come yet.
                let Ok(page) = pages.try_recv() else { break };
                match page.arrived().await {
                    Ok(next) if next.joins() => arrived.join(next),
                    other => {
                        behind = Some(other);
                        break;
                    }
                }
            }
            self.commit(&mut pass, arrived).await?;
        }
        Ok(if pass.open.is_empty() { Slice::Finished } else { Slice::More })
    }

    /// Lets the next waiting partition be read, page after page, until it is caught up or the share is used up.
    fn start_reader(&self, pass: &mut Pass<'_>) {
        let Some(checkpoint) = pass.waiting.pop_front().and_then(|id| pass.open.get(&id)) else { return };
        let (store, session) = (self.store.clone(), self.session.clone());
        let (translator, share, org) = (self.translator.clone(), self.share.clone(), self.org.clone());
        let (stream, mode, partition) = (pass.stream.name, pass.mode, checkpoint.partition.clone());
        let (seats, in_hand, sender) = (pass.seats.clone(), pass.in_hand.clone(), pass.sender.clone());
        let mut cursor = checkpoint.cursor.clone();
        pass.readers.spawn(async move {
            // Closed only with the pass itself.
            while let Ok(in_hand) = in_hand.clone().acquire_owned().await {
                let page = async {
                    let read_seq = store.next_read_seq().await?;
                    let mut page = session.read_page(stream, mode, &partition, cursor.as_ref()).await?;
                    translator.complete(&*store, &org, &mut page.records).await?;
                    Ok((read_seq, page))
                };
                let (page, next) = match page.await {
                    Ok((read_seq, mut page)) => {
                        match page.split.take() {
                            Some(split) if seats.take(split.partitions.len()) => {
                                page.next = Next::More(split.rest.clone());
                                page.split = Some(split);
                            }
                            _ => {}
                        }
                        let next = page.next.clone();
                        let translator = translator.clone();
                        // While the next page is on its way.
                        let page = tokio::spawn(async move { translator.translated(read_seq, page) });
                        (Ok(AbortOnDropHandle::new(page)), Some(next))
                    }
                    Err(error) => (Err(error), None),
                };
                if let Some(Next::CaughtUp(_)) = next {
                    seats.free();
                }
                let arriving = Arriving { partition: partition.id.clone(), page, in_hand };
                if sender.send(arriving).await.is_err() {
                    break;
                }
                match next {
                    Some(Next::More(next)) if share.take_page() => cursor = Some(next),
                    _ => break,
                }
            }
        });
    }

    async fn commit(&self, pass: &mut Pass<'_>, arrived: Arrived) -> Result<(), SyncError> {
        let Arrived { pages, mut commit, in_hand } = arrived;
        let now = self.clock.now();
        (commit.at, commit.derive_at) = (now, now + DERIVE_DELAY);
        commit.generation = None;
        let mut moved: Vec<String> = Vec::new();
        let mut divided = Vec::new();
        for (id, read, page) in pages {
            let alone = pass.open.len() == 1;
            let Some(checkpoint) = pass.open.get_mut(&id) else { continue };
            // A count of the whole stream, where nothing of it has been read or given away.
            let whole =
                page.total.filter(|_| alone && checkpoint.cursor.is_none() && pass.mode == ReadMode::Full);
            if let Some(total) = whole.and_then(|total| i64::try_from(total).ok()) {
                self.expect(vec![(pass.stream.name.to_owned(), Some(total))], None).await?;
            }
            self.read_touched(page.touched).await?;
            let (cursor, caught_up) = match page.next {
                Next::More(cursor) => (cursor, false),
                Next::CaughtUp(cursor) => (cursor, true),
            };
            checkpoint.cursor = Some(cursor);
            checkpoint.caught_up = caught_up;
            checkpoint.records += read;
            checkpoint.total = page.total.and_then(|t| i64::try_from(t).ok()).or(checkpoint.total);
            checkpoint.updated_at = now;
            commit.tombstones.extend(page.tombstones);
            commit.generation = (pass.mode == ReadMode::Full).then_some(checkpoint.generation);
            divided.extend(page.split.into_iter().flat_map(|split| split.partitions).map(|partition| {
                Checkpoint {
                    stream: pass.stream.name.to_owned(),
                    partition,
                    cursor: None,
                    caught_up: false,
                    generation: checkpoint.generation,
                    records: 0,
                    total: None,
                    updated_at: now,
                }
            }));
            if !moved.contains(&id) {
                moved.push(id);
            }
        }
        let mut states = moved.iter().filter_map(|id| pass.open.get(id).cloned());
        commit.checkpoint = states.next();
        commit.others = states.chain(divided.iter().cloned()).collect();
        self.store.commit_ingest(&self.org, commit).await?;
        drop(in_hand);
        pass.open.retain(|_, checkpoint| !checkpoint.caught_up);
        for checkpoint in divided {
            pass.waiting.push_back(checkpoint.partition.id.clone());
            pass.open.insert(checkpoint.partition.id.clone(), checkpoint);
        }
        Ok(())
    }
}

/// The next page; `None` when every reader has ended and all that they sent has been taken.
async fn next(
    pages: &mut mpsc::Receiver<Arriving>,
    readers: &mut JoinSet<()>,
) -> Result<Option<Arriving>, SyncError> {
    loop {
        if let Ok(page) = pages.try_recv() {
            return Ok(Some(page));
        }
        if readers.is_empty() {
            return Ok(None);
        }
        tokio::select! {
            biased;
            page = pages.recv() => return Ok(page),
            Some(ended) = readers.join_next() => ended.map_err(abnormal)?,
        }
    }
}

/// A panic in a connector is the connector's fault; the job is tried again and ends as a dead letter.
pub(super) fn abnormal(error: JoinError) -> SyncError {
    ConnectorError::Transient(format!("reading ended abnormally: {error}")).into()
}

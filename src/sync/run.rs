//! The job that reads a run's streams, page by page.
//!
//! One slice of the job reads for a bounded time and then snoozes, so that a long backfill shares the
//! workers; the next slice goes on from the checkpoints. A page is committed whole: records, references,
//! links, dirty marks, checkpoint and counts in one unit, together with those that arrived behind it meanwhile.
//! While pages are committed the next ones are read and translated.

use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::{
    Clock, ConnectorError, Cursor, DynConnector, Next, Page, Priority, ReadMode, Record, RecordKey, Rejected,
    Session, Spec, StreamSpec,
};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::SyncError;
use super::ingest;
use super::links::LinkSettings;
use super::providers::{ConnectionSettings, Providers};
use super::start::RUN_JOB;
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::jobs::{Fence, JobOutcome};
use crate::domain::runs::{RunKind, RunStatus, SyncRun};
use crate::domain::{ConnectionId, OrgId, RunId};
use crate::jobs::{JobContext, JobHandler};
use crate::store::Store;
use crate::store::mirror::{Checkpoint, IngestCommit};

/// How much one slice reads before it lets others in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Pages.
    pub pages: u32,
    /// Time.
    pub time: Duration,
}

/// Pages that arrived are committed together up to about so many records.
const COMMIT_RECORDS: usize = 512;
/// Pages read ahead of those that are committed.
const PAGES_AHEAD: usize = 6;
/// Rows that one sweep turns into tombstones in a unit.
const SWEEP: i64 = 500;
/// What a slice may take beyond its own time before it counts as hanging: one page and its commit.
const GRACE: Duration = Duration::from_secs(160);
/// While a run reads, derivation waits this long after a change: customers and their subscriptions come
/// on different pages, and deriving in between would be work for nothing. The run's end hastens it. Less
/// than the age at which the scan for forgotten marks takes them up.
const DERIVE_DELAY: Duration = Duration::from_secs(20);

/// The handler of [`RUN_JOB`].
pub struct RunHandler {
    store: Arc<dyn Store>,
    providers: Arc<Providers>,
    clock: Arc<dyn Clock>,
    limits: RunLimits,
}

#[derive(Deserialize)]
struct Args {
    run: RunId,
}

/// How a slice ended.
enum Slice {
    Finished,
    More,
}

impl RunHandler {
    /// Over the store and the providers.
    pub fn new(
        store: Arc<dyn Store>,
        providers: Arc<Providers>,
        clock: Arc<dyn Clock>,
        limits: RunLimits,
    ) -> Self {
        Self { store, providers, clock, limits }
    }

    async fn slice(
        &self,
        cx: &JobContext,
        run: &mut SyncRun,
        connection: &Connection,
    ) -> Result<Slice, SyncError> {
        let priority = match run.kind {
            RunKind::Incremental => Priority::Incremental,
            RunKind::Backfill | RunKind::FullResync => Priority::Backfill,
        };
        let connector = self.providers.connector(&connection.connector)?.clone();
        let session: Arc<dyn Session> = Arc::from(self.providers.session(connection, priority).await?);
        let translator = Translator {
            spec: connector.spec(),
            connector,
            link: ConnectionSettings::parse(&connection.config)?.link,
            connection: connection.id.clone(),
            run: run.id.clone(),
            fence: cx.job.fence.clone(),
            clock: self.clock.clone(),
        };
        let reader = Reader {
            handler: self,
            cx,
            translator: Arc::new(translator),
            session,
            org: connection.org_id.clone(),
            connection: connection.id.clone(),
            run: run.id.clone(),
            share: Arc::new(Share {
                until: Instant::now() + self.limits.time,
                pages_left: AtomicU32::new(self.limits.pages),
                stop: cx.stop.clone(),
            }),
        };
        let unfinished: Vec<_> = run
            .streams
            .iter()
            .filter(|s| s.state == "pending" || s.state == "running")
            .map(|s| (s.stream.clone(), s.state == "running"))
            .collect();
        for (stream, begun) in unfinished {
            let Some(stream) = reader.translator.spec.stream(&stream).cloned() else {
                reader.set_stream(&stream, "skipped", Some("this build has no such stream")).await?;
                continue;
            };
            match reader.read_stream(&stream, run.kind, begun).await {
                Ok(Slice::Finished) => {}
                Ok(Slice::More) => return Ok(Slice::More),
                Err(SyncError::Connector(ConnectorError::NotOffered(reason))) => {
                    reader.set_stream(stream.name, "skipped", Some(&reason)).await?;
                }
                Err(SyncError::Connector(ConnectorError::Auth {
                    message,
                    missing_permission: Some(permission),
                })) => {
                    let reason = format!("permission {permission} is missing: {message}");
                    reader.set_stream(stream.name, "skipped", Some(&reason)).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Slice::Finished)
    }

    /// A run that will not be tried again says so; a connection whose credentials are refused asks for a
    /// person.
    async fn give_up(
        &self,
        run: &SyncRun,
        connection: &Connection,
        reason: &str,
        needs_person: bool,
    ) -> Result<(), SyncError> {
        let now = self.clock.now();
        let stored = self.store.find_run(&connection.org_id, &run.id).await?;
        let mut run = stored.unwrap_or_else(|| run.clone());
        run.status = RunStatus::Failed;
        run.error = Some(reason.to_owned());
        run.finished_at = Some(now);
        self.store.put_run(&connection.org_id, &run).await?;
        if needs_person {
            let status = ConnectionStatus::NeedsAttention;
            self.store
                .set_connection_status(&connection.org_id, &connection.id, status, Some(reason), now)
                .await?;
        }
        Ok(())
    }
}

#[async_trait]
impl JobHandler for RunHandler {
    fn kind(&self) -> &'static str {
        RUN_JOB
    }

    fn timeout(&self) -> Duration {
        self.limits.time + GRACE
    }

    async fn run(&self, cx: JobContext) -> JobOutcome {
        let args: Args = match serde_json::from_value(cx.job.args.clone()) {
            Ok(args) => args,
            Err(e) => return JobOutcome::Discard(format!("arguments: {e}")),
        };
        let loaded = async {
            let Some(run) = self.store.find_run(&cx.job.org_id, &args.run).await? else {
                return Err(SyncError::Gone(format!("run {} is no longer there", args.run)));
            };
            let connection = self.store.find_connection(&cx.job.org_id, run.connection_id.as_str()).await?;
            connection
                .map(|c| (run, c))
                .ok_or_else(|| SyncError::Gone("the connection was removed".to_owned()))
        };
        let (mut run, connection) = match loaded.await {
            Ok(both) => both,
            Err(error) => return error.outcome(self.clock.now()),
        };
        if run.status != RunStatus::Running {
            return JobOutcome::Done;
        }
        if connection.status == ConnectionStatus::Paused {
            return match self.give_up(&run, &connection, "the connection is paused", false).await {
                Ok(()) => JobOutcome::Done,
                Err(error) => error.outcome(self.clock.now()),
            };
        }
        match self.slice(&cx, &mut run, &connection).await {
            Ok(Slice::More) => JobOutcome::Snooze(Duration::ZERO),
            Ok(Slice::Finished) => match self.finish(&run, &connection).await {
                Ok(()) => JobOutcome::Done,
                Err(error) => error.outcome(self.clock.now()),
            },
            Err(error) => {
                let needs_person = error.needs_person();
                let reason = error.to_string();
                let outcome = error.outcome(self.clock.now());
                let last = match &outcome {
                    JobOutcome::Discard(_) => true,
                    JobOutcome::Retry { .. } => cx.job.attempts + 1 >= cx.job.max_attempts,
                    JobOutcome::Done | JobOutcome::Snooze(_) => false,
                };
                if last && let Err(error) = self.give_up(&run, &connection, &reason, needs_person).await {
                    tracing::warn!(run = %run.id, %error, "the run's end could not be recorded");
                }
                outcome
            }
        }
    }
}

impl RunHandler {
    async fn finish(&self, run: &SyncRun, connection: &Connection) -> Result<(), SyncError> {
        if connection.status == ConnectionStatus::NeedsAttention {
            self.store
                .set_connection_status(
                    &connection.org_id,
                    &connection.id,
                    ConnectionStatus::Active,
                    None,
                    self.clock.now(),
                )
                .await?;
        }
        // Everything is read: what waited for the rest of its records is derived now.
        self.store.mark_dirty(&connection.org_id, &[], "run", self.clock.now()).await?;
        tracing::info!(run = %run.id, connection = %connection.id, "run finished");
        Ok(())
    }
}

/// Reads streams for one slice.
struct Reader<'a> {
    handler: &'a RunHandler,
    cx: &'a JobContext,
    translator: Arc<Translator>,
    session: Arc<dyn Session>,
    org: OrgId,
    connection: ConnectionId,
    run: RunId,
    share: Arc<Share>,
}

/// How much a slice may still read.
struct Share {
    until: Instant,
    pages_left: AtomicU32,
    stop: CancellationToken,
}

impl Share {
    /// Whether one page more is read, which is taken off.
    fn take_page(&self) -> bool {
        Instant::now() < self.until
            && !self.stop.is_cancelled()
            && self.pages_left.fetch_sub(1, Ordering::Relaxed) > 1
    }
}

/// Pages on their way, in their order: each is being translated.
type Arriving = mpsc::Receiver<Result<AbortOnDropHandle<Arrived>, SyncError>>;

/// A page that was read and translated.
struct Arrived {
    /// The page; its records and rejected items are in `commit`.
    page: Page,
    commit: IngestCommit,
}

impl Arrived {
    /// Whether it may be committed in one unit with the page before it. Between a deletion, or what a change
    /// feed names, and a record the order matters.
    fn joins(&self) -> bool {
        self.page.touched.is_empty() && self.page.tombstones.is_empty() && self.page.split.is_empty()
    }

    fn join(&mut self, next: Self) {
        self.commit.records.extend(next.commit.records);
        self.commit.rejected.extend(next.commit.rejected);
        self.commit.parties.extend(next.commit.parties);
        self.commit.pages += next.commit.pages;
        self.page.total = next.page.total.or(self.page.total);
        self.page.next = next.page.next;
    }
}

/// Turns records into a commit of this run.
struct Translator {
    connector: Arc<dyn DynConnector>,
    spec: Spec,
    link: LinkSettings,
    connection: ConnectionId,
    run: RunId,
    fence: Fence,
    clock: Arc<dyn Clock>,
}

impl Translator {
    fn arrived(&self, read_seq: i64, mut page: Page) -> Arrived {
        let (records, rejected) = (take(&mut page.records), take(&mut page.rejected));
        let mut commit = self.commit(read_seq, records, rejected);
        commit.pages = 1;
        Arrived { page, commit }
    }

    fn commit(&self, read_seq: i64, records: Vec<Record>, rejected: Vec<Rejected>) -> IngestCommit {
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

impl Reader<'_> {
    async fn set_stream(&self, stream: &str, state: &str, reason: Option<&str>) -> Result<(), SyncError> {
        let now = self.handler.clock.now();
        self.handler.store.set_run_stream(&self.org, &self.run, stream, state, reason, now).await?;
        Ok(())
    }

    async fn read_stream(&self, stream: &StreamSpec, kind: RunKind, begun: bool) -> Result<Slice, SyncError> {
        let full = kind != RunKind::Incremental || !stream.incremental;
        let mode = if full { ReadMode::Full } else { ReadMode::Incremental };
        if !begun {
            self.begin(stream, mode).await?;
            self.set_stream(stream.name, "running", None).await?;
        }
        // A split adds checkpoints, so the list is loaded again until every partition is read.
        loop {
            let pass = self.handler.store.load_pass(&self.org, &self.connection, stream.name).await?;
            let open: Vec<_> = pass.checkpoints.into_iter().filter(|c| !c.caught_up).collect();
            if open.is_empty() {
                break;
            }
            for checkpoint in open {
                if let Slice::More = self.read_partition(stream, mode, checkpoint).await? {
                    return Ok(Slice::More);
                }
            }
        }
        loop {
            let swept = self
                .handler
                .store
                .finish_pass(
                    &self.org,
                    &self.connection,
                    stream.name,
                    full && stream.full_pass_deletes,
                    SWEEP,
                    Some(&self.cx.job.fence),
                    self.handler.clock.now(),
                )
                .await?;
            if swept.counts.deleted < SWEEP {
                break;
            }
        }
        self.set_stream(stream.name, "done", None).await?;
        Ok(Slice::Finished)
    }

    /// Begins a pass. An incremental one goes on from the cursors that the last pass was caught up with.
    async fn begin(&self, stream: &StreamSpec, mode: ReadMode) -> Result<(), SyncError> {
        let now = self.handler.clock.now();
        let planned = self.session.plan(stream.name, mode, now).await?;
        let partitions = match mode {
            ReadMode::Full => planned.into_iter().map(|p| (p, None)).collect(),
            ReadMode::Incremental => {
                let old = self.handler.store.load_pass(&self.org, &self.connection, stream.name).await?;
                let mut partitions = Vec::with_capacity(planned.len());
                for partition in planned {
                    let cursor = match old.checkpoints.iter().find(|c| c.partition.id == partition.id) {
                        Some(same) => same.cursor.clone().filter(|_| same.caught_up),
                        None => self.joined_cursor(stream, &old.checkpoints)?,
                    };
                    partitions.push((partition, cursor));
                }
                partitions
            }
        };
        self.handler
            .store
            .begin_pass(
                &self.org,
                &self.connection,
                stream.name,
                mode == ReadMode::Full,
                partitions,
                Some(&self.cx.job.fence),
                now,
            )
            .await?;
        Ok(())
    }

    /// Where a partition goes on that the last pass did not have, because it was cut otherwise.
    fn joined_cursor(
        &self,
        stream: &StreamSpec,
        checkpoints: &[Checkpoint],
    ) -> Result<Option<Cursor>, SyncError> {
        let ends: Option<Vec<Cursor>> =
            checkpoints.iter().map(|c| c.cursor.clone().filter(|_| c.caught_up)).collect();
        Ok(match ends {
            Some(ends) if !ends.is_empty() => self.session.join_cursors(stream.name, &ends)?,
            _ => None,
        })
    }

    async fn read_partition(
        &self,
        stream: &StreamSpec,
        mode: ReadMode,
        mut checkpoint: Checkpoint,
    ) -> Result<Slice, SyncError> {
        let (mut pages, reading) = self.read(stream, mode, &checkpoint);
        let mut finished = false;
        // What came behind the pages of the last commit and was not committed with them.
        let mut behind = None;
        loop {
            let mut arrived = match behind.take() {
                Some(arrived) => arrived?,
                None => match pages.recv().await {
                    Some(page) => joined(page?).await?,
                    None => break,
                },
            };
            while arrived.joins() && arrived.commit.records.len() < COMMIT_RECORDS {
                // Only what is there already: nothing waits for a page that has not come yet.
                let Ok(page) = pages.try_recv() else { break };
                let next = match page {
                    Ok(page) => joined(page).await,
                    Err(error) => Err(error),
                };
                match next {
                    Ok(next) if next.joins() => arrived.join(next),
                    other => {
                        behind = Some(other);
                        break;
                    }
                }
            }
            finished = matches!(arrived.page.next, Next::CaughtUp(_));
            self.commit(stream, mode, &mut checkpoint, arrived.page, arrived.commit).await?;
        }
        if finished {
            return Ok(Slice::Finished);
        }
        // A reader that ended for another reason than its share is told from one that has more to read.
        reading.await.map_err(abnormal)?;
        Ok(Slice::More)
    }

    /// Reads a partition's pages, one after the other, until it is caught up or this slice's share is used up.
    fn read(
        &self,
        stream: &StreamSpec,
        mode: ReadMode,
        checkpoint: &Checkpoint,
    ) -> (Arriving, AbortOnDropHandle<()>) {
        let (store, session) = (self.handler.store.clone(), self.session.clone());
        let (stream, partition) = (stream.name, checkpoint.partition.clone());
        let (translator, share) = (self.translator.clone(), self.share.clone());
        let mut cursor = checkpoint.cursor.clone();
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let reading = tokio::spawn(async move {
            loop {
                let page = async {
                    let read_seq = store.next_read_seq().await?;
                    let page = session.read_page(stream, mode, &partition, cursor.as_ref()).await?;
                    Ok((read_seq, page))
                };
                let (arrived, next) = match page.await {
                    Ok((read_seq, page)) => {
                        let next = page.next.clone();
                        let translator = translator.clone();
                        // While the next page is on its way.
                        let arrived = tokio::spawn(async move { translator.arrived(read_seq, page) });
                        (Ok(AbortOnDropHandle::new(arrived)), Some(next))
                    }
                    Err(error) => (Err(error), None),
                };
                if sender.send(arrived).await.is_err() {
                    break;
                }
                match next {
                    Some(Next::More(next)) if share.take_page() => cursor = Some(next),
                    _ => break,
                }
            }
        });
        (pages, AbortOnDropHandle::new(reading))
    }

    async fn commit(
        &self,
        stream: &StreamSpec,
        mode: ReadMode,
        checkpoint: &mut Checkpoint,
        page: Page,
        mut commit: IngestCommit,
    ) -> Result<(), SyncError> {
        self.read_touched(page.touched).await?;
        let now = self.handler.clock.now();
        (commit.at, commit.derive_at) = (now, now + DERIVE_DELAY);
        let (cursor, caught_up) = match page.next {
            Next::More(cursor) => (cursor, false),
            Next::CaughtUp(cursor) => (cursor, true),
        };
        checkpoint.cursor = Some(cursor);
        checkpoint.caught_up = caught_up;
        checkpoint.records += i64::try_from(commit.records.len()).unwrap_or(i64::MAX);
        checkpoint.total = page.total.and_then(|t| i64::try_from(t).ok()).or(checkpoint.total);
        checkpoint.updated_at = now;
        commit.tombstones = page.tombstones;
        commit.generation = (mode == ReadMode::Full).then_some(checkpoint.generation);
        commit.checkpoint = Some(checkpoint.clone());
        commit.split = page
            .split
            .into_iter()
            .map(|partition| Checkpoint {
                stream: stream.name.to_owned(),
                partition,
                cursor: None,
                caught_up: false,
                generation: checkpoint.generation,
                records: 0,
                total: None,
                updated_at: now,
            })
            .collect();
        self.handler.store.commit_ingest(&self.org, commit).await?;
        Ok(())
    }

    /// Objects that a change feed names are read now, as a webhook's touches are, and committed before the
    /// page's checkpoint moves past them.
    async fn read_touched(&self, mut touched: Vec<RecordKey>) -> Result<(), SyncError> {
        touched.sort_unstable();
        touched.dedup();
        for keys in touched.chunk_by(|a, b| a.stream == b.stream) {
            let Some(first) = keys.first() else { continue };
            let ids: Vec<_> = keys.iter().map(|k| k.id.clone()).collect();
            let read_seq = self.handler.store.next_read_seq().await?;
            let batch = self.session.read_many(&first.stream, &ids).await?;
            let mut commit = self.translator.commit(read_seq, batch.records, batch.rejected);
            commit.tombstones = batch.tombstones;
            self.handler.store.commit_ingest(&self.org, commit).await?;
        }
        Ok(())
    }
}

async fn joined(translating: AbortOnDropHandle<Arrived>) -> Result<Arrived, SyncError> {
    translating.await.map_err(abnormal)
}

/// A panic in a connector is the connector's fault; the job is tried again and ends as a dead letter.
fn abnormal(error: JoinError) -> SyncError {
    ConnectorError::Transient(format!("reading ended abnormally: {error}")).into()
}

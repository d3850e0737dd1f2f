//! The job that reads a run's streams.
//!
//! One slice of the job reads for a bounded time and then snoozes, so that a long backfill shares the
//! workers; the next slice goes on from the checkpoints. Pages are read by `reader`, the list of what
//! changed by `feed`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::{Clock, ConnectorError, Priority, Session};
use serde::Deserialize;

use super::SyncError;
use super::providers::{ConnectionSettings, Providers};
use super::reader::{Reader, Share, Slice, Translator};
use super::start::RUN_JOB;
use crate::domain::RunId;
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::jobs::JobOutcome;
use crate::domain::runs::{RunKind, RunStatus, SyncRun};
use crate::jobs::{JobContext, JobHandler};
use crate::store::Store;

/// How much one slice reads before it lets others in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Pages.
    pub pages: u32,
    /// Time.
    pub time: Duration,
}

/// What a slice may take beyond its own time before it counts as hanging: one page and its commit.
const GRACE: Duration = Duration::from_secs(160);
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
            store: self.store.clone(),
            clock: self.clock.clone(),
            translator: Arc::new(translator),
            session,
            org: connection.org_id.clone(),
            connection: connection.id.clone(),
            run: run.id.clone(),
            fence: cx.job.fence.clone(),
            share: Arc::new(Share::new(self.limits.time, self.limits.pages, cx.stop.clone())),
        };
        let spec = reader.translator.spec.clone();
        let unfinished: Vec<_> = run
            .streams
            .iter()
            .filter(|s| s.state == "pending" || s.state == "running")
            .map(|s| (s.stream.clone(), s.state == "running"))
            .collect();
        let mut fed = reader.fed(run).await?;
        if run.kind != RunKind::Incremental && run.streams.iter().all(|s| s.state == "pending") {
            let mut expected = Vec::with_capacity(run.streams.len());
            for (stream, _) in &unfinished {
                expected.push((stream.clone(), reader.last_count(stream).await?));
            }
            reader.expect(expected, None).await?;
        }
        for (name, begun) in unfinished {
            if let Some(feed) = spec.feed.as_ref().filter(|feed| feed.name == name) {
                match reader.read_feed(feed, run.kind, begun).await? {
                    Some(end) => fed = end,
                    None => return Ok(Slice::More),
                }
                continue;
            }
            let Some(stream) = spec.stream(&name).cloned() else {
                reader.set_stream(&name, "skipped", Some("this build has no such stream")).await?;
                continue;
            };
            let way = reader.way(&stream, run.kind, begun, fed).await?;
            match reader.read_stream(&stream, &way, begun).await {
                Ok(Slice::Finished) => {}
                Ok(Slice::More) => return Ok(Slice::More),
                Err(SyncError::Connector(error)) => match unreadable(error) {
                    Ok(reason) => reader.set_stream(stream.name, "skipped", Some(&reason)).await?,
                    Err(error) => return Err(error.into()),
                },
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

/// Why one stream cannot be read while the others can; any other error comes back.
pub(super) fn unreadable(error: ConnectorError) -> Result<String, ConnectorError> {
    match error {
        ConnectorError::NotOffered(_) => Ok(error.to_string()),
        ConnectorError::Auth { message, missing_permission: Some(permission) } => {
            Ok(format!("permission {permission} is missing: {message}"))
        }
        error => Err(error),
    }
}

//! The job that a schedule's tick inserts: it makes the run that the tick stands for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::Clock;
use serde::Deserialize;

use super::SyncError;
use super::providers::Providers;
use super::start::{RunRequest, SCHEDULED_JOB, start_run};
use crate::domain::connections::ConnectionStatus;
use crate::domain::jobs::JobOutcome;
use crate::domain::runs::RunKind;
use crate::jobs::{JobContext, JobHandler};
use crate::store::Store;

/// The handler of [`SCHEDULED_JOB`].
pub struct ScheduledHandler {
    store: Arc<dyn Store>,
    providers: Arc<Providers>,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct Args {
    kind: RunKind,
}

impl ScheduledHandler {
    /// Over the store and the providers.
    pub fn new(store: Arc<dyn Store>, providers: Arc<Providers>, clock: Arc<dyn Clock>) -> Self {
        Self { store, providers, clock }
    }

    async fn start(&self, cx: &JobContext) -> Result<(), SyncError> {
        let args: Args = serde_json::from_value(cx.job.args.clone())
            .map_err(|e| SyncError::Gone(format!("arguments: {e}")))?;
        let Some(id) = &cx.job.connection_id else {
            return Err(SyncError::Gone("the job names no connection".to_owned()));
        };
        let connection = self.store.find_connection(&cx.job.org_id, id.as_str()).await?;
        let Some(connection) = connection else {
            return Err(SyncError::Gone("the connection was removed".to_owned()));
        };
        // A connection that waits for a person is not asked again and again with the credentials that were
        // refused; `connections check` or `connect` wakes it.
        if connection.status != ConnectionStatus::Active {
            return Ok(());
        }
        let spec = self.providers.connector(&connection.connector)?.spec();
        let request = RunRequest { kind: args.kind, trigger: "schedule", streams: Vec::new() };
        start_run(&*self.store, &*self.clock, &spec, &connection, request).await?;
        Ok(())
    }
}

#[async_trait]
impl JobHandler for ScheduledHandler {
    fn kind(&self) -> &'static str {
        SCHEDULED_JOB
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn run(&self, cx: JobContext) -> JobOutcome {
        match self.start(&cx).await {
            Ok(()) => JobOutcome::Done,
            Err(error) => error.outcome(self.clock.now()),
        }
    }
}

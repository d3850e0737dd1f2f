//! Records read again by their keys and stored, through the same ingest as pages and webhooks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::{Clock, Priority, RecordKey};
use serde::Deserialize;

use super::SyncError;
use super::ingest;
use super::providers::{ConnectionSettings, Providers};
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::jobs::{Fence, JobOutcome};
use crate::domain::runs::Counts;
use crate::jobs::{JobContext, JobHandler};
use crate::store::Store;
use crate::store::mirror::REREAD_KIND;

/// Records in one read and one commit.
const TOGETHER: usize = 100;

/// Reads these records from the provider and stores them; one that the provider no longer has becomes a tombstone.
/// Streams that may not be read are passed over and named in the answer.
///
/// # Errors
/// The provider's, and the store's.
pub async fn reread(
    store: &dyn Store,
    providers: &Providers,
    clock: &dyn Clock,
    connection: &Connection,
    keys: &[RecordKey],
    priority: Priority,
    fence: Option<&Fence>,
) -> Result<(Counts, BTreeMap<String, String>), SyncError> {
    let connector = providers.connector(&connection.connector)?.clone();
    let spec = connector.spec();
    let link = ConnectionSettings::parse(&connection.config)?.link;
    let session = providers.session(connection, priority).await?;
    let mut by_stream: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for key in keys.iter().filter(|key| spec.stream(&key.stream).is_some()) {
        by_stream.entry(&key.stream).or_default().push(key.id.clone());
    }
    // Parties first, so that what belongs to them finds its company when it is stored.
    let mut streams: Vec<_> = by_stream.into_iter().collect();
    streams.sort_by_key(|(name, _)| spec.stream(name).map(|s| s.order));
    let (mut counts, mut skipped) = (Counts::default(), BTreeMap::new());
    for (stream, mut ids) in streams {
        ids.sort_unstable();
        ids.dedup();
        for piece in ids.chunks(TOGETHER) {
            // Taken before anything is asked for: what is read now is newer than any page read before.
            let read_seq = store.next_read_seq().await?;
            let mut batch = match session.read_many(stream, piece).await {
                Ok(batch) => batch,
                Err(error) if error.is_of_one_stream() => {
                    skipped.insert(stream.to_owned(), error.to_string());
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let (org, records) = (&connection.org_id, &mut batch.records);
            ingest::complete(store, org, &connection.id, &*connector, records).await?;
            let prepared = ingest::prepare(&*connector, &spec, &link, read_seq, batch.records);
            let mut commit =
                prepared.into_commit(connection.id.clone(), read_seq, batch.rejected, clock.now());
            commit.tombstones = batch.tombstones;
            commit.fence = fence.cloned();
            counts.add(&store.commit_ingest(&connection.org_id, commit).await?.counts);
        }
    }
    Ok((counts, skipped))
}

/// A read of some hundred records and its commit.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a job waits for a connection that cannot be read.
const LATER: Duration = Duration::from_secs(3_600);

/// The handler of [`REREAD_KIND`].
pub struct RereadHandler {
    store: Arc<dyn Store>,
    providers: Arc<Providers>,
    clock: Arc<dyn Clock>,
}

impl RereadHandler {
    /// Over the store and the providers.
    pub fn new(store: Arc<dyn Store>, providers: Arc<Providers>, clock: Arc<dyn Clock>) -> Self {
        Self { store, providers, clock }
    }
}

#[derive(Deserialize)]
struct Args {
    keys: Vec<String>,
}

#[async_trait]
impl JobHandler for RereadHandler {
    fn kind(&self) -> &'static str {
        REREAD_KIND
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    async fn run(&self, cx: JobContext) -> JobOutcome {
        let (Some(id), Ok(Args { keys })) = (&cx.job.connection_id, Args::deserialize(&cx.job.args)) else {
            return JobOutcome::Discard("the job names no connection or no keys".to_owned());
        };
        let split = |key: &String| key.split_once('/').map(|(stream, id)| RecordKey::new(stream, id));
        let keys: Vec<RecordKey> = keys.iter().filter_map(split).collect();
        let result = async {
            let connection = self.store.find_connection(&cx.job.org_id, id.as_str()).await?;
            let connection =
                connection.ok_or_else(|| SyncError::Gone("the connection was removed".to_owned()))?;
            if connection.status != ConnectionStatus::Active {
                return Ok(false);
            }
            let (store, priority, fence) = (&*self.store, Priority::Webhook, Some(cx.fence()));
            let read =
                reread(store, &self.providers, &*self.clock, &connection, &keys, priority, fence).await;
            match read {
                Err(error) if error.needs_person() => {
                    self.providers.note_unusable(&connection, &error).await?;
                    Ok(false)
                }
                other => other.map(|_| true),
            }
        };
        match result.await {
            Ok(true) => JobOutcome::Done,
            // A person has to mend it first.
            Ok(false) => JobOutcome::Snooze(LATER),
            Err(SyncError::Gone(_)) => JobOutcome::Done,
            Err(error) => error.outcome(self.clock.now()),
        }
    }
}

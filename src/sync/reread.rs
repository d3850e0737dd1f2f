//! Records read again by their keys and stored, through the same ingest as pages and webhooks.

use std::collections::BTreeMap;

use connector_sdk::{Clock, Priority, RecordKey};

use super::SyncError;
use super::ingest;
use super::providers::{ConnectionSettings, Providers};
use crate::domain::connections::Connection;
use crate::domain::runs::Counts;
use crate::store::Store;

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
            let batch = match session.read_many(stream, piece).await {
                Ok(batch) => batch,
                Err(error) if error.is_of_one_stream() => {
                    skipped.insert(stream.to_owned(), error.to_string());
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let prepared = ingest::prepare(&*connector, &spec, &link, read_seq, batch.records);
            let mut commit =
                prepared.into_commit(connection.id.clone(), read_seq, batch.rejected, clock.now());
            commit.tombstones = batch.tombstones;
            counts.add(&store.commit_ingest(&connection.org_id, commit).await?.counts);
        }
    }
    Ok((counts, skipped))
}

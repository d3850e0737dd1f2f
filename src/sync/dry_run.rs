//! What a full read would change, without changing anything.

use std::collections::HashMap;

use connector_sdk::{Priority, RecordKey, StreamSpec, Timestamp};

use super::SyncError;
use super::canonical::canonical_hash;
use super::ingest::prepare;
use super::providers::{ConnectionSettings, Providers};
use super::whole::WholeRead;
use crate::domain::connections::Connection;
use crate::domain::runs::StreamProgress;
use crate::store::Store;

/// Reads the streams from the provider and compares them with the mirror. `deleted` counts stored records
/// that the provider no longer lists, for streams where that means that they are gone.
pub async fn dry_run(
    store: &dyn Store,
    providers: &Providers,
    connection: &Connection,
    streams: &[String],
    now: Timestamp,
    mut progress: impl FnMut(&StreamProgress),
) -> Result<Vec<StreamProgress>, SyncError> {
    let connector = providers.connector(&connection.connector)?.clone();
    let spec = connector.spec();
    let link = ConnectionSettings::parse(&connection.config)?.link;
    let session = providers.session(connection, Priority::Backfill).await?;
    let stored: HashMap<_, _> = store
        .count_records(&connection.org_id, &connection.id)
        .await?
        .into_iter()
        .map(|c| (c.stream, c.records))
        .collect();
    let mut wanted: Vec<&StreamSpec> =
        spec.streams.iter().filter(|s| streams.is_empty() || streams.iter().any(|w| w == s.name)).collect();
    wanted.sort_by_key(|s| (s.order, s.name));
    let mut answers = Vec::new();
    for stream in wanted {
        let mut answer = StreamProgress {
            stream: stream.name.to_owned(),
            state: "done".to_owned(),
            ..StreamProgress::default()
        };
        let mut still_there = 0;
        let mut pages = WholeRead::begin(&*session, stream.name, now).await?;
        loop {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) if error.is_of_one_stream() => {
                    "skipped".clone_into(&mut answer.state);
                    answer.reason = Some(error.to_string());
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let prepared = prepare(&*connector, &spec, &link, 0, page.records);
            let keys: Vec<RecordKey> = prepared.records.iter().map(|r| r.key.clone()).collect();
            let have: HashMap<_, _> = store
                .load_records(&connection.org_id, &connection.id, &keys)
                .await?
                .into_iter()
                .map(|r| (r.key.clone(), r))
                .collect();
            let counts = &mut answer.counts;
            counts.pages += 1;
            counts.rejected += count(page.rejected.len() + prepared.rejected.len());
            for record in &prepared.records {
                counts.read += 1;
                match have.get(&record.key) {
                    Some(old) if old.deleted_at.is_none() => {
                        still_there += 1;
                        let same = canonical_hash(&old.payload).is_ok_and(|hash| hash == record.hash);
                        *(if same { &mut counts.unchanged } else { &mut counts.updated }) += 1;
                    }
                    _ => counts.created += 1,
                }
            }
            progress(&answer);
        }
        if answer.state == "done" && stream.full_pass_deletes {
            let before = stored.get(stream.name).copied().unwrap_or(0);
            answer.counts.deleted = (before - still_there).max(0);
        }
        progress(&answer);
        answers.push(answer);
    }
    Ok(answers)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

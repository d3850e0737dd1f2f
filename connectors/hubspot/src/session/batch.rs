//! Objects by id.

use std::collections::BTreeSet;

use connector_sdk::{Batch, ConnectorError};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::associate::Source;
use super::pages::merged;
use super::{CALLS_AT_ONCE, HubSpotSession, Objects, gone};
use crate::client::Area;
use crate::object::{self, List};

/// HubSpot reads so many objects in one call.
pub(super) const BATCH: usize = 100;

impl HubSpotSession {
    pub(super) async fn objects_by_id(&self, of: Objects, ids: &[&str]) -> Result<Batch, ConnectorError> {
        let mut out = Batch::default();
        let mut numbers = Vec::with_capacity(ids.len());
        for id in ids {
            match object::id(id) {
                Some(number) => numbers.push(number),
                None => out.tombstones.push(gone(of.1, id)),
            }
        }
        let read = self.all_of(of, &numbers).await?;
        out.records = read.records;
        out.rejected = read.rejected;
        out.tombstones.extend(read.tombstones);
        out.tombstones.sort_unstable();
        out.tombstones.dedup();
        Ok(out)
    }

    /// Any number of objects, in batches.
    pub(super) async fn all_of(&self, of: Objects, ids: &[u64]) -> Result<Batch, ConnectorError> {
        let mut out = Batch::default();
        let chunks: Vec<_> = ids.chunks(BATCH).map(|ids| self.batch_of(of, ids)).collect();
        let batches: Vec<Batch> =
            futures_util::stream::iter(chunks).buffered(CALLS_AT_ONCE).try_collect().await?;
        for batch in batches {
            out.records.extend(batch.records);
            out.rejected.extend(batch.rejected);
            out.tombstones.extend(batch.tombstones);
        }
        // What two asked-for ids were merged into comes twice where they were asked for in two calls.
        let mut seen = BTreeSet::new();
        out.records.retain(|record| seen.insert(record.key.clone()));
        out.tombstones.sort_unstable();
        out.tombstones.dedup();
        Ok(out)
    }

    /// At most [`BATCH`] objects. An id that is not answered is gone: deleted, or merged into an object that is
    /// answered instead.
    async fn batch_of(&self, of: Objects, ids: &[u64]) -> Result<Batch, ConnectorError> {
        let mut out = Batch::default();
        if ids.is_empty() {
            return Ok(out);
        }
        let (_, stream, object) = of;
        let inputs: Vec<_> = ids.iter().map(|id| json!({"id": id.to_string()})).collect();
        let body = json!({"inputs": inputs, "properties": self.properties(stream, object)});
        let area = Area::Objects(stream.spec.name);
        let call = self.client.post("POST /crm/objects/:type/batch/read", area, &["batch", "read"], &body)?;
        let answer = self.sent(of, &call).await?;
        let list: List<'_> = answer.json()?;
        if list.errors.iter().flatten().any(|error| !error.is_absence()) {
            return Err(ConnectorError::Transient(format!("{}: a part of the batch failed", call.endpoint)));
        }
        let mut found = Vec::with_capacity(list.results.len());
        for raw in &list.results {
            match object::read(stream.spec.name, raw.get()) {
                Ok(one) => found.push(one),
                Err(rejected) => out.rejected.push(rejected),
            }
        }
        let answered: BTreeSet<u64> = found.iter().map(|one| one.id).collect();
        // An item that cannot be read may be any of them.
        if out.rejected.is_empty() {
            let absent = ids.iter().filter(|id| !answered.contains(id));
            out.tombstones.extend(absent.map(|id| gone(stream, &id.to_string())));
        }
        out.tombstones.extend(merged(stream.spec.name, &found));
        out.tombstones.sort_unstable();
        out.tombstones.dedup();
        out.records = self.records(of, found, Source::Plain).await?;
        Ok(out)
    }
}

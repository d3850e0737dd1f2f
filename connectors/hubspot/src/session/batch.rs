//! Objects by id.

use std::collections::BTreeSet;

use connector_sdk::{Answer, Batch, ConnectorError};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::associate::{ASSOCIATION_INPUTS, Source};
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
        for some in numbers.chunks(ASSOCIATION_INPUTS) {
            let batch = self.batch_of(of, some).await?;
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

    /// Objects by id, [`BATCH`] in a call, and what all of them are associated with at once: it takes a call for each
    /// [`ASSOCIATION_INPUTS`] of them. An id that is not answered is gone: deleted, or merged into an object that is
    /// answered instead.
    pub(super) async fn batch_of(&self, of: Objects, ids: &[u64]) -> Result<Batch, ConnectorError> {
        let mut out = Batch::default();
        let (_, stream, object) = of;
        let properties = self.properties(stream, object);
        let area = Area::Objects(stream.spec.name);
        let mut calls = Vec::with_capacity(ids.len().div_ceil(BATCH));
        for ids in ids.chunks(BATCH) {
            let inputs: Vec<_> = ids.iter().map(|id| json!({"id": id.to_string()})).collect();
            let body = json!({"inputs": inputs, "properties": properties});
            let call =
                self.client.post("POST /crm/objects/:type/batch/read", area, &["batch", "read"], &body)?;
            calls.push(call);
        }
        let sent: Vec<_> = calls.iter().map(|call| self.sent(of, call)).collect();
        let answers: Vec<Answer> =
            futures_util::stream::iter(sent).buffered(CALLS_AT_ONCE).try_collect().await?;
        let mut found = Vec::with_capacity(ids.len());
        for (answer, ids) in answers.iter().zip(ids.chunks(BATCH)) {
            let list: List<'_> = answer.json()?;
            if list.errors.iter().flatten().any(|error| !error.is_absence()) {
                return Err(ConnectorError::Transient(format!(
                    "{}: a part of the batch failed",
                    answer.endpoint
                )));
            }
            let (mut answered, mut whole) = (BTreeSet::new(), true);
            for raw in &list.results {
                match object::read(stream.spec.name, raw.get()) {
                    Ok(one) => {
                        answered.insert(one.id);
                        found.push(one);
                    }
                    Err(rejected) => {
                        out.rejected.push(rejected);
                        whole = false;
                    }
                }
            }
            // An item that cannot be read may be any of them.
            if whole {
                let absent = ids.iter().filter(|id| !answered.contains(id));
                out.tombstones.extend(absent.map(|id| gone(stream, &id.to_string())));
            }
        }
        out.tombstones.extend(merged(stream.spec.name, &found));
        out.tombstones.sort_unstable();
        out.tombstones.dedup();
        out.records = self.records(of, found, Source::Plain).await?;
        Ok(out)
    }
}

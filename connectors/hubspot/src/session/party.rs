//! Everything of one company.

use connector_sdk::{Batch, ConnectorError, RecordKey, Session as _};

use super::HubSpotSession;
use crate::object;
use crate::streams::{self, Reads};

/// The stream of the parties.
const COMPANIES: &str = "companies";

impl HubSpotSession {
    /// The company, and every contact, deal, ticket and engagement that is associated with it.
    pub(super) async fn party(&self, party: &RecordKey) -> Result<Batch, ConnectorError> {
        if party.stream != COMPANIES {
            return Err(ConnectorError::Config(format!("HubSpot has no parties in {:?}", party.stream)));
        }
        let mut out = self.read_many(COMPANIES, std::slice::from_ref(&party.id)).await?;
        let Some(id) = object::id(&party.id).filter(|_| !out.records.is_empty()) else { return Ok(out) };
        for (n, stream) in streams::ALL.iter().enumerate() {
            let Reads::Objects(object) = &stream.reads else { continue };
            if !object.to.contains(&COMPANIES) {
                continue;
            }
            let linked = match self.linked(COMPANIES, stream.spec.name, &[id]).await {
                Ok(linked) => linked,
                // Check and runs say so.
                Err(error) if error.is_of_one_stream() => continue,
                Err(error) => return Err(error),
            };
            let ids: Vec<String> =
                linked.values().flat_map(|links| links.0.keys()).map(u64::to_string).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let batch = match self.objects_by_id((n, stream, object), &ids).await {
                Ok(batch) => batch,
                Err(error) if error.is_of_one_stream() => continue,
                Err(error) => return Err(error),
            };
            out.records.extend(batch.records);
            out.rejected.extend(batch.rejected);
            out.tombstones.extend(batch.tombstones);
        }
        Ok(out)
    }
}

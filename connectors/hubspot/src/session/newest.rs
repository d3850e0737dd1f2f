//! What is newest: lists begin with the oldest, and only a search can be asked for another order.

use connector_sdk::{Batch, ConnectorError, Cursor, Next, ReadMode, Session as _};
use serde_json::json;

use super::{HubSpotSession, Objects};
use crate::cursor::whole;
use crate::object::{self, List};

impl HubSpotSession {
    /// The objects with the largest ids, which HubSpot gives in the order in which objects are made.
    pub(super) async fn newest_objects(&self, of: Objects) -> Result<Batch, ConnectorError> {
        let (_, stream, _) = of;
        let body = json!({
            "filterGroups": [],
            "sorts": [{"propertyName": "hs_object_id", "direction": "DESCENDING"}],
            "properties": ["hs_object_id"],
            "limit": self.config.page_size,
        });
        let answer = self.sent(of, &self.client.search(stream.spec.name, &body)?).await?;
        let list: List<'_> = answer.json()?;
        let found = list.results.iter().filter_map(|raw| object::read(stream.spec.name, raw.get()).ok());
        let ids: Vec<u64> = found.map(|one| one.id).collect();
        self.batch_of(of, &ids).await
    }

    /// Everything of a list without an order: owners and definitions, of which there are few.
    pub(super) async fn newest_of_few(&self, stream: &str) -> Result<Batch, ConnectorError> {
        let (partition, mut cursor, mut out) = (whole(), None::<Cursor>, Batch::default());
        loop {
            let page = self.read_page(stream, ReadMode::Full, &partition, cursor.as_ref()).await?;
            out.records.extend(page.records);
            out.rejected.extend(page.rejected);
            match page.next {
                Next::More(next) => cursor = Some(next),
                Next::CaughtUp(_) => return Ok(out),
            }
        }
    }
}

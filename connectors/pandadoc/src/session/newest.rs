//! The documents that were made last: the lists of a pass begin with the oldest.

use connector_sdk::{Batch, ConnectorError};

use super::fetch::From;
use super::{List, PandaDocSession, Take as _};
use crate::cursor::{Plan, stamp};
use crate::record::{self, Head};

impl PandaDocSession {
    /// A page of each list that the settings name.
    pub(super) async fn newest(&self) -> Result<Batch, ConnectorError> {
        let mut batch = Batch::default();
        for plan in Plan::all(&self.config) {
            let mut call = self
                .documents_call(&plan)?
                .query("order_by", "-date_created")
                .query("count", &self.config.page_size.to_string())
                .query("page", "1");
            if let Some(since) = self.config.created_since {
                call = call.query("created_from", &stamp(since));
            }
            let answer = self.rows(&call).await?;
            let list: List<'_> = answer.json()?;
            let mut heads: Vec<(String, Head)> = Vec::with_capacity(list.results.len());
            for raw in &list.results {
                match record::head(raw.get()) {
                    Ok(head) => heads.push(head),
                    Err(rejected) => batch.rejected.push(rejected),
                }
            }
            heads.retain(|(id, head)| self.counts(head) && !batch.records.iter().any(|r| r.key.id == *id));
            let ids: Vec<(&str, bool)> =
                heads.iter().map(|(id, head)| (id.as_str(), head.is_unmade())).collect();
            for one in self.fetch(&ids, From::Changes).await?.0 {
                batch.take(one);
            }
        }
        Ok(batch)
    }
}

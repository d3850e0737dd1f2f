//! What an item price leaves to its item: whether its quantity is counted afterwards. It is read beside a page of item
//! prices, one list for all of their items, and stands in the record as `metered`.

use std::collections::{BTreeMap, BTreeSet};

use connector_sdk::{ConnectorError, Record};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Reading;

/// The stream whose objects have items.
const PRICES: &str = "item_prices";
/// The name of the list, and the operation as Chargebee counts it.
pub(super) const LIST: (&str, &str) = ("items", "GET /items");
/// Items that are asked for in one list: a page is no longer, and its address no longer than servers take.
const TOGETHER: usize = 100;
const LONGEST: usize = 4_000;

#[derive(Deserialize)]
struct Items {
    list: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    item: Item,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    metered: Option<bool>,
}

#[derive(Deserialize)]
struct Price {
    item_id: Option<String>,
    metered: Option<bool>,
}

/// The item of a price that does not say itself how it is counted.
fn item_of(record: &Record) -> Option<String> {
    if record.key.stream != PRICES {
        return None;
    }
    let price: Price = serde_json::from_str(record.payload.get()).ok()?;
    price.item_id.filter(|id| !id.is_empty() && price.metered.is_none())
}

impl Reading {
    /// Joins to item prices what their items say. A site whose items may not be read tells it of none.
    pub(super) async fn with_items(&self, records: &mut [Record]) -> Result<(), ConnectorError> {
        let wanted: BTreeSet<String> = records.iter().filter_map(item_of).collect();
        let mut metered: BTreeMap<String, bool> = BTreeMap::new();
        let mut some: Vec<&str> = Vec::new();
        let mut length = 0;
        for id in &wanted {
            if some.len() == TOGETHER || length + id.len() > LONGEST {
                metered.extend(self.items(&some).await?);
                (some, length) = (Vec::new(), 0);
            }
            length += id.len();
            some.push(id);
        }
        if !some.is_empty() {
            metered.extend(self.items(&some).await?);
        }
        for record in records {
            let Some(metered) = item_of(record).and_then(|id| metered.get(&id)) else { continue };
            let Some(open) = record.payload.get().trim_end().strip_suffix('}') else { continue };
            let text = format!("{open},\"metered\":{metered}}}");
            record.payload = RawValue::from_string(text)
                .map_err(|_| ConnectorError::Protocol("an item price is not JSON".to_owned()))?;
        }
        Ok(())
    }

    async fn items(&self, ids: &[&str]) -> Result<Vec<(String, bool)>, ConnectorError> {
        let list = serde_json::to_string(ids).unwrap_or_default();
        let call = self.client.get(LIST.1, &[LIST.0])?;
        let call = call.query("limit", &TOGETHER.to_string()).query("id[in]", &list);
        let call = call.leave(StatusCode::FORBIDDEN);
        let answer = self.client.send(&call).await?;
        match answer.status {
            // The check says so.
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => return Ok(Vec::new()),
            status if status.is_success() => {}
            _ => return Err(self.client.unexpected(&call, &answer)),
        }
        let items: Items = answer.json_owned()?;
        Ok(items.list.into_iter().filter_map(|one| Some((one.item.id, one.item.metered?))).collect())
    }
}

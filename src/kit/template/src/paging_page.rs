//! Lists by page number.
//!
//! Rows move when one before them is deleted. So the provider is asked for an order that never changes, and each page
//! begins with the last row of the one before (see `connector_sdk::paging`).

use std::ops::RangeInclusive;

use connector_sdk::paging::{RowPlace, Rows, Verdict, page_holding};
use connector_sdk::{ConnectorError, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::Client;
use crate::streams::Stream;

/// How many objects a page may have. Not fewer: [`page_holding`] needs some choice.
pub(crate) const PAGE_SIZES: RangeInclusive<u8> = 20..=100;

/// What the list is sorted by: the time of creation and the id.
pub(crate) type Key = (i64, String);

/// Where a pass stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    rows: RowPlace<Key>,
}

/// One page.
pub(crate) struct Listed {
    /// The objects, as they stand in the answer.
    pub(crate) items: Vec<Box<RawValue>>,
    /// Where the next page begins; `None` at the end.
    pub(crate) next: Option<Place>,
    /// The provider's time.
    pub(crate) at: Timestamp,
}

#[derive(Deserialize)]
struct Body {
    data: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Sorted {
    created: i64,
    id: String,
}

/// Reads the page at `place` of what changed since `since`.
pub(crate) async fn page(
    client: &Client,
    stream: &Stream,
    since: Option<i64>,
    place: &Place,
    size: u8,
) -> Result<Listed, ConnectorError> {
    let mut rows = Rows::new(place.rows.clone());
    loop {
        let (asked, number) = page_holding(rows.start(), u64::from(size));
        let from = (number - 1) * asked;
        let mut call = client.get(stream.list, &["v1", stream.spec.name])?;
        call = call.query("per_page", &asked.to_string()).query("page", &number.to_string());
        call = call.query("sort", "created");
        if let Some(since) = since {
            call = call.query("updated_since", &since.to_string());
        }
        let answer = client.send(&call).await?;
        if !answer.status.is_success() {
            return Err(client.unexpected(&call, &answer));
        }
        let body: Body = answer.json_owned()?;
        let keys: Vec<Option<Key>> = body.data.iter().map(|item| key(item)).collect();
        if let Verdict::Take { after, next } = rows.judge(from, asked, &keys) {
            let items = body.data.into_iter().zip(keys);
            let items =
                items.filter(|(_, key)| key.is_none() || *key > after).map(|(item, _)| item).collect();
            let next = next.map(|rows| Place { rows });
            return Ok(Listed { items, next, at: answer.time(client.now()) });
        }
    }
}

/// What an object is sorted by; `None` for one that cannot be read.
fn key(item: &RawValue) -> Option<Key> {
    serde_json::from_str::<Sorted>(item.get()).ok().map(|sorted| (sorted.created, sorted.id))
}

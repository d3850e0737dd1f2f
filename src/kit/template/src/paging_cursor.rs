//! Lists that hand out a cursor: the answer names where the next page begins.

use std::ops::RangeInclusive;

use connector_sdk::{ConnectorError, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::Client;
use crate::streams::Stream;

/// How many objects a page may have.
pub(crate) const PAGE_SIZES: RangeInclusive<u8> = 20..=100;

/// Where a pass stands: what the provider calls the next page; none at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    cursor: Option<String>,
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
    next_cursor: Option<String>,
}

/// Reads the page at `place` of what changed since `since`.
pub(crate) async fn page(
    client: &Client,
    stream: &Stream,
    since: Option<i64>,
    place: &Place,
    size: u8,
) -> Result<Listed, ConnectorError> {
    let mut call = client.get(stream.list, &["v1", stream.spec.name])?.query("limit", &size.to_string());
    if let Some(since) = since {
        call = call.query("updated_since", &since.to_string());
    }
    if let Some(cursor) = &place.cursor {
        call = call.query("cursor", cursor);
    }
    let answer = client.send(&call).await?;
    if !answer.status.is_success() {
        return Err(client.unexpected(&call, &answer));
    }
    let body: Body = answer.json_owned()?;
    let next = body.next_cursor.filter(|next| !next.is_empty());
    // A list that leads back to itself would be read for ever.
    if next.is_some() && next == place.cursor {
        return Err(ConnectorError::Protocol(format!("{}: the next page is this one", stream.list)));
    }
    let next = next.map(|cursor| Place { cursor: Some(cursor) });
    Ok(Listed { items: body.data, next, at: answer.time(client.now()) })
}

//! Lists ("Pagination"): an answer names where the next page begins, in a text that is only handed back.

use std::ops::RangeInclusive;

use connector_sdk::{ConnectorError, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::Client;
use crate::streams::Stream;

/// How many objects a page may have.
pub(crate) const PAGE_SIZES: RangeInclusive<u8> = 1..=100;

/// Where a pass stands: what the provider calls the next page; none at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    offset: Option<String>,
}

/// What of a list is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// What changed since, in Unix seconds; none: everything.
    pub(crate) since: Option<i64>,
    /// What belongs to this customer.
    pub(crate) customer: Option<&'a str>,
    /// The newest first.
    pub(crate) newest_first: bool,
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
    list: Vec<Box<RawValue>>,
    next_offset: Option<String>,
}

/// Reads the page at `place` of what is wanted.
pub(crate) async fn page(
    client: &Client,
    stream: &Stream,
    wanted: Wanted<'_>,
    place: &Place,
    size: u8,
) -> Result<Listed, ConnectorError> {
    let mut call = client.get(stream.list, &[stream.spec.name])?.query("limit", &size.to_string());
    // Oldest first: what is made or changed while the list is read comes behind the place.
    let order = if wanted.newest_first { "sort_by[desc]" } else { "sort_by[asc]" };
    call = call.query(order, stream.sort);
    if stream.names_deleted {
        call = call.query("include_deleted", "true");
    }
    if let Some(since) = wanted.since {
        call = call.query("updated_at[after]", &since.to_string());
    }
    if let Some(customer) = wanted.customer {
        call = call.query("customer_id[is]", customer);
    }
    if let Some(offset) = &place.offset {
        call = call.query("offset", offset);
    }
    let answer = client.send(&call).await?;
    if !answer.status.is_success() {
        return Err(client.unexpected(&call, &answer));
    }
    let body: Body = answer.json_owned()?;
    let next = body.next_offset.filter(|next| !next.is_empty());
    // A list that leads back to itself would be read for ever.
    if next.is_some() && next == place.offset {
        return Err(ConnectorError::Protocol(format!("{}: the next page is this one", stream.list)));
    }
    let next = next.map(|offset| Place { offset: Some(offset) });
    Ok(Listed { items: body.list, next, at: answer.time(client.now()) })
}

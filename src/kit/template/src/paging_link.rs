//! Lists whose next page is a link: `Link: <https://…>; rel="next"` (RFC 8288).

use std::ops::RangeInclusive;

use connector_sdk::{Answer, ConnectorError, Timestamp};
use http::header::LINK;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use crate::client::Client;
use crate::streams::Stream;

/// How many objects a page may have.
pub(crate) const PAGE_SIZES: RangeInclusive<u8> = 20..=100;

/// Where a pass stands: the parameters of the link to the next page; empty at the start.
///
/// Only they are kept and followed. The key goes to the address of the settings and to no other, wherever a link leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    query: Vec<(String, String)>,
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

/// Reads the page at `place` of what changed since `since`.
pub(crate) async fn page(
    client: &Client,
    stream: &Stream,
    since: Option<i64>,
    place: &Place,
    size: u8,
) -> Result<Listed, ConnectorError> {
    let mut call = client.get(stream.list, &["v1", stream.spec.name])?;
    if place.query.is_empty() {
        call = call.query("limit", &size.to_string());
        if let Some(since) = since {
            call = call.query("updated_since", &since.to_string());
        }
    }
    for (name, value) in &place.query {
        call = call.query(name, value);
    }
    let answer = client.send(&call).await?;
    if !answer.status.is_success() {
        return Err(client.unexpected(&call, &answer));
    }
    let body: Body = answer.json_owned()?;
    let next = next(&answer)?;
    // A list that leads back to itself would be read for ever.
    if next.as_ref() == Some(place) {
        return Err(ConnectorError::Protocol(format!("{}: the next page is this one", stream.list)));
    }
    Ok(Listed { items: body.data, next, at: answer.time(client.now()) })
}

/// The link to the next page; `None` where there is none.
fn next(answer: &Answer) -> Result<Option<Place>, ConnectorError> {
    let bad = || ConnectorError::Protocol(format!("{}: a link that cannot be read", answer.endpoint));
    for header in answer.headers.get_all(LINK) {
        for link in header.to_str().map_err(|_| bad())?.split(',') {
            let Some((url, parameters)) = link.split_once(';') else { continue };
            if !parameters.replace('"', "").split(';').any(|p| p.trim() == "rel=next") {
                continue;
            }
            let url = url.trim().trim_start_matches('<').trim_end_matches('>');
            let url = Url::parse(url).map_err(|_| bad())?;
            let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            return if query.is_empty() { Err(bad()) } else { Ok(Some(Place { query })) };
        }
    }
    Ok(None)
}

//! From the text of a Stripe list or object to records, without touching the text.

use std::borrow::Cow;

use connector_sdk::{ConnectorError, Record, RecordKey, Rejected};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::streams::{Nesting, Stream};

/// A list as Stripe answers it; the items stay text.
#[derive(Deserialize)]
pub(crate) struct List<'a> {
    #[serde(borrow)]
    pub(crate) data: Vec<&'a RawValue>,
    pub(crate) has_more: bool,
    /// Only older API versions and imitations count.
    pub(crate) total_count: Option<u64>,
}

/// The members of an object that reading needs.
#[derive(Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    object: Option<Cow<'a, str>>,
    pub(crate) created: Option<i64>,
    pub(crate) deleted: Option<bool>,
    pub(crate) livemode: Option<bool>,
    #[serde(borrow)]
    test_clock: Option<&'a RawValue>,
    #[serde(borrow)]
    items: Option<&'a RawValue>,
    #[serde(borrow)]
    lines: Option<&'a RawValue>,
}

impl<'a> Head<'a> {
    /// The list inside that may be cut.
    pub(crate) fn nested(&self, nesting: Nesting) -> Option<&'a str> {
        match nesting {
            Nesting::SubscriptionItems => self.items,
            Nesting::InvoiceLines => self.lines,
        }
        .map(RawValue::get)
    }
}

/// What one item of a page is.
pub(crate) enum Item<'a> {
    /// An object of the stream.
    Live(String, Head<'a>),
    /// `{"id": …, "deleted": true}`.
    Deleted(String),
    /// An object that lives by a test clock: its time jumps, and nobody pays for it. Kept out.
    OnClock(String),
    /// Neither.
    Bad(Rejected),
}

/// Reads the head of an object.
pub(crate) fn read<'a>(stream: &Stream, text: &'a str) -> Item<'a> {
    let rejected = |id: Option<String>, reason: String| {
        Item::Bad(Rejected { stream: stream.spec.name.to_owned(), id, reason, payload: text.to_owned() })
    };
    let head: Head<'a> = match serde_json::from_str(text) {
        Ok(head) => head,
        Err(_) => {
            // Parsed a second time, so that the reason names the member; this path is rare.
            let mut json = serde_json::Deserializer::from_str(text);
            let reason = match serde_path_to_error::deserialize::<_, Head<'_>>(&mut json) {
                Ok(_) => "not an object".to_owned(),
                Err(e) if e.path().iter().next().is_none() => format!("not an object: {}", e.inner()),
                Err(e) => format!("{}: {}", e.path(), e.inner()),
            };
            return rejected(id_of(text), reason);
        }
    };
    let Some(id) = head.id.as_deref().filter(|id| !id.is_empty()).map(str::to_owned) else {
        return rejected(None, "id: missing".to_owned());
    };
    if let Some(object) = &head.object
        && object != stream.object
    {
        let reason = format!("object: expected {:?}, found {object:?}", stream.object);
        return rejected(Some(id), reason);
    }
    if head.deleted == Some(true) {
        return Item::Deleted(id);
    }
    if head.test_clock.is_some() {
        return Item::OnClock(id);
    }
    Item::Live(id, head)
}

fn id_of(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    value.get("id")?.as_str().map(str::to_owned)
}

/// A record of that text.
pub(crate) fn record(stream: &Stream, id: String, text: String) -> Result<Record, ConnectorError> {
    let payload = RawValue::from_string(text)
        .map_err(|_| ConnectorError::Protocol(format!("{}: an object is not JSON", stream.spec.name)))?;
    Ok(Record { key: RecordKey::new(stream.spec.name, id), payload })
}

//! Records, pages, cursors and partitions: what reading a provider gives.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::ConnectorError;

/// Names one remote object within a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordKey {
    /// The stream (`subscriptions`), as the connector's spec names it.
    pub stream: String,
    /// The provider's id of the object (`sub_123`).
    pub id: String,
}

impl RecordKey {
    /// A key from its two parts.
    pub fn new(stream: impl Into<String>, id: impl Into<String>) -> Self {
        Self { stream: stream.into(), id: id.into() }
    }
}

impl std::fmt::Display for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.stream, self.id)
    }
}

/// One remote object, exactly as the provider wrote it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Stream and id.
    pub key: RecordKey,
    /// The object's JSON text, untouched.
    pub payload: Box<RawValue>,
}

/// An item of a page that could not be taken as a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The stream that was being read.
    pub stream: String,
    /// The item's id where one could be read.
    pub id: Option<String>,
    /// What was wrong, naming the member.
    pub reason: String,
    /// The item's JSON text, for the list of rejected records.
    pub payload: String,
}

/// Where reading stands, in the connector's own versioned JSON. Opaque to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

impl Cursor {
    /// A place as a cursor of that version. Another version is for another shape of `place`.
    ///
    /// # Errors
    /// [`ConnectorError::Protocol`] for a place that JSON cannot hold.
    pub fn encode(version: u32, place: &impl Serialize) -> Result<Self, ConnectorError> {
        #[derive(Serialize)]
        struct Versioned<'a, T> {
            v: u32,
            at: &'a T,
        }
        serde_json::to_string(&Versioned { v: version, at: place })
            .map(Self)
            .map_err(|e| ConnectorError::Protocol(format!("cursor: {e}")))
    }

    /// The place that [`Self::encode`] put into it.
    ///
    /// # Errors
    /// [`ConnectorError::Protocol`] for another version, and for what is no cursor.
    pub fn decode<T: DeserializeOwned>(&self, version: u32) -> Result<T, ConnectorError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        #[derive(Deserialize)]
        struct Versioned<T> {
            at: T,
        }
        let bad = |e: serde_json::Error| ConnectorError::Protocol(format!("cursor: {e}"));
        let Version { v } = serde_json::from_str(&self.0).map_err(bad)?;
        if v != version {
            return Err(ConnectorError::Protocol(format!(
                "cursor: version {v} is not known to this program (it knows {version})"
            )));
        }
        serde_json::from_str::<Versioned<T>>(&self.0).map(|cursor| cursor.at).map_err(bad)
    }
}

/// What follows a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// There is more; read on from here.
    More(Cursor),
    /// Nothing more for now; a later incremental read starts here.
    CaughtUp(Cursor),
}

/// A part of a backfill with a checkpoint of its own (a created range, an id window).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Unique within the stream (`all`, `created:1700000000-1710000000`).
    pub id: String,
    /// The connector's own description, JSON text. Opaque to the engine.
    pub spec: String,
}

impl Partition {
    /// The one of a stream that is not divided.
    #[must_use]
    pub fn whole() -> Self {
        Self { id: "all".to_owned(), spec: "{}".to_owned() }
    }
}

/// Why a stream is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadMode {
    /// Everything; what is not seen is gone when the pass is complete.
    Full,
    /// What may have changed since the checkpoint, with the connector's overlap.
    Incremental,
}

/// An offer to divide the rest of a partition that is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// New partitions, which take over a part of what is left.
    pub partitions: Vec<Partition>,
    /// Where this partition goes on then, for what is left to it.
    pub rest: Cursor,
}

/// An object that a change feed names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touch {
    /// Stream and id.
    pub key: RecordKey,
    /// The provider's id of the event that names it, where a webhook may have brought the same event.
    pub event: Option<String>,
}

/// One page of a stream.
#[derive(Debug, Clone)]
pub struct Page {
    /// Objects, of this stream or (expanded ones) of another.
    pub records: Vec<Record>,
    /// Items that are no records; listed for the operator, the page goes on.
    pub rejected: Vec<Rejected>,
    /// Objects that a change feed names without holding them: to be read by `read_many`.
    pub touched: Vec<Touch>,
    /// Objects that the provider says are gone.
    pub tombstones: Vec<RecordKey>,
    /// More, or caught up.
    pub next: Next,
    /// How the rest of the partition can be divided; only where there is more. The engine takes it, or goes
    /// on with [`Page::next`].
    pub split: Option<Split>,
    /// How many objects the whole partition holds, where the provider says so.
    pub total: Option<u64>,
}

/// A page of a provider's history of changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Records that were created, changed or deleted: to be read by `read_many`.
    pub keys: Vec<RecordKey>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// The answer to a read by id.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Objects as the provider has them now.
    pub records: Vec<Record>,
    /// Items that are no records.
    pub rejected: Vec<Rejected>,
    /// Ids that the provider no longer has.
    pub tombstones: Vec<RecordKey>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_round_trip_and_no_other_version_does() {
        let cursor = Cursor::encode(2, &("after", 7)).unwrap();
        assert_eq!(cursor.decode::<(String, u32)>(2).unwrap(), ("after".to_owned(), 7));
        for text in
            ["", "null", "{}", "7", r#"{"v":2}"#, r#"{"v":3,"at":["after",7]}"#, r#"{"v":2,"at":"x"}"#]
        {
            let strange = Cursor(text.to_owned()).decode::<(String, u32)>(2);
            assert!(matches!(strange, Err(ConnectorError::Protocol(_))), "{text}");
        }
    }
}

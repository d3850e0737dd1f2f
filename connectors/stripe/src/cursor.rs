//! Where a read stands, and the ranges of creation time it is made of.

use connector_sdk::{ConnectorError, Cursor, Partition};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// How many ids behind the last one are kept: when the last object is deleted while we read, Stripe
/// refuses it as `starting_after`, and an earlier one takes its place.
const KEPT: usize = 4;

/// A range of creation time in Unix seconds, `from <= created < until`, open where absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<i64>,
}

impl Window {
    pub(crate) fn holds(self, at: i64) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    pub(crate) fn id(self) -> String {
        match (self.from, self.until) {
            (None, None) => "all".to_owned(),
            (from, until) => {
                let text = |t: Option<i64>| t.map_or_else(String::new, |t| t.to_string());
                format!("created:{}-{}", text(from), text(until))
            }
        }
    }
}

/// Description of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    v: u32,
    pub(crate) created: Window,
}

impl Plan {
    pub(crate) fn new(created: Window) -> Self {
        Self { v: VERSION, created }
    }

    pub(crate) fn partition(self) -> Result<Partition, ConnectorError> {
        Ok(Partition { id: self.created.id(), spec: to_json(&self)? })
    }

    pub(crate) fn parse(partition: &Partition) -> Result<Self, ConnectorError> {
        check_version(&partition.spec, "partition", VERSION)?;
        from_json(&partition.spec, "partition")
    }
}

/// Where one partition stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Position {
    /// Between two pages, newest first.
    Page {
        /// The last ids seen, the very last one first. Never empty.
        after: Vec<String>,
        /// When the last object was created, in Unix seconds: where to go on when all of `after` are gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_created: Option<i64>,
        /// What remains of the partition's range after divisions.
        #[serde(default)]
        window: Window,
        /// The newest creation time of this pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<i64>,
    },
    /// At the end; the next incremental read starts from `newest`.
    Done {
        /// The newest creation time ever seen, in Unix seconds; `None` while the stream was empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<i64>,
    },
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    v: u32,
    #[serde(flatten)]
    position: Position,
}

impl Position {
    pub(crate) fn cursor(self) -> Result<Cursor, ConnectorError> {
        to_json(&Versioned { v: VERSION, position: self }).map(Cursor)
    }

    pub(crate) fn parse(cursor: &Cursor) -> Result<Self, ConnectorError> {
        check_version(&cursor.0, "cursor", VERSION)?;
        let versioned: Versioned = from_json(&cursor.0, "cursor")?;
        if let Position::Page { after, .. } = &versioned.position
            && after.is_empty()
        {
            return Err(ConnectorError::Protocol("cursor: names no object to go on after".to_owned()));
        }
        Ok(versioned.position)
    }
}

/// The last ids of a page (newest first, as listed) and of the pages before it, the last one first.
pub(crate) fn last_ids<'a>(page: impl DoubleEndedIterator<Item = &'a str>, before: &[String]) -> Vec<String> {
    page.rev().map(str::to_owned).chain(before.iter().cloned()).take(KEPT).collect()
}

/// A text of another version than this program writes is an error that says so.
pub(crate) fn check_version(text: &str, what: &str, known: u32) -> Result<(), ConnectorError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let Version { v } = from_json(text, what)?;
    if v != known {
        return Err(ConnectorError::Protocol(format!(
            "{what}: version {v} is not known to this program (it knows {known})"
        )));
    }
    Ok(())
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<String, ConnectorError> {
    serde_json::to_string(value).map_err(|e| ConnectorError::Protocol(format!("cursor: {e}")))
}

pub(crate) fn from_json<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T, ConnectorError> {
    serde_json::from_str(text).map_err(|e| ConnectorError::Protocol(format!("{what}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_round_trip() {
        for position in [
            Position::Done { newest: None },
            Position::Done { newest: Some(7) },
            Position::Page {
                after: vec!["cus_2".to_owned(), "cus_1".to_owned()],
                last_created: Some(5),
                window: Window { from: Some(1), until: None },
                newest: Some(9),
            },
        ] {
            assert_eq!(Position::parse(&position.clone().cursor().unwrap()).unwrap(), position);
        }
    }

    #[test]
    fn a_strange_cursor_is_refused() {
        for bad in [
            "",
            "{}",
            "null",
            "cus_1",
            r#"{"v":2,"at":"done"}"#,
            r#"{"v":1,"at":"elsewhere"}"#,
            r#"{"v":1,"at":"page","after":[]}"#,
            r#"{"v":1,"at":"page"}"#,
            r#"{"v":"1","at":"done"}"#,
        ] {
            assert!(
                matches!(Position::parse(&Cursor(bad.to_owned())), Err(ConnectorError::Protocol(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_last_ids_reach_over_short_pages() {
        let before = ["c".to_owned(), "b".to_owned(), "a".to_owned(), "z".to_owned()];
        assert_eq!(last_ids(["d"].into_iter(), &before), ["d", "c", "b", "a"]);
        assert_eq!(last_ids(["1", "2", "3", "4", "5"].into_iter(), &before), ["5", "4", "3", "2"]);
    }
}

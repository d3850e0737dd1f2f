//! Where a read stands.

use connector_sdk::{ConnectorError, Cursor, Partition};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// Where one stream stands. Instants are milliseconds since 1970, by HubSpot's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Position {
    /// In the list of all objects.
    List {
        /// HubSpot's token of the next page.
        after: String,
        /// When this pass began.
        since: i64,
    },
    /// In a search for what changed, in the order of object ids.
    Search {
        /// Changes from here on.
        from: i64,
        /// The last object id that was seen.
        last: u64,
        /// When this pass began.
        since: i64,
    },
    /// In a search for line items that changed, after that for deals, in the order of their ids.
    Lines {
        /// Changes from here on.
        from: i64,
        /// The last line item that was seen.
        last: u64,
        /// When this pass began.
        since: i64,
    },
    /// In the list of what is archived, after a search.
    Archived {
        /// HubSpot's token of the next page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// Archived from here on.
        from: i64,
        /// When this pass began.
        since: i64,
    },
    /// In the list of owners.
    Owners {
        /// Whether it is that of the former ones.
        archived: bool,
        /// HubSpot's token of the next page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Between the property definitions of two object types.
    Types {
        /// The place of the next type.
        next: usize,
    },
    /// At the end; an incremental read looks for changes since then.
    Done {
        /// When the last pass began.
        since: i64,
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
        serde_json::to_string(&Versioned { v: VERSION, position: self })
            .map(Cursor)
            .map_err(|e| ConnectorError::Protocol(format!("cursor: {e}")))
    }

    pub(crate) fn parse(cursor: &Cursor) -> Result<Self, ConnectorError> {
        check_version(&cursor.0, "cursor")?;
        let versioned: Versioned =
            serde_json::from_str(&cursor.0).map_err(|e| ConnectorError::Protocol(format!("cursor: {e}")))?;
        Ok(versioned.position)
    }

    /// This place is none of the stream.
    pub(crate) fn misplaced(stream: &str) -> ConnectorError {
        ConnectorError::Protocol(format!("cursor: is not one of {stream}"))
    }
}

/// The only partition of a stream: lists know no ranges.
pub(crate) fn whole() -> Partition {
    Partition { id: "all".to_owned(), spec: format!("{{\"v\":{VERSION}}}") }
}

/// A text of another version than this program writes is an error that says so.
pub(crate) fn check_version(text: &str, what: &str) -> Result<(), ConnectorError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let Version { v } =
        serde_json::from_str(text).map_err(|e| ConnectorError::Protocol(format!("{what}: {e}")))?;
    if v != VERSION {
        return Err(ConnectorError::Protocol(format!(
            "{what}: version {v} is not known to this program (it knows {VERSION})"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_round_trip() {
        for position in [
            Position::List { after: "406260751575".to_owned(), since: 1 },
            Position::Search { from: 1, last: u64::MAX, since: 2 },
            Position::Lines { from: 1, last: 7, since: 2 },
            Position::Archived { after: None, from: 0, since: 2 },
            Position::Owners { archived: true, after: Some("x".to_owned()) },
            Position::Types { next: 3 },
            Position::Done { since: -1 },
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
            "7",
            r#"{"v":2,"at":"done","since":1}"#,
            r#"{"v":1,"at":"elsewhere"}"#,
            r#"{"v":1,"at":"list"}"#,
            r#"{"v":1,"at":"search","from":1,"last":-1,"since":1}"#,
            r#"{"v":"1","at":"done","since":1}"#,
        ] {
            let parsed = Position::parse(&Cursor(bad.to_owned()));
            assert!(matches!(parsed, Err(ConnectorError::Protocol(_))), "{bad}");
        }
    }
}

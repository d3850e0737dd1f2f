//! The lines of the protocol.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What a line says.
#[derive(Debug)]
pub(crate) enum Message {
    /// A stream, with the members that are its key.
    Schema { stream: String, key: Vec<String> },
    /// A record. `version` is that of the whole table that it is of.
    Record { stream: String, record: Box<RawValue>, version: Option<i64> },
    /// Where a later run goes on.
    State(Box<RawValue>),
    /// What is of an older version of the table is gone.
    ActivateVersion { stream: String, version: i64 },
    /// Files with records.
    Batch,
    /// A type that the specification does not have.
    Other(String),
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    stream: Option<String>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    key_properties: Option<Vec<String>>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    version: Option<i64>,
}

fn is_table(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// Reads a line. The error says what is wrong with it, without its values.
pub(crate) fn parse(line: &[u8]) -> Result<Message, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let Ok(line) = serde_json::from_str::<Line<'_>>(text) else {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        return Err(if is_json { "it is no message of Singer" } else { "it is no JSON" }.to_owned());
    };
    let missing = |kind: &str, member: &str| format!("{kind} without {member}");
    let stream = |kind| line.stream.clone().ok_or_else(|| missing(kind, "stream"));
    Ok(match &*line.kind {
        "SCHEMA" => {
            let stream = stream("SCHEMA")?;
            line.schema
                .filter(|schema| is_table(schema))
                .ok_or_else(|| missing("SCHEMA", "a table schema"))?;
            Message::Schema { stream, key: line.key_properties.unwrap_or_default() }
        }
        "RECORD" => {
            let stream = stream("RECORD")?;
            let record = line.record.filter(|record| is_table(record));
            let record = record.ok_or_else(|| missing("RECORD", "a table record"))?.to_owned();
            Message::Record { stream, record, version: line.version }
        }
        "STATE" => Message::State(line.value.ok_or_else(|| missing("STATE", "value"))?.to_owned()),
        "ACTIVATE_VERSION" => {
            let stream = stream("ACTIVATE_VERSION")?;
            let version = line.version.ok_or_else(|| missing("ACTIVATE_VERSION", "version"))?;
            Message::ActivateVersion { stream, version }
        }
        "BATCH" => Message::Batch,
        other => Message::Other(other.chars().take(40).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_the_specification_says() {
        let said = |line: &str| format!("{:?}", parse(line.as_bytes()).unwrap());
        for (line, says) in [
            (
                r#"{"type":"SCHEMA","stream":"a","schema":{},"key_properties":["id"]}"#,
                r#"Schema { stream: "a", key: ["id"]"#,
            ),
            (r#"{"type":"SCHEMA","stream":"a","schema":{},"key_properties":null}"#, "key: []"),
            (
                r#"{"type":"RECORD","stream":"a","record":{"n":1.10},"time_extracted":"t","version":3}"#,
                "1.10",
            ),
            (r#"{"type":"STATE","value":{"x":1}}"#, "State"),
            (r#"{"type":"ACTIVATE_VERSION","stream":"a","version":2}"#, "ActivateVersion"),
            (r#"{"type":"BATCH","stream":"a"}"#, "Batch"),
            (r#"{"type":"LOG"}"#, "Other(\"LOG\")"),
        ] {
            assert!(said(line).contains(says), "{}", said(line));
        }
        for (line, says) in [
            ("{\"type\":\"RECO", "no JSON"),
            ("NaN", "no JSON"),
            ("[1]", "no message"),
            ("{}", "no message"),
            (r#"{"type":"RECORD","record":{}}"#, "RECORD without stream"),
            (r#"{"type":"RECORD","stream":"a","record":[]}"#, "RECORD without a table record"),
            (r#"{"type":"SCHEMA","stream":"a"}"#, "SCHEMA without a table schema"),
            (r#"{"type":"STATE"}"#, "STATE without value"),
            (r#"{"type":"ACTIVATE_VERSION","stream":"a"}"#, "without version"),
        ] {
            assert!(parse(line.as_bytes()).unwrap_err().contains(says), "{line}");
        }
        assert!(parse(b"\xff").unwrap_err().contains("UTF-8"));
    }
}

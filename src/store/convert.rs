//! Between stored and domain forms: times, JSON, words.

use chrono::DateTime;
use connector_sdk::{RecordKey, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Result, StoreError};

/// Unix microseconds, as stored.
pub(crate) fn us(time: Timestamp) -> i64 {
    time.timestamp_micros()
}

/// A stored instant. Values beyond the calendar (never written by us) are cut to its ends.
pub(crate) fn time(us: i64) -> Timestamp {
    DateTime::from_timestamp_micros(us).unwrap_or(if us < 0 {
        Timestamp::MIN_UTC
    } else {
        Timestamp::MAX_UTC
    })
}

/// JSON text of a value that we authored.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| StoreError::Invalid(format!("not representable as JSON: {e}")))
}

/// A stored JSON document.
pub(crate) fn from_json<T: DeserializeOwned>(
    table: &'static str,
    column: &'static str,
    row: &str,
    text: &str,
) -> Result<T> {
    serde_json::from_str(text).map_err(|e| StoreError::Inconsistent {
        table,
        column,
        row: row.to_owned(),
        reason: e.to_string(),
    })
}

/// The word that serde gives a fieldless variant (`needs_attention`).
pub(crate) fn word<T: Serialize>(value: T) -> Result<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        _ => Err(StoreError::Invalid("a stored word must be a fieldless variant".to_owned())),
    }
}

/// The variant of a stored word.
pub(crate) fn from_word<T: DeserializeOwned>(
    table: &'static str,
    column: &'static str,
    row: &str,
    text: &str,
) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|e| StoreError::Inconsistent {
        table,
        column,
        row: row.to_owned(),
        reason: e.to_string(),
    })
}

/// The stored name of a record: `stream/id`. Stream names hold no slash.
pub(crate) fn key_text(key: &RecordKey) -> String {
    key.to_string()
}

/// The inverse of [`key_text`].
pub(crate) fn key_of(text: &str) -> RecordKey {
    match text.split_once('/') {
        Some((stream, id)) => RecordKey::new(stream, id),
        None => RecordKey::new("", text),
    }
}

/// Postgres keeps no NUL in text; both engines store U+FFFD for it.
pub(crate) fn clean(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}

/// The list that a statement's `in_list!` reads.
pub(crate) fn json_list<I>(items: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let list: Vec<String> = items.into_iter().map(|item| clean(item.as_ref())).collect();
    serde_json::Value::from(list).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_also_with_slashes_in_the_id() {
        let key = RecordKey::new("docs", "a/b/c");
        assert_eq!(key_of(&key_text(&key)), key);
    }

    #[test]
    fn times_survive_to_the_microsecond() {
        let at = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        assert_eq!(time(us(at)), at);
        assert_eq!(time(i64::MAX), Timestamp::MAX_UTC);
        assert_eq!(time(i64::MIN), Timestamp::MIN_UTC);
    }
}

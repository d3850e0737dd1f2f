//! What a person decided to show of a record, outside the vocabulary.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;

/// Custom fields and context entries that a connection's settings make of a record.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Note {
    /// The provider's id of the record.
    pub id: String,
    /// Custom fields of the company, by key. Numbers that would lose digits are texts of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub traits: BTreeMap<String, Value>,
    /// Context entries of the company.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<NoteEntry>,
}

/// A context entry, or one item of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NoteEntry {
    /// Its key; the same in every record that adds to it.
    pub key: String,
    /// The header of its section.
    pub label: String,
    /// Its value; of a list, the item.
    pub value: Value,
    /// For an item of a list: how many the list holds at most, the newest first. `None` for a whole entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
    /// When it was, which orders a list.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub at: Option<Timestamp>,
}

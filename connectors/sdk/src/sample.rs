//! Records that a connector shows what it does with.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::record::{Record, RecordKey};

/// Some records of one stream, as a file of the connector holds them (`fixtures/STREAM.json`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The stream.
    pub stream: &'static str,
    /// A JSON array of `{"id": …, "payload": …}`: the record's id, and the object as the provider writes it.
    pub json: &'static str,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    payload: Box<RawValue>,
}

impl Sample {
    /// The records.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn records(&self) -> Result<Vec<Record>, String> {
        let entries: Vec<Entry> =
            serde_json::from_str(self.json).map_err(|e| format!("the sample of {}: {e}", self.stream))?;
        let record =
            |entry: Entry| Record { key: RecordKey::new(self.stream, entry.id), payload: entry.payload };
        Ok(entries.into_iter().map(record).collect())
    }
}

//! Many records in one call: read one after the other, so that a wrong one spoils nothing but itself.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::http::ApiError;
use crate::product::{ItemResult, MOST_RECORDS, Refusal, Status};

/// Records that are held as values at once, and written in one unit.
pub(super) const TOGETHER: usize = 250;

/// Refuses more records than one call may bring.
pub(super) fn check_count(member: &str, count: usize) -> Result<(), ApiError> {
    if count <= MOST_RECORDS {
        return Ok(());
    }
    Err(ApiError::new(http::StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Content too large")
        .detail(format!("{member}: {count} records, at most {MOST_RECORDS} are accepted"))
        .hint("Send them in several calls."))
}

/// One record, or why it cannot be read.
pub(super) fn parse<T: DeserializeOwned>(raw: &RawValue) -> Result<T, Refusal> {
    let text = raw.get();
    if !text.starts_with('{') {
        return Err(Refusal::new("invalid_body", "an object is expected"));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        Refusal::new("invalid_body", format!("{path}: {}", error.into_inner()))
    })
}

/// The answer to a call with many records.
#[derive(Default, Serialize)]
pub(super) struct BulkAnswer {
    success: bool,
    total: usize,
    created: usize,
    updated: usize,
    unchanged: usize,
    skipped: usize,
    rejected: usize,
    results: Vec<Item>,
}

/// What became of one record.
#[derive(Serialize)]
struct Item {
    /// Its place in the call, from 0.
    index: usize,
    status: Status,
    /// `user_id` or `company_id`, as it was sent.
    #[serde(flatten)]
    named: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(flatten)]
    refusal: Option<Refusal>,
}

impl BulkAnswer {
    pub(super) fn new() -> Self {
        Self { success: true, ..Self::default() }
    }

    /// Adds the next record's result. `name`: its id as it was sent, where one was.
    pub(super) fn add(&mut self, member: &'static str, name: Option<String>, result: ItemResult) {
        let count = match result.status {
            Status::Created => &mut self.created,
            Status::Updated => &mut self.updated,
            Status::Unchanged => &mut self.unchanged,
            Status::Skipped => &mut self.skipped,
            Status::Rejected => &mut self.rejected,
        };
        *count += 1;
        let reason = match (&result.refusal, result.status) {
            (Some(refusal), _) => Some(refusal.message.clone()),
            (None, Status::Skipped) => Some("not known, and update_only is set".to_owned()),
            (None, _) => None,
        };
        self.results.push(Item {
            index: self.total,
            status: result.status,
            named: name.map(|name| (member, name)).into_iter().collect(),
            id: result.id,
            reason,
            refusal: result.refusal,
        });
        self.total += 1;
    }
}

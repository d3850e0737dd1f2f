//! Many records in one call: read one after the other, so that a wrong one spoils nothing but itself.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::answers::too_large;
use crate::http::ApiError;
use crate::product::{FieldFault, ItemResult, MOST_RECORDS, Refusal, Status};

/// Records that are held as values at once, and written in one unit.
pub(super) const TOGETHER: usize = 250;

/// Refuses more records than one call may bring.
pub(super) fn check_count(member: &str, count: usize) -> Result<(), ApiError> {
    if count <= MOST_RECORDS {
        return Ok(());
    }
    Err(too_large(format!("{member}: {count} records, at most {MOST_RECORDS} are accepted in one call")))
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
#[derive(Default, Serialize, JsonSchema)]
#[schemars(rename = "BulkResult")]
pub(super) struct BulkAnswer {
    /// Always true: the call was carried out. What became of each record is in `results`.
    success: bool,
    /// Records in the call.
    total: usize,
    /// Records that were not known.
    created: usize,
    /// Records of which something changed.
    updated: usize,
    /// Records that were like that already.
    unchanged: usize,
    /// Records that are not known, with `update_only`.
    skipped: usize,
    /// Records that were refused.
    rejected: usize,
    /// What became of each, in the order of the call.
    results: Vec<Item>,
}

/// What became of one record.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BulkItem")]
struct Item {
    /// Its place in the call, from 0.
    index: usize,
    /// What became of it.
    status: Status,
    /// The caller's id of the user, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// The caller's id of the company, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    company_id: Option<String>,
    /// Our id.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Why it was skipped or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The stable name of a refusal, as in `code` of a whole answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// Every reserved key that was sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reserved_keys: Vec<String>,
    /// Every wrong member, with what to send instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldFault>,
}

impl BulkAnswer {
    pub(super) fn new() -> Self {
        Self { success: true, ..Self::default() }
    }

    /// Adds the next record's result.
    pub(super) fn add(&mut self, named: Named, result: ItemResult) {
        let count = match result.status {
            Status::Created => &mut self.created,
            Status::Updated => &mut self.updated,
            Status::Unchanged => &mut self.unchanged,
            Status::Skipped => &mut self.skipped,
            Status::Rejected => &mut self.rejected,
        };
        *count += 1;
        let (user_id, company_id) = match named {
            Named::User(id) => (id, None),
            Named::Company(id) => (None, id),
        };
        let skipped = || "not known, and update_only is set".to_owned();
        let mut item = Item {
            index: self.total,
            status: result.status,
            user_id,
            company_id,
            id: result.id,
            reason: (result.status == Status::Skipped).then(skipped),
            code: None,
            reserved_keys: Vec::new(),
            errors: Vec::new(),
        };
        if let Some(refusal) = result.refusal {
            item.reason = Some(refusal.message);
            item.code = Some(refusal.code);
            item.reserved_keys = refusal.reserved_keys;
            item.errors = refusal.fields;
        }
        self.results.push(item);
        self.total += 1;
    }
}

/// How a record was named, where it was.
pub(super) enum Named {
    User(Option<String>),
    Company(Option<String>),
}

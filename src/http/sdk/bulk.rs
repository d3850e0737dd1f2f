//! Many records in one call: read one after the other, so that a wrong one spoils nothing but itself.

use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::answers::{failed, refused, too_large};
use super::{Caller, Sdk, author};
use crate::domain::OrgId;
use crate::http::ApiError;
use crate::http::extract::parse_object;
use crate::product::{Author, FieldFault, ItemResult, MOST_RECORDS, Product, ProductError, Refusal, Status};

/// Records that are held as values at once, and written in one unit.
const TOGETHER: usize = 250;

/// A record as it is sent, of a kind of which a call may bring many.
pub(super) trait Bulk: DeserializeOwned + Send {
    /// What is written of it.
    type Write: Send + Sync;
    /// The body's member that holds many.
    const MEMBER: &'static str;

    /// How it was named; `None`: a record that cannot be read.
    fn named(record: Option<&Self>) -> Named;

    /// What to write, or why not.
    fn checked(self) -> Result<Self::Write, Refusal>;

    /// Writes them, each whole or not at all.
    fn update(
        product: &Product,
        org: &OrgId,
        writes: &[Self::Write],
        update_only: bool,
        author: &Author,
    ) -> impl Future<Output = Result<Vec<ItemResult>, ProductError>> + Send;
}

/// A body of `update` but for its records.
pub(super) struct Head {
    pub(super) update_only: Option<bool>,
    pub(super) user_token: Option<String>,
}

/// Carries `update` out: for many `records`, or for the one whose members the body has itself.
pub(super) async fn update<R: Bulk>(
    sdk: &Sdk,
    caller: &Caller,
    body: &[u8],
    records: Option<Vec<&RawValue>>,
    head: Head,
) -> Result<Response, ApiError> {
    let voice = caller.bulk_voice(sdk, head.user_token.as_deref()).await?;
    let (author, update_only) = (author(voice), head.update_only.unwrap_or(false));
    let mut answer = BulkAnswer::new();
    let Some(records) = records else {
        let record: R = parse_object(body)?;
        let named = R::named(Some(&record));
        let write = record.checked().map_err(refused)?;
        let results = R::update(&sdk.product, caller.org(), &[write], update_only, &author).await;
        if let Some(result) = results.map_err(failed)?.into_iter().next() {
            if let (Status::Rejected, Some(refusal)) = (result.status, result.refusal.clone()) {
                return Err(refused(refusal));
            }
            answer.add(named, result);
        }
        return Ok(axum::Json(answer).into_response());
    };
    check_count(R::MEMBER, records.len())?;
    caller.charge_items(sdk, records.len())?;
    for piece in records.chunks(TOGETHER) {
        let mut right = Vec::with_capacity(piece.len());
        let mut named = Vec::with_capacity(piece.len());
        for raw in piece {
            let record = parse::<R>(raw);
            let name = R::named(record.as_ref().ok());
            let write = record.and_then(R::checked);
            named.push((name, write.map(|write| right.push(write)).err()));
        }
        let results = R::update(&sdk.product, caller.org(), &right, update_only, &author).await;
        let mut results = results.map_err(failed)?.into_iter();
        for (name, refusal) in named {
            if let Some(result) = refusal.map(ItemResult::rejected).or_else(|| results.next()) {
                answer.add(name, result);
            }
        }
    }
    Ok(axum::Json(answer).into_response())
}

/// Refuses more records than one call may bring.
fn check_count(member: &str, count: usize) -> Result<(), ApiError> {
    if count <= MOST_RECORDS {
        return Ok(());
    }
    Err(too_large(format!("{member}: {count} records, at most {MOST_RECORDS} are accepted in one call")))
}

/// One record, or why it cannot be read.
fn parse<T: DeserializeOwned>(raw: &RawValue) -> Result<T, Refusal> {
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
    fn new() -> Self {
        Self { success: true, ..Self::default() }
    }

    /// Adds the next record's result.
    fn add(&mut self, named: Named, result: ItemResult) {
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

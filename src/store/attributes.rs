//! Discovered attributes, custom fields, and the answers kept for `Idempotency-Key`.

use async_trait::async_trait;
use connector_sdk::Timestamp;

use super::Result;
use crate::domain::attributes::{
    Attribute, AttributeKind, AttributeName, AttributeScope, AttributeSeen, CustomField, Overflow,
};
use crate::domain::{KeyId, OrgId};

/// Keys of one scope and kind that are recorded.
pub const MOST_KEYS: i64 = 2_000;
/// How many of them may be known from publishable keys alone: a page cannot take the room of a server's keys.
pub const MOST_CLAIMED_KEYS: i64 = 500;

/// Which attributes are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeFilter {
    /// Whose; nothing for all.
    pub scope: Option<AttributeScope>,
    /// What; nothing for all.
    pub kind: Option<AttributeKind>,
    /// A part of the key, in any case.
    pub part: Option<String>,
    /// Also those that are hidden.
    pub hidden: bool,
}

/// What an organisation changes of an attribute. A member that is nothing stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeChange {
    /// The description, or none.
    pub description: Option<Option<String>>,
    /// Whether it is in the prompt, or as it is by default.
    pub in_prompt: Option<Option<bool>>,
    /// Whether lists leave it out.
    pub hidden: Option<bool>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// It is as asked for.
    Done(Box<Attribute>),
    /// There is none of that id.
    Unknown,
    /// It has another version than the caller knows.
    Stale(i64),
}

/// What an organisation says about an attribute, for the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeSaying {
    /// Whose.
    pub scope: AttributeScope,
    /// What.
    pub kind: AttributeKind,
    /// The key.
    pub key: String,
    /// The description.
    pub description: Option<String>,
    /// Whether it is in the prompt.
    pub in_prompt: Option<bool>,
}

/// A request that came with an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotentRequest {
    /// The API key that it came with: other keys' requests are others.
    pub api_key: KeyId,
    /// The header.
    pub key: String,
    /// What tells the request from another one.
    pub hash: String,
    /// Until when it counts as being worked on.
    pub lease_until: Timestamp,
    /// When its answer is forgotten.
    pub expires_at: Timestamp,
}

/// A stored answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The status.
    pub status: u16,
    /// Headers that belong to the answer.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Whether a request with an `Idempotency-Key` may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is the first, or the first one's lease has run out.
    First,
    /// The first is being worked on.
    Running,
    /// It was answered.
    Answered(StoredAnswer),
    /// The key was used for another request.
    Other,
}

/// Attributes.
#[async_trait]
pub trait AttributeStore {
    /// Adds what was seen. Keys beyond [`MOST_KEYS`] (or [`MOST_CLAIMED_KEYS`]) are counted and not recorded; `refused` is
    /// what the recorder itself had no room for. Samples and single values of rows that are gone are left out.
    async fn record_attributes(
        &self,
        org: &OrgId,
        seen: &[AttributeSeen],
        refused: &[Overflow],
        at: Timestamp,
    ) -> Result<()>;

    /// Attributes by scope, kind and key, those behind `after`.
    async fn list_attributes(
        &self,
        org: &OrgId,
        filter: &AttributeFilter,
        after: Option<&AttributeName>,
        limit: u32,
    ) -> Result<Vec<Attribute>>;

    /// The attribute of that id.
    async fn find_attribute(&self, org: &OrgId, id: &str) -> Result<Option<Attribute>>;

    /// Changes what the organisation says about an attribute, if it still has that version.
    async fn change_attribute(
        &self,
        org: &OrgId,
        id: &str,
        change: &AttributeChange,
        version: Option<i64>,
    ) -> Result<Changed>;

    /// The id of the attribute of that place; makes it where it was never seen.
    async fn put_attribute(&self, org: &OrgId, name: &AttributeName, at: Timestamp) -> Result<String>;

    /// Drops the samples that come from a row and the values that it alone said; answers how many attributes changed.
    async fn forget_attribute_samples(&self, org: &OrgId, row: &str) -> Result<u64>;

    /// Attributes with a description, or that are put into the prompt or kept out of it.
    async fn load_attribute_sayings(&self, org: &OrgId) -> Result<Vec<AttributeSaying>>;

    /// Keys that were not recorded.
    async fn list_attribute_overflows(&self, org: &OrgId) -> Result<Vec<Overflow>>;

    /// Custom fields by scope and key.
    async fn list_custom_fields(&self, org: &OrgId) -> Result<Vec<CustomField>>;

    /// Adds a custom field; false where its scope has one of that key.
    async fn add_custom_field(&self, org: &OrgId, field: &CustomField) -> Result<bool>;

    /// Replaces a custom field's label, type, options, strictness; false where there is none of its id.
    async fn put_custom_field(&self, org: &OrgId, field: &CustomField) -> Result<bool>;

    /// Deletes a definition; the values stay. False where there is none of that id.
    async fn delete_custom_field(&self, org: &OrgId, id: &str) -> Result<bool>;

    /// Begins a request, and forgets answers whose time has come.
    async fn begin_idempotent(
        &self,
        org: &OrgId,
        request: &IdempotentRequest,
        at: Timestamp,
    ) -> Result<Begun>;

    /// Keeps the answer; with nothing, lets the request be sent again.
    async fn end_idempotent(
        &self,
        org: &OrgId,
        request: &IdempotentRequest,
        answer: Option<&StoredAnswer>,
    ) -> Result<()>;
}

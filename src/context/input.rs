//! What merge takes: the stored user and company, what the request brings, what is known of attributes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::Scope;
use crate::domain::companies::Company;
use crate::domain::users::EndUser;
use crate::domain::{ContextEntry, Rank};

/// A stored user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UserDoc {
    /// The caller's id; not printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Traits that are not columns.
    #[serde(default)]
    pub custom_fields: Map<String, Value>,
    /// Context entries by key.
    #[serde(default)]
    pub context: BTreeMap<String, ContextEntry>,
    /// The rank of a field, by its key, and of an entry, by `context.KEY`; absent means `server`.
    #[serde(default)]
    pub provenance: BTreeMap<String, Rank>,
    /// Columns: every other member. A column wins over a custom field of the same name.
    #[serde(flatten)]
    pub columns: Map<String, Value>,
}

/// A stored company.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompanyDoc {
    /// The caller's id; not printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Traits that are not columns.
    #[serde(default)]
    pub custom_fields: Map<String, Value>,
    /// Context entries by key.
    #[serde(default)]
    pub context: BTreeMap<String, ContextEntry>,
    /// As for a user.
    #[serde(default)]
    pub provenance: BTreeMap<String, Rank>,
    /// What was derived comes from a test-mode connection; the header says so.
    #[serde(default)]
    pub test: bool,
    /// As for a user.
    #[serde(flatten)]
    pub columns: Map<String, Value>,
}

/// The class of key that a request came with; decides the rank of what it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyClass {
    /// A key that only servers hold.
    #[default]
    Server,
    /// A key that browsers hold: what comes with it is a claim.
    Publishable,
}

impl KeyClass {
    /// The rank of what comes with the key.
    pub fn rank(self) -> Rank {
        match self {
            Self::Server => Rank::Server,
            Self::Publishable => Rank::Claimed,
        }
    }
}

/// What a chat request brings; laid over what is stored, for this answer only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The class of its key.
    pub key: KeyClass,
    /// Claims of a verified user token (`email`, `name`, `role`, `plan` …): of the rank of a server key.
    pub claims: Map<String, Value>,
    /// Traits of the user.
    pub custom_fields: Map<String, Value>,
    /// Context entries by key. They lie over the stored entries of the user and of the company.
    pub context: BTreeMap<String, ContextEntry>,
    /// What it says about the company.
    pub company: CompanyPart,
}

/// What a request says about the company.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompanyPart {
    /// Traits of the company.
    pub custom_fields: Map<String, Value>,
    /// Context entries by key.
    pub context: BTreeMap<String, ContextEntry>,
}

/// What the operator has said about an attribute. Other members of its record (data type, sample value) are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttributeInfo {
    /// Whose attribute.
    pub scope: Scope,
    /// A field's key, or a context entry's.
    pub key: String,
    /// What it means; printed behind the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it is printed at all. Absent: yes, apart from [`super::fields::QUIET_FIELDS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_prompt: Option<bool>,
}

/// How the prompt is printed, unless a request says otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptSettings {
    /// Descriptions, and what is kept out of the prompt.
    pub attributes: Vec<AttributeInfo>,
    /// Tokens that the text may take; `None` for no limit.
    pub budget_tokens: Option<usize>,
    /// ISO 4217 code for plain numbers in `mrr` and `arr`.
    pub reporting_currency: Option<String>,
}

impl From<EndUser> for UserDoc {
    fn from(user: EndUser) -> Self {
        Self {
            columns: columns(&user.fields),
            external_id: user.external_id,
            custom_fields: user.custom_fields,
            context: user.context,
            provenance: user.provenance.into_iter().map(|(key, source)| (key, source.rank)).collect(),
        }
    }
}

impl From<Company> for CompanyDoc {
    fn from(company: Company) -> Self {
        Self {
            columns: columns(&company.fields),
            external_id: company.external_id,
            custom_fields: company.custom_fields,
            context: company.context,
            provenance: company.provenance.into_iter().map(|(key, source)| (key, source.rank)).collect(),
            test: company.test,
        }
    }
}

/// A struct of columns as a map; its members are strings, numbers, booleans and dates, which all serialise.
fn columns(fields: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(fields) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

//! Companies.

use std::collections::BTreeMap;

use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CompanyId, ContextEntry, Rank};

/// A company as it is stored: recognised fields in columns, everything else in `custom_fields`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Company {
    /// Our id.
    pub id: CompanyId,
    /// The caller's id (`company_id` of the SDK API); unique in the organisation.
    pub external_id: Option<String>,
    /// Who created it: `sdk`, `manual`, or a connector's id.
    pub source: String,
    /// Recognised fields that have a column. Absent means never set.
    pub fields: CompanyFields,
    /// Every other trait.
    pub custom_fields: Map<String, Value>,
    /// Context entries by key; keys that begin with `halo.` are written by derivation only.
    pub context: BTreeMap<String, ContextEntry>,
    /// Rank and source of each field; a context entry is named `context.KEY`. Absent means `server`.
    pub provenance: BTreeMap<String, FieldSource>,
    /// Whether what was derived comes from a test-mode connection.
    pub test: bool,
    /// When the row was made.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// Columns of a company, in the reference's order. Dates are `YYYY-MM-DD`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompanyFields {
    /// Display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Web domain, lower case, without scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Industry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub industry: Option<String>,
    /// Name of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Number of employees, as a CRM or the product says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub employee_count: Option<i64>,
    /// When the company signed up for the product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_up_at: Option<Timestamp>,
    /// One of the nine renewal statuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_status: Option<String>,
    /// UTC date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_date: Option<chrono::NaiveDate>,
    /// Agreement frequency: `monthly`, `quarterly`, `annual`, `bi_annual`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract_term: Option<String>,
    /// The term in months, also where the enum has no word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract_term_months: Option<i64>,
    /// Billing frequency, the same four words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_terms: Option<String>,
    /// Whether a contract is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_contract: Option<bool>,
    /// Monthly recurring revenue, minor units of `mrr_currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrr_minor: Option<i64>,
    /// Annual recurring revenue, minor units of `mrr_currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arr_minor: Option<i64>,
    /// ISO 4217, lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrr_currency: Option<String>,
    /// Distinct end users linked to the company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team_size: Option<i64>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_score: Option<i64>,
    /// When somebody of the operator last wrote to the company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_contacted_at: Option<Timestamp>,
}

/// Where a stored value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldSource {
    /// Who wins.
    pub rank: Rank,
    /// `sdk`, `manual`, a connector's id, or `derived`.
    pub source: String,
    /// When it was written.
    pub at: Timestamp,
}

/// A write to a company or a user: merged key by key, a context entry replaced whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TraitPatch {
    /// Traits by key, recognised or not; `null` removes a custom field.
    pub traits: Map<String, Value>,
    /// Context entries; `None` removes.
    pub context: BTreeMap<String, Option<ContextEntry>>,
}

//! End users.

use std::collections::BTreeMap;

use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::companies::FieldSource;
use super::{CompanyId, ContextEntry, UserId};

/// An end user as stored. `role`, `plan` and `avatar` of a user live in `custom_fields`, as in the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndUser {
    /// Our id.
    pub id: UserId,
    /// The caller's id (`user_id` of the SDK API); unique in the organisation.
    pub external_id: Option<String>,
    /// The company that the user is linked to.
    pub company_id: Option<CompanyId>,
    /// Who created it: `sdk`, `manual`, or a connector's id.
    pub source: String,
    /// Recognised fields that have a column.
    pub fields: UserFields,
    /// Every other trait.
    pub custom_fields: Map<String, Value>,
    /// Context entries by key.
    pub context: BTreeMap<String, ContextEntry>,
    /// As for companies.
    pub provenance: BTreeMap<String, FieldSource>,
    /// When the user was first seen in the product.
    pub first_seen: Option<Timestamp>,
    /// When the user was last seen in the product.
    pub last_seen: Option<Timestamp>,
    /// A test user: not counted in `team_size`.
    pub is_test: bool,
    /// When the row was made.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// Columns of a user, in the reference's order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserFields {
    /// Display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// When the user signed up for the product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_up_at: Option<Timestamp>,
    /// One of the nine renewal statuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_status: Option<String>,
    /// UTC date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_date: Option<chrono::NaiveDate>,
    /// Agreement frequency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract_term: Option<String>,
    /// Billing frequency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_terms: Option<String>,
    /// Whether a contract is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_contract: Option<bool>,
    /// Minor units of `mrr_currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrr_minor: Option<i64>,
    /// Minor units of `mrr_currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arr_minor: Option<i64>,
    /// ISO 4217, lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrr_currency: Option<String>,
}

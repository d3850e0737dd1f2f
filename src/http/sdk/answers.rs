//! Records as the reference answers them: times with microseconds and `+00:00`, money in major units.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use connector_sdk::Timestamp;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::context::money::Money;
use crate::domain::ContextEntry;
use crate::domain::companies::{Company, CompanyFields};
use crate::domain::users::{EndUser, UserFields};
use crate::http::ApiError;
use crate::product::{ProductError, Refusal};
use crate::store::product::Change;

use super::auth::RETRY_SECONDS;

/// Where the rules for traits are described.
const DOCS: &str = "/docs#reserved-keys";

/// An instant in the reference's form: `2026-04-11T12:25:19.492417+00:00`.
#[derive(Debug, Clone, Copy)]
struct Instant(Timestamp);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.format("%Y-%m-%dT%H:%M:%S%.6f%:z"))
    }
}

/// An amount as a JSON number in major units, exact.
fn major(minor: Option<i64>, currency: Option<&str>) -> Option<Box<RawValue>> {
    let money = Money::new(minor?, currency?)?;
    RawValue::from_string(money.major()).ok()
}

fn code(currency: Option<&str>) -> Option<String> {
    currency.map(str::to_ascii_uppercase)
}

/// A user. Members that have no value are left out; a publishable key is told what it sent, ids and times alone.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "User")]
pub(super) struct UserAnswer {
    /// Always true.
    success: bool,
    /// What became of the record.
    status: Change,
    /// Our id.
    id: String,
    /// The caller's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    /// The caller's id of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// The caller's id of the company.
    #[serde(skip_serializing_if = "Option::is_none")]
    company_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// When it signed up for the product.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    signed_up_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renewal_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renewal_date: Option<NaiveDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contract_term: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_terms: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_contract: Option<bool>,
    /// Monthly recurring revenue, major units of `mrr_currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    mrr: Option<Box<RawValue>>,
    /// Annual recurring revenue, major units of `mrr_currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    arr: Option<Box<RawValue>>,
    /// ISO 4217.
    #[serde(skip_serializing_if = "Option::is_none")]
    mrr_currency: Option<String>,
    /// Traits that have no member of their own.
    custom_fields: Map<String, Value>,
    /// Context entries by key.
    context: BTreeMap<String, ContextEntry>,
    /// When the user was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    first_seen: Option<Instant>,
    /// When the user was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    last_seen: Option<Instant>,
    /// When the record was made.
    #[schemars(with = "String")]
    created_at: Instant,
    /// When something about it last changed.
    #[schemars(with = "String")]
    updated_at: Instant,
}

impl UserAnswer {
    /// `company_id`: the caller's.
    pub(super) fn of(user: EndUser, company_id: Option<String>, status: Change) -> Self {
        let UserFields {
            name,
            email,
            signed_up_at,
            renewal_status,
            renewal_date,
            contract_term,
            payment_terms,
            on_contract,
            mrr_minor,
            arr_minor,
            mrr_currency,
        } = user.fields;
        Self {
            success: true,
            status,
            id: user.id.0,
            user_id: user.external_id.clone(),
            external_id: user.external_id,
            company_id,
            name,
            email,
            signed_up_at: signed_up_at.map(Instant),
            renewal_status,
            renewal_date,
            contract_term,
            payment_terms,
            on_contract,
            mrr: major(mrr_minor, mrr_currency.as_deref()),
            arr: major(arr_minor, mrr_currency.as_deref()),
            mrr_currency: code(mrr_currency.as_deref()),
            custom_fields: user.custom_fields,
            context: user.context,
            first_seen: user.first_seen.map(Instant),
            last_seen: user.last_seen.map(Instant),
            created_at: Instant(user.created_at),
            updated_at: Instant(user.updated_at),
        }
    }
}

/// A company. Members that have no value are left out; a publishable key is told what it sent, ids and times alone.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Company")]
pub(super) struct CompanyAnswer {
    /// Always true.
    success: bool,
    /// What became of the record.
    status: Change,
    /// Our id.
    id: String,
    /// The caller's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    /// The caller's id of the company.
    #[serde(skip_serializing_if = "Option::is_none")]
    company_id: Option<String>,
    /// The caller's id of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    industry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    employee_count: Option<i64>,
    /// When it signed up for the product.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    signed_up_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renewal_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renewal_date: Option<NaiveDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contract_term: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contract_term_months: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_terms: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_contract: Option<bool>,
    /// Monthly recurring revenue, major units of `mrr_currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    mrr: Option<Box<RawValue>>,
    /// Annual recurring revenue, major units of `mrr_currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    arr: Option<Box<RawValue>>,
    /// ISO 4217.
    #[serde(skip_serializing_if = "Option::is_none")]
    mrr_currency: Option<String>,
    /// How many users are linked.
    #[serde(skip_serializing_if = "Option::is_none")]
    team_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_score: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    last_contacted_at: Option<Instant>,
    /// Traits that have no member of their own.
    custom_fields: Map<String, Value>,
    /// Context entries by key.
    context: BTreeMap<String, ContextEntry>,
    /// When the record was made.
    #[schemars(with = "String")]
    created_at: Instant,
    /// When something about it last changed.
    #[schemars(with = "String")]
    updated_at: Instant,
}

impl CompanyAnswer {
    /// `user_id`: the caller's id of the user that the call named.
    pub(super) fn of(company: Company, user_id: Option<String>, status: Change) -> Self {
        let CompanyFields {
            name,
            domain,
            industry,
            plan,
            employee_count,
            signed_up_at,
            renewal_status,
            renewal_date,
            contract_term,
            contract_term_months,
            payment_terms,
            on_contract,
            mrr_minor,
            arr_minor,
            mrr_currency,
            team_size,
            health_score,
            last_contacted_at,
        } = company.fields;
        Self {
            success: true,
            status,
            id: company.id.0,
            company_id: company.external_id.clone(),
            external_id: company.external_id,
            user_id,
            name,
            domain,
            industry,
            plan,
            employee_count,
            signed_up_at: signed_up_at.map(Instant),
            renewal_status,
            renewal_date,
            contract_term,
            contract_term_months,
            payment_terms,
            on_contract,
            mrr: major(mrr_minor, mrr_currency.as_deref()),
            arr: major(arr_minor, mrr_currency.as_deref()),
            mrr_currency: code(mrr_currency.as_deref()),
            team_size,
            health_score,
            last_contacted_at: last_contacted_at.map(Instant),
            custom_fields: company.custom_fields,
            context: company.context,
            created_at: Instant(company.created_at),
            updated_at: Instant(company.updated_at),
        }
    }
}

/// A refusal as an answer: every wrong member is named.
pub(super) fn refused(refusal: Refusal) -> ApiError {
    let message = refusal.message;
    let error = match refusal.code {
        "payload_too_large" => too_large(message),
        "not_found" => ApiError::not_found(message),
        "reserved_keys" => ApiError::bad_request("reserved_keys", message),
        "missing_field" => ApiError::bad_request("missing_field", message),
        "invalid_field" => ApiError::bad_request("invalid_field", message),
        "invalid_body" => ApiError::bad_request("invalid_body", message),
        _ => ApiError::bad_request("invalid_record", message),
    };
    let error = match refusal.fields.is_empty() {
        true => error,
        false => error.with("errors", json!(refusal.fields)),
    };
    match refusal.reserved_keys.is_empty() {
        true => error,
        false => error.with("reserved_keys", json!(refusal.reserved_keys)).with("docs_url", DOCS),
    }
}

/// More than one call may bring.
pub(super) fn too_large(message: String) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "Content too large").detail(message)
}

/// An error of the service as an answer.
pub(super) fn failed(error: ProductError) -> ApiError {
    match error {
        ProductError::Refused(refusal) => refused(refusal),
        ProductError::Store(error) => ApiError::unavailable(RETRY_SECONDS, &error),
    }
}

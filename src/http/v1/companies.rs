//! `/api/v1/companies`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use connector_sdk::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{object, unavailable};
use crate::domain::companies::Company;
use crate::domain::{CompanyId, ContextEntry, OrgId};
use crate::http::ApiError;
use crate::http::cursor::{self, Cursors, Page};
use crate::http::extract::{Named, Params};
use crate::http::openapi::{In, Operation, Routes, Tag};
use crate::http::sdk::{Caller, Sdk};
use crate::store::identity::Lookup;

const LIST: &str = "/api/v1/companies";

/// A company as it is stored.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Company")]
struct View {
    /// Our id, `cmp_…`.
    id: String,
    /// The caller's id.
    company_id: Option<String>,
    /// Who made it: `sdk`, `manual`, or a connector's id.
    source: String,
    /// Recognised fields. Amounts end in `_minor` and are in minor units of `mrr_currency`.
    fields: Map<String, Value>,
    /// Every other trait.
    custom_fields: Map<String, Value>,
    /// Context entries by key.
    context: BTreeMap<String, ContextEntry>,
    /// Rank, source and time of each field; a context entry is `context.KEY`.
    provenance: Map<String, Value>,
    /// Whether what is derived comes from a test-mode connection.
    test: bool,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last written.
    updated_at: Timestamp,
}

impl From<Company> for View {
    fn from(company: Company) -> Self {
        Self {
            id: company.id.0,
            company_id: company.external_id,
            source: company.source,
            fields: object(&company.fields),
            custom_fields: company.custom_fields,
            context: company.context,
            provenance: object(&company.provenance),
            test: company.test,
            created_at: company.created_at,
            updated_at: company.updated_at,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    /// The beginning of a word of the name, the domain or the caller's id.
    q: Option<String>,
    /// Rows of the page: 1 to 200, 50 unless said otherwise.
    #[schemars(range(min = 1, max = 200))]
    #[serde(skip_serializing)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing)]
    cursor: Option<String>,
}

pub(super) fn routes() -> Routes<Sdk> {
    Routes::new()
        .add(list_operation(), list)
        .add(find_operation(), find)
        .add(derivation_operation(), derivation)
}

fn example() -> Value {
    json!({
        "id": "cmp_01K0000000000000000000000A", "company_id": "company_456", "source": "sdk",
        "fields": {"name": "Acme Corp", "plan": "enterprise", "mrr_minor": 29900, "mrr_currency": "usd"},
        "custom_fields": {"space_id": "space_789"}, "context": {},
        "provenance": {"plan": {"rank": "synced", "source": "stripe", "at": "2026-11-22T15:00:00Z"}},
        "test": false, "created_at": "2026-11-01T09:00:00Z", "updated_at": "2026-11-22T15:00:00Z",
    })
}

fn list_operation() -> Operation {
    Operation::get(LIST, "list_companies", "Companies, in the order that they were made in")
        .tag(Tag::Data)
        .query::<Query>()
        .answer::<Page<View>>(
            200,
            "A page of them.",
            json!({"data": [example()], "next_cursor": null, "has_more": false}),
        )
        .codes(&["bad_cursor"])
}

fn find_operation() -> Operation {
    Operation::get("/api/v1/companies/{id}", "find_company", "A company")
        .tag(Tag::Data)
        .parameter::<String>(In::Path, "id", "Our id (`cmp_…`) or the caller's.")
        .answer::<View>(200, "It.", example())
        .codes(&["not_found"])
}

fn derivation_operation() -> Operation {
    Operation::get("/api/v1/companies/{id}/derivation", "find_derivation", "How a company's fields were derived")
        .about("The document that `halo-sync derive --explain` prints from: values, records, rules, inputs, and what lost and why.")
        .tag(Tag::Data)
        .parameter::<String>(In::Path, "id", "Our id (`cmp_…`) or the caller's.")
        .answer::<Map<String, Value>>(200, "The document.", json!({"fields": {}}))
        .codes(&["not_found"])
}

async fn list(
    State(sdk): State<Sdk>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    let limit = cursor::limit(query.limit)?;
    let cursors = Cursors::new(caller.org(), LIST, &query);
    let after: Option<String> = cursors.read(query.cursor.as_deref())?;
    let search = query.q.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let listed = sdk.store.list_companies(caller.org(), search, after.as_deref(), i64::from(limit) + 1).await;
    let rows: Vec<View> = listed.map_err(unavailable)?.rows.into_iter().map(View::from).collect();
    Ok(Json(cursors.page(rows, limit, |row| row.id.clone())).into_response())
}

async fn find(
    State(sdk): State<Sdk>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    Ok(Json(View::from(company(&sdk, caller.org(), &id).await?)).into_response())
}

async fn derivation(
    State(sdk): State<Sdk>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    let company: CompanyId = company(&sdk, caller.org(), &id).await?.id;
    let document = sdk.store.find_derivation(caller.org(), &company).await.map_err(unavailable)?;
    let document = document.ok_or_else(|| ApiError::not_found("nothing is derived of this company"))?;
    Ok(Json(document).into_response())
}

async fn company(sdk: &Sdk, org: &OrgId, id: &str) -> Result<Company, ApiError> {
    let found = sdk.store.find_company(org, &Lookup::parse(id)).await.map_err(unavailable)?;
    found.ok_or_else(|| ApiError::not_found("there is no company of this id"))
}

//! `POST /api/sdk/chat/context`: what the chat's system prompt says about a customer.
//!
//! The body is the reference's chat body; what does not bear on the context is ignored. The answer is the
//! text and the merged document. A user or company that is not known is no error: the text then holds what
//! the request brings.

use std::collections::BTreeMap;

use axum::extract::{FromRequest as _, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Sdk;
use crate::context::merge::Party;
use crate::context::{
    CompanyDoc, CompanyPart, MergeOptions, Merged, RenderOptions, Request, Scope, UserDoc, merge, render,
};
use crate::domain::ContextEntry;
use crate::http::ApiError;
use crate::http::extract::JsonBody;
use crate::store::identity::Lookup;

/// The reference's limit on the custom fields of a request, in characters of JSON.
const CUSTOM_FIELDS_CHARS: usize = 10_000;
/// The reference's limits on a stored user's and company's payload, in bytes of JSON. What a request lays
/// over them keeps the same.
const USER_BYTES: usize = 20_000;
const COMPANY_BYTES: usize = 50_000;
/// When to come again after a trouble of ours.
const RETRY_SECONDS: u64 = 5;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    user_id: Option<String>,
    company_id: Option<String>,
    custom_fields: Map<String, Value>,
    context: BTreeMap<String, ContextEntry>,
    company: CompanyPart,
    explain: bool,
    budget_tokens: Option<usize>,
}

/// The route.
pub async fn handle(
    State(sdk): State<Sdk>,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    // Who asks comes before what is asked: a stranger's body is not read.
    let key = sdk.keys.authenticate_server(&headers).await?;
    let JsonBody(body) = JsonBody::<Body>::from_request(request, &()).await?;
    body.check()?;
    let (user, company) = (lookup(body.user_id.as_deref()), lookup(body.company_id.as_deref()));
    let view = sdk.store.load_view(&key.org_id, user.as_ref(), company.as_ref()).await;
    let view = view.map_err(|e| ApiError::unavailable(RETRY_SECONDS, &e))?;
    let user = view.user.as_ref().map(UserDoc::from);
    let company = view.company.as_ref().map(CompanyDoc::from);
    let request = Request {
        custom_fields: body.custom_fields,
        context: body.context,
        company: body.company,
        ..Request::default()
    };
    let options = MergeOptions { reporting_currency: sdk.prompt.reporting_currency.clone() };
    let merged = merge(user.as_ref(), company.as_ref(), &request, &sdk.prompt.attributes, &options);
    let budget_tokens = body.budget_tokens.or(sdk.prompt.budget_tokens);
    let rendered = render(&merged, &RenderOptions { budget_tokens, ..RenderOptions::default() });
    let mut answer = json!({
        "text": rendered.text,
        "tokens": rendered.tokens,
        "sections": rendered.sections,
        "trimmed": rendered.trimmed,
        "document": document(&merged),
        "user_id": view.user.as_ref().map(|u| &u.id),
        "company_id": view.company.as_ref().map(|c| &c.id),
    });
    if body.explain
        && let Some(members) = answer.as_object_mut()
    {
        members.insert("explain".to_owned(), json!(merged));
    }
    Ok(axum::Json(answer).into_response())
}

/// `anonymous` is the reference's word for nobody.
fn lookup(id: Option<&str>) -> Option<Lookup> {
    id.filter(|id| !id.is_empty() && *id != "anonymous").map(Lookup::parse)
}

impl Body {
    fn check(&self) -> Result<(), ApiError> {
        let chars = json_text(&self.custom_fields).chars().count();
        limit("custom_fields", chars, CUSTOM_FIELDS_CHARS, "characters")?;
        limit("context", json_text(&self.context).len(), USER_BYTES, "bytes")?;
        limit("company", json_text(&self.company).len(), COMPANY_BYTES, "bytes")
    }
}

/// The merged document: what won, by key, without where it came from.
fn document(merged: &Merged<'_>) -> Value {
    let fields = |party: &Party<'_>| -> Map<String, Value> {
        party.fields.iter().map(|f| (f.key.to_owned(), json!(f.value))).collect()
    };
    let entries = |scope: Scope| -> Map<String, Value> {
        let of_scope = merged.entries.iter().filter(|e| e.scope == scope);
        of_scope.map(|e| (e.key.to_owned(), json!(e.entry))).collect()
    };
    json!({
        "user": merged.user.as_ref().map(fields),
        "company": merged.company.as_ref().map(fields),
        "context": { "user": entries(Scope::User), "company": entries(Scope::Company) },
    })
}

/// What came from JSON goes back to JSON.
fn json_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn limit(member: &str, measured: usize, limit: usize, unit: &str) -> Result<(), ApiError> {
    if measured <= limit {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "too_large",
        format!("{member}: {measured} {unit}, at most {limit} are accepted"),
    ))
}

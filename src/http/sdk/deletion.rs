//! Deleting a user or a company with everything that hangs on it: `DELETE /api/sdk/users/{user_id}` and
//! `/companies/{company_id}`, or `POST /api/sdk/users/delete` and `/companies/delete` for ids that a path cannot hold.
//! For server keys only.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answers::failed;
use super::{Caller, Sdk};
use crate::http::ApiError;
use crate::http::extract::JsonBody;
use crate::http::openapi::{In, Operation, Routes, Tag};
use crate::store::product::Erased;

/// A user to delete.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "UserDeleteRequest")]
pub(super) struct NamedUser {
    /// The caller's id.
    user_id: String,
}

/// A company to delete.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "CompanyDeleteRequest")]
pub(super) struct NamedCompany {
    /// The caller's id.
    company_id: String,
}

/// What was deleted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Deleted")]
struct Answer {
    /// Always true.
    success: bool,
    /// Always true.
    deleted: bool,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    company_id: Option<String>,
    /// What went with it.
    erased: Erased,
}

const USERS: &str = "Deletes the user with everything that hangs on it: traits, context, conversations, tickets, events, stored \
    webhook requests that name it, and what providers say about parties that nothing but its e-mail address led to. No \
    later read brings that back.";
const COMPANIES: &str = "Deletes the company with everything that hangs on it: traits, context, derivation, history, its \
    parties' records in the mirror and the webhook requests about them. Its users stay, without a company. What a \
    provider says about its parties is passed over from then on.";

/// The routes, and what they say about themselves.
pub(super) fn routes() -> Routes<Sdk> {
    let erased = json!({"records": 0, "parties": 0, "deliveries": 0, "users_unlinked": 0});
    let a_user = json!({"success": true, "deleted": true, "user_id": "user_123", "erased": erased});
    let a_company = json!({"success": true, "deleted": true, "company_id": "company_456", "erased": erased});
    let of = |operation: Operation, about, example: &Value| {
        let codes = &["invalid_field", "missing_field", "not_found"];
        operation
            .about(about)
            .tag(Tag::Identity)
            .answer::<Answer>(200, "Deleted.", example.clone())
            .codes(codes)
    };
    let by_path = Operation::delete("/api/sdk/users/{user_id}", "delete_user", "Delete a user")
        .parameter::<String>(In::Path, "user_id", "The caller's id.")
        .codes(&["bad_parameter"]);
    let by_body = Operation::post("/api/sdk/users/delete", "delete_user_by_body", "Delete a user, by a body")
        .body::<NamedUser>(json!({"user_id": "user_123"}));
    let company_by_path =
        Operation::delete("/api/sdk/companies/{company_id}", "delete_company", "Delete a company")
            .parameter::<String>(In::Path, "company_id", "The caller's id.")
            .codes(&["bad_parameter"]);
    let company_by_body =
        Operation::post("/api/sdk/companies/delete", "delete_company_by_body", "Delete a company, by a body")
            .body::<NamedCompany>(json!({"company_id": "company_456"}));
    Routes::new()
        .add(of(by_path, USERS, &a_user), user)
        .add(of(by_body, USERS, &a_user), named_user)
        .add(of(company_by_path, COMPANIES, &a_company), company)
        .add(of(company_by_body, COMPANIES, &a_company), named_company)
}

fn in_path(id: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let id = id.map_err(|error| ApiError::bad_request("bad_parameter", error.body_text()))?;
    Ok(id.0)
}

async fn delete_user(sdk: &Sdk, caller: &Caller, id: String) -> Result<Response, ApiError> {
    let erased = sdk.product.delete_user(caller.org(), &id).await.map_err(failed)?;
    let erased = erased.ok_or_else(|| ApiError::not_found("there is no user with this user_id"))?;
    let answer = Answer { success: true, deleted: true, user_id: Some(id), company_id: None, erased };
    Ok(axum::Json(answer).into_response())
}

async fn delete_company(sdk: &Sdk, caller: &Caller, id: String) -> Result<Response, ApiError> {
    let erased = sdk.product.delete_company(caller.org(), &id).await.map_err(failed)?;
    let erased = erased.ok_or_else(|| ApiError::not_found("there is no company with this company_id"))?;
    let answer = Answer { success: true, deleted: true, user_id: None, company_id: Some(id), erased };
    Ok(axum::Json(answer).into_response())
}

/// The route `DELETE /api/sdk/users/{user_id}`.
pub(super) async fn user(
    State(sdk): State<Sdk>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    delete_user(&sdk, &caller, in_path(id)?).await
}

/// The route `POST /api/sdk/users/delete`.
pub(super) async fn named_user(
    State(sdk): State<Sdk>,
    caller: Caller,
    body: Result<JsonBody<NamedUser>, ApiError>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    delete_user(&sdk, &caller, body?.0.user_id).await
}

/// The route `DELETE /api/sdk/companies/{company_id}`.
pub(super) async fn company(
    State(sdk): State<Sdk>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    delete_company(&sdk, &caller, in_path(id)?).await
}

/// The route `POST /api/sdk/companies/delete`.
pub(super) async fn named_company(
    State(sdk): State<Sdk>,
    caller: Caller,
    body: Result<JsonBody<NamedCompany>, ApiError>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    delete_company(&sdk, &caller, body?.0.company_id).await
}

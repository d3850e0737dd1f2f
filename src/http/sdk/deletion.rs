//! Deleting a user or a company with everything that hangs on it: `DELETE /api/sdk/users/{user_id}` and
//! `/companies/{company_id}`, or `POST /api/sdk/users/delete` and `/companies/delete` for ids that a path cannot hold.
//! For server keys only.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::answers::failed;
use super::{Caller, Sdk};
use crate::http::ApiError;
use crate::http::extract::JsonBody;
use crate::store::product::Erased;

/// The body of the `POST` form.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    user_id: Option<String>,
    company_id: Option<String>,
}

fn missing(member: &str) -> ApiError {
    ApiError::bad_request("missing_field", format!("{member} is required"))
}

fn in_path(id: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let id = id.map_err(|error| ApiError::bad_request("invalid_path", error.body_text()))?;
    Ok(id.0)
}

fn answer(member: &str, id: &str, erased: Option<Erased>) -> Result<Response, ApiError> {
    match erased {
        None => Err(ApiError::not_found(format!("there is no record with this {member}"))),
        Some(erased) => {
            Ok(axum::Json(json!({ "success": true, "deleted": true, member: id, "erased": erased }))
                .into_response())
        }
    }
}

async fn delete_user(sdk: &Sdk, caller: &Caller, id: &str) -> Result<Response, ApiError> {
    let erased = sdk.product.delete_user(caller.org(), id).await.map_err(failed)?;
    answer("user_id", id, erased)
}

async fn delete_company(sdk: &Sdk, caller: &Caller, id: &str) -> Result<Response, ApiError> {
    let erased = sdk.product.delete_company(caller.org(), id).await.map_err(failed)?;
    answer("company_id", id, erased)
}

/// The route `DELETE /api/sdk/users/{user_id}`.
pub(super) async fn user(
    State(sdk): State<Sdk>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    delete_user(&sdk, &caller, &in_path(id)?).await
}

/// The route `POST /api/sdk/users/delete`.
pub(super) async fn named_user(
    State(sdk): State<Sdk>,
    caller: Caller,
    body: Result<JsonBody<Named>, ApiError>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    let id = body?.0.user_id.ok_or_else(|| missing("user_id"))?;
    delete_user(&sdk, &caller, &id).await
}

/// The route `DELETE /api/sdk/companies/{company_id}`.
pub(super) async fn company(
    State(sdk): State<Sdk>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    delete_company(&sdk, &caller, &in_path(id)?).await
}

/// The route `POST /api/sdk/companies/delete`.
pub(super) async fn named_company(
    State(sdk): State<Sdk>,
    caller: Caller,
    body: Result<JsonBody<Named>, ApiError>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    let id = body?.0.company_id.ok_or_else(|| missing("company_id"))?;
    delete_company(&sdk, &caller, &id).await
}

//! `POST /api/sdk/context/set` and `POST /api/sdk/context/clear`: what is happening to a user or a company now.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answers::failed;
use super::users::anonymous;
use super::{Caller, Sdk, author};
use crate::http::ApiError;
use crate::http::extract::JsonBody;
use crate::product::{ANONYMOUS, Clearing, ContextWritten, Whose};

/// Whose context, where a call names both a user and a company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scope {
    User,
    Company,
}

/// The body of both calls.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContextBody {
    user_id: Option<String>,
    company_id: Option<String>,
    scope: Option<Scope>,
    context: Option<Map<String, Value>>,
    key: Option<String>,
    entry: Option<Value>,
    all: Option<bool>,
    user_token: Option<String>,
}

/// What became of it. `cleared` is for a server's eyes.
#[derive(Serialize)]
struct Answer {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    company_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cleared: Option<Vec<String>>,
}

fn invalid(detail: &str) -> ApiError {
    ApiError::bad_request("invalid_body", detail)
}

/// Whose context a call is about; `None` for somebody who is not known.
fn whose(body: &ContextBody) -> Result<Option<Whose>, ApiError> {
    let scope = match (body.scope, &body.user_id, &body.company_id) {
        (Some(scope), _, _) => scope,
        (None, Some(_), None) => Scope::User,
        (None, None, Some(_)) => Scope::Company,
        (None, Some(_), Some(_)) => {
            return Err(invalid("user_id and company_id are both given: say scope, user or company"));
        }
        (None, None, None) => {
            return Err(ApiError::bad_request("missing_field", "user_id or company_id is required"));
        }
    };
    match (scope, &body.user_id, &body.company_id) {
        (Scope::User, Some(id), _) if id == ANONYMOUS => Ok(None),
        (Scope::User, Some(id), _) => Ok(Some(Whose::User(id.clone()))),
        (Scope::Company, _, Some(id)) => Ok(Some(Whose::Company(id.clone()))),
        (Scope::User, None, _) => {
            Err(ApiError::bad_request("missing_field", "user_id is required for scope user"))
        }
        (Scope::Company, _, None) => {
            Err(ApiError::bad_request("missing_field", "company_id is required for scope company"))
        }
    }
}

fn answer(caller: &Caller, whose: &Whose, written: ContextWritten, clears: bool) -> Response {
    let (user_id, company_id) = match whose {
        Whose::User(id) => (Some(id.clone()), None),
        Whose::Company(id) => (None, Some(id.clone())),
    };
    let cleared = (clears && caller.is_server()).then_some(written.cleared);
    axum::Json(Answer { success: true, id: written.id, user_id, company_id, cleared }).into_response()
}

/// The route of `set`: `context`, an object of entries, or one of them by `key` and `entry`.
pub(super) async fn set(
    State(sdk): State<Sdk>,
    caller: Caller,
    JsonBody(body): JsonBody<ContextBody>,
) -> Result<Response, ApiError> {
    let voice = caller.voice(&sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    let whose = whose(&body)?;
    let context = match (body.context, body.key, body.entry) {
        (Some(context), None, None) => context,
        (None, Some(key), Some(entry)) => Map::from_iter([(key, entry)]),
        _ => return Err(invalid("context, or key and entry, is required")),
    };
    let Some(whose) = whose else { return Ok(anonymous()) };
    let written = sdk.product.set_context(caller.org(), &whose, &context, &author(voice)).await;
    Ok(answer(&caller, &whose, written.map_err(failed)?, false))
}

/// The route of `clear`: one entry by `key`, or `all`.
pub(super) async fn clear(
    State(sdk): State<Sdk>,
    caller: Caller,
    JsonBody(body): JsonBody<ContextBody>,
) -> Result<Response, ApiError> {
    let voice = caller.voice(&sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    let whose = whose(&body)?;
    let what = match (body.key, body.all) {
        (Some(key), None | Some(false)) => Clearing::Key(key),
        (None, Some(true)) => Clearing::All,
        _ => return Err(invalid("key, or all: true, is required")),
    };
    let Some(whose) = whose else { return Ok(anonymous()) };
    let written = sdk.product.clear_context(caller.org(), &whose, &what, &author(voice)).await;
    Ok(answer(&caller, &whose, written.map_err(failed)?, true))
}

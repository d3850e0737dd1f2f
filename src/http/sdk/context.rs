//! `POST /api/sdk/context/set` and `POST /api/sdk/context/clear`: what is happening to a user or a company now.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answers::failed;
use super::users::{CODES, anonymous};
use super::{Caller, Sdk, author};
use crate::domain::ContextEntry;
use crate::http::ApiError;
use crate::http::codes::VOICE;
use crate::http::extract::JsonBody;
use crate::http::openapi::{Access, Operation, Routes, Tag};
use crate::product::{ANONYMOUS, Clearing, ContextWritten, Whose};

/// Whose context, where a call names both a user and a company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ContextScope")]
pub(super) enum Scope {
    User,
    Company,
}

/// The body of `set`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "ContextSetRequest")]
pub(super) struct SetBody {
    /// The caller's id of the user whose context it is.
    user_id: Option<String>,
    /// The caller's id of the company whose context it is.
    company_id: Option<String>,
    /// Whose, where both are named.
    scope: Option<Scope>,
    /// Entries by key; each replaces the one of its key, `null` removes it.
    #[schemars(with = "Option<BTreeMap<String, Option<ContextEntry>>>")]
    context: Option<Map<String, Value>>,
    /// The key of a single entry, in place of `context`.
    key: Option<String>,
    /// That entry.
    #[schemars(with = "Option<ContextEntry>")]
    entry: Option<Value>,
    /// Proves who speaks: HS256 with the identity secret.
    user_token: Option<String>,
}

/// The body of `clear`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "ContextClearRequest")]
pub(super) struct ClearBody {
    /// The caller's id of the user whose context it is.
    user_id: Option<String>,
    /// The caller's id of the company whose context it is.
    company_id: Option<String>,
    /// Whose, where both are named.
    scope: Option<Scope>,
    /// The key of the entry to remove.
    key: Option<String>,
    /// Removes all entries but those that the server writes, in place of `key`.
    all: Option<bool>,
    /// Proves who speaks: HS256 with the identity secret.
    user_token: Option<String>,
}

/// The routes, and what they say about themselves.
pub(super) fn routes() -> Routes<Sdk> {
    let entry = json!({"label": "Current Issues", "type": "error", "value": [{"area": "billing", "message": "Payment failed"}]});
    let answer = json!({"success": true, "id": "usr_01K0000000000000000000000", "user_id": "user_123"});
    let mut cleared = answer.clone();
    cleared["cleared"] = json!(["errors"]);
    let of_set = Operation::post("/api/sdk/context/set", "set_context", "Set what is happening now")
        .about(
            "Sets context entries of a user or a company, which is made where it is not known. Keys that begin with `halo.` are \
             the server's.",
        )
        .tag(Tag::Identity)
        .access(Access::AnyKey)
        .body::<SetBody>(json!({"user_id": "user_123", "context": {"errors": entry}}))
        .answer::<Answer>(200, "Stored.", answer)
        .codes(CODES)
        .codes(VOICE);
    let of_clear = Operation::post("/api/sdk/context/clear", "clear_context", "Clear what was happening")
        .about("Removes one entry or all. A publishable key removes what was claimed, and nothing else.")
        .tag(Tag::Identity)
        .access(Access::AnyKey)
        .body::<ClearBody>(json!({"user_id": "user_123", "key": "errors"}))
        .answer::<Answer>(200, "Removed, where it was there.", cleared)
        .codes(CODES)
        .codes(VOICE);
    Routes::new().add(of_set, set).add(of_clear, clear)
}

/// What became of it. `cleared` is for a server's eyes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ContextResult")]
struct Answer {
    /// Always true.
    success: bool,
    /// Our id of the record, unless it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    company_id: Option<String>,
    /// For a server key: keys of the entries that were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    cleared: Option<Vec<String>>,
}

fn invalid(detail: &str) -> ApiError {
    ApiError::bad_request("invalid_body", detail)
}

/// Whose context a call is about; `None` for somebody who is not known.
fn whose(
    scope: Option<Scope>,
    user_id: Option<&String>,
    company_id: Option<&String>,
) -> Result<Option<Whose>, ApiError> {
    let missing = |text: &str| Err(ApiError::bad_request("missing_field", text.to_owned()));
    let scope = match (scope, user_id, company_id) {
        (Some(scope), _, _) => scope,
        (None, Some(_), None) => Scope::User,
        (None, None, Some(_)) => Scope::Company,
        (None, Some(_), Some(_)) => {
            return Err(invalid("user_id and company_id are both given: say scope, user or company"));
        }
        (None, None, None) => {
            return missing("user_id or company_id is required");
        }
    };
    match (scope, user_id, company_id) {
        (Scope::User, Some(id), _) if id == ANONYMOUS => Ok(None),
        (Scope::User, Some(id), _) => Ok(Some(Whose::User(id.clone()))),
        (Scope::Company, _, Some(id)) => Ok(Some(Whose::Company(id.clone()))),
        (Scope::User, None, _) => missing("user_id is required for scope user"),
        (Scope::Company, _, None) => missing("company_id is required for scope company"),
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
    JsonBody(body): JsonBody<SetBody>,
) -> Result<Response, ApiError> {
    let voice = caller.voice(&sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    let whose = whose(body.scope, body.user_id.as_ref(), body.company_id.as_ref())?;
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
    JsonBody(body): JsonBody<ClearBody>,
) -> Result<Response, ApiError> {
    let voice = caller.voice(&sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    let whose = whose(body.scope, body.user_id.as_ref(), body.company_id.as_ref())?;
    let what = match (body.key, body.all) {
        (Some(key), None | Some(false)) => Clearing::Key(key),
        (None, Some(true)) => Clearing::All,
        _ => return Err(invalid("key, or all: true, is required")),
    };
    let Some(whose) = whose else { return Ok(anonymous()) };
    let written = sdk.product.clear_context(caller.org(), &whose, &what, &author(voice)).await;
    Ok(answer(&caller, &whose, written.map_err(failed)?, true))
}

//! `POST /api/sdk/users/identify` and `POST /api/sdk/users/update`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answers::{UserAnswer, failed, refused};
use super::bulk::{self, BulkAnswer};
use super::{Caller, Sdk, author};
use crate::http::ApiError;
use crate::http::extract::{JsonBody, RawBody, parse_object};
use crate::product::{ANONYMOUS, ItemResult, Refusal, Status, Traits, UserWrite};

/// One user, as it is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UserBody {
    user_id: Option<String>,
    traits: Traits,
    context: Option<Map<String, Value>>,
    company_id: Option<String>,
    session_id: Option<String>,
    user_token: Option<String>,
}

impl UserBody {
    fn write(self) -> UserWrite {
        UserWrite {
            user_id: self.user_id.unwrap_or_default(),
            traits: self.traits,
            context: self.context.unwrap_or_default(),
            company_id: self.company_id,
            session_id: self.session_id,
        }
    }
}

/// The route of `identify`: a user is there now.
pub(super) async fn identify(
    State(sdk): State<Sdk>,
    caller: Caller,
    JsonBody(body): JsonBody<UserBody>,
) -> Result<Response, ApiError> {
    let voice = caller.voice(&sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    if body.user_id.as_deref() == Some(ANONYMOUS) {
        return Ok(anonymous());
    }
    let write = body.write();
    let written = sdk.product.identify_user(caller.org(), &write, &author(voice)).await.map_err(failed)?;
    let (user, company_id) = match caller.is_server() {
        true => (written.user, written.company_id),
        false => (written.said(), write.company_id),
    };
    Ok(axum::Json(UserAnswer::of(user, company_id, written.change)).into_response())
}

/// Nobody is stored for somebody who is not known.
pub(super) fn anonymous() -> Response {
    axum::Json(json!({ "success": true, "anonymous": true })).into_response()
}

/// The body of `update`: `users`, or the members of one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct UpdateBody<'a> {
    #[serde(borrow)]
    users: Option<Vec<&'a RawValue>>,
    update_only: Option<bool>,
    user_token: Option<String>,
}

/// The route of `update`: a backend brings users in step, one or up to a thousand.
pub(super) async fn update(
    State(sdk): State<Sdk>,
    caller: Caller,
    RawBody(bytes): RawBody,
) -> Result<Response, ApiError> {
    let body: UpdateBody<'_> = parse_object(&bytes)?;
    let voice = caller.bulk_voice(&sdk, body.user_token.as_deref()).await?;
    let (author, update_only) = (author(voice), body.update_only.unwrap_or(false));
    let mut answer = BulkAnswer::new();
    let Some(users) = body.users else {
        let user: UserBody = parse_object(&bytes)?;
        let name = user.user_id.clone();
        let write = checked(user).map_err(refused)?;
        let result = sdk.product.update_users(caller.org(), &[write], update_only, &author).await;
        for result in result.map_err(failed)? {
            if let (Status::Rejected, Some(refusal)) = (result.status, result.refusal.clone()) {
                return Err(refused(refusal));
            }
            answer.add("user_id", name.clone(), result);
        }
        return Ok(axum::Json(answer).into_response());
    };
    bulk::check_count("users", users.len())?;
    for piece in users.chunks(bulk::TOGETHER) {
        let mut names = Vec::with_capacity(piece.len());
        let mut read = Vec::with_capacity(piece.len());
        for raw in piece {
            let user = bulk::parse::<UserBody>(raw);
            names.push(user.as_ref().ok().and_then(|user| user.user_id.clone()));
            read.push(user.and_then(checked));
        }
        let right: Vec<UserWrite> = read.iter().filter_map(|user| user.as_ref().ok().cloned()).collect();
        let results = sdk.product.update_users(caller.org(), &right, update_only, &author).await;
        let mut results = results.map_err(failed)?.into_iter();
        for (name, user) in names.into_iter().zip(read) {
            let result = match user {
                Err(refusal) => Some(ItemResult::rejected(refusal)),
                Ok(_) => results.next(),
            };
            if let Some(result) = result {
                answer.add("user_id", name, result);
            }
        }
    }
    Ok(axum::Json(answer).into_response())
}

/// A user of a backend's own records is somebody.
fn checked(user: UserBody) -> Result<UserWrite, Refusal> {
    if user.user_id.as_deref() == Some(ANONYMOUS) {
        return Err(Refusal::new("invalid_field", "user_id: anonymous is nobody, and is not stored"));
    }
    Ok(user.write())
}

//! `POST /api/sdk/users/identify` and `POST /api/sdk/users/update`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answers::{UserAnswer, failed};
use super::bulk::{self, Bulk, BulkAnswer, Head, Named};
use super::{Caller, Sdk, author};
use crate::domain::{ContextEntry, OrgId};
use crate::http::ApiError;
use crate::http::codes::VOICE;
use crate::http::extract::{JsonBody, RawBody, parse_object};
use crate::http::openapi::{Access, Operation, Routes, Tag};
use crate::product::{ANONYMOUS, Author, ItemResult, Product, ProductError, Refusal, Traits, UserWrite};

/// One user, as it is sent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "UserRequest")]
pub(super) struct UserBody {
    /// The caller's id of the user, at most 512 bytes; required. `anonymous`: nobody, and nothing is stored.
    user_id: Option<String>,
    /// Traits, merged key by key; with the context at most 20,000 bytes of JSON.
    traits: Traits,
    /// Context entries by key; an entry replaces the one of its key, `null` removes it.
    #[schemars(with = "Option<BTreeMap<String, Option<ContextEntry>>>")]
    context: Option<Map<String, Value>>,
    /// The caller's id of the user's company, which is made where it is not known.
    company_id: Option<String>,
    /// What nobody owns of this session becomes the user's.
    session_id: Option<String>,
    /// Proves who speaks: HS256 with the identity secret.
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

impl Bulk for UserBody {
    type Write = UserWrite;
    const MEMBER: &'static str = "users";

    fn named(record: Option<&Self>) -> Named {
        Named::User(record.and_then(|record| record.user_id.clone()))
    }

    fn checked(self) -> Result<UserWrite, Refusal> {
        if self.user_id.as_deref() == Some(ANONYMOUS) {
            // A user of a backend's own records is somebody.
            return Err(Refusal::new("invalid_field", "user_id: anonymous is nobody, and is not stored"));
        }
        Ok(self.write())
    }

    async fn update(
        product: &Product,
        org: &OrgId,
        writes: &[UserWrite],
        update_only: bool,
        author: &Author,
    ) -> Result<Vec<ItemResult>, ProductError> {
        product.update_users(org, writes, update_only, author).await
    }
}

/// What the document says of a body of `update`; [`UpdateBody`] reads it without copying.
#[derive(JsonSchema)]
#[schemars(rename = "UsersUpdateRequest")]
#[expect(dead_code, reason = "for the document")]
struct UpdateShape {
    /// Up to 1,000 users. Absent: one user by the members of a user beside `update_only`.
    users: Option<Vec<UserBody>>,
    /// Users that are not known are skipped.
    update_only: Option<bool>,
    /// With a publishable key: a token of scope `users.update`.
    user_token: Option<String>,
    /// A single user, in place of `users`.
    #[serde(flatten)]
    single: Option<UserBody>,
}

/// The routes, and what they say about themselves.
pub(super) fn routes() -> Routes<Sdk> {
    let user = json!({
        "user_id": "user_123",
        "traits": {"name": "Jane Doe", "email": "jane@acme.example", "role": "admin", "mrr": 299},
        "context": {"errors": {"label": "Current Issues", "type": "error",
                               "value": [{"area": "billing", "message": "Payment failed"}]}},
    });
    let answer = json!({
        "success": true, "status": "created", "id": "usr_01K0000000000000000000000", "external_id": "user_123",
        "user_id": "user_123", "name": "Jane Doe", "email": "jane@acme.example", "mrr": 299, "mrr_currency": "USD",
        "custom_fields": {"role": "admin"}, "context": user["context"],
        "first_seen": "2026-04-11T12:25:19.492417+00:00", "last_seen": "2026-04-11T12:25:19.492417+00:00",
        "created_at": "2026-04-11T12:25:19.492417+00:00", "updated_at": "2026-04-11T12:25:19.492417+00:00",
    });
    let of_identify = Operation::post("/api/sdk/users/identify", "identify_user", "A user is there now")
        .about(
            "Makes or updates the user and moves `last_seen`. Traits merge key by key. What a publishable key says is a \
             claim: it never overrides what a server key, a verified token, a connector or a person said.\n\n\
             Traits that the server sets are refused, all of them named in `reserved_keys`. `mrr` and `arr` are major units of \
             the reporting currency, kept to the last digit or refused.",
        )
        .tag(Tag::Identity)
        .access(Access::AnyKey)
        .body::<UserBody>(user.clone())
        .answer::<UserAnswer>(200, "The user.", answer)
        .codes(CODES)
        .codes(VOICE);
    let of_update = Operation::post("/api/sdk/users/update", "update_users", "Bring users in step")
        .about(
            "For backfills and synchronisation: makes or updates up to 1,000 users and never touches when existing ones were \
             seen. Each user is written whole or not at all; one that is refused spoils no other. At most 24 MiB. A \
             server key, or a publishable key and a `user_token` of scope `users.update`.",
        )
        .tag(Tag::Identity)
        .access(Access::AnyKey)
        .body::<UpdateShape>(json!({"users": [user], "update_only": false}))
        .answer::<BulkAnswer>(200, "What became of each.", json!({
            "success": true, "total": 2, "created": 1, "updated": 0, "unchanged": 0, "skipped": 0, "rejected": 1,
            "results": [
                {"index": 0, "status": "created", "user_id": "user_123", "id": "usr_01K0000000000000000000000"},
                {"index": 1, "status": "rejected", "user_id": "user_124", "code": "reserved_keys",
                 "reason": "traits that are set by the server: created_at is set by the server; send signed_up_at",
                 "reserved_keys": ["created_at"],
                 "errors": [{"field": "traits.created_at", "error": "is set by the server; send signed_up_at"}]},
            ],
        }))
        .codes(CODES)
        .codes(VOICE)
        .idempotent();
    Routes::new().add(of_identify, identify).add(of_update, update)
}

/// Refusals of writes.
pub(super) const CODES: &[&str] =
    &["invalid_field", "invalid_record", "missing_field", "payload_too_large", "reserved_keys"];

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
    let UpdateBody { users, update_only, user_token } = parse_object(&bytes)?;
    bulk::update::<UserBody>(&sdk, &caller, &bytes, users, Head { update_only, user_token }).await
}

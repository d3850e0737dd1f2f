//! `POST /api/sdk/companies/identify` and `POST /api/sdk/companies/update`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answers::{CompanyAnswer, failed};
use super::bulk::{self, Bulk, BulkAnswer, Head, Named};
use super::users::CODES;
use super::{Caller, Sdk, author};
use crate::domain::{ContextEntry, OrgId};
use crate::http::ApiError;
use crate::http::codes::VOICE;
use crate::http::extract::{JsonBody, RawBody, parse_object};
use crate::http::openapi::{Access, Operation, Routes, Tag};
use crate::product::{ANONYMOUS, Author, CompanyWrite, ItemResult, Product, ProductError, Refusal, Traits};

/// One company, as it is sent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "CompanyRequest")]
pub(super) struct CompanyBody {
    /// The caller's id of the company, at most 512 bytes; required.
    company_id: Option<String>,
    /// The caller's id of a user of the company, who is linked to it once and for all.
    user_id: Option<String>,
    /// Traits, merged key by key; with the context at most 50,000 bytes of JSON.
    traits: Traits,
    /// Context entries by key; an entry replaces the one of its key, `null` removes it.
    #[schemars(with = "Option<BTreeMap<String, Option<ContextEntry>>>")]
    context: Option<Map<String, Value>>,
    /// Proves who speaks: HS256 with the identity secret.
    user_token: Option<String>,
}

impl CompanyBody {
    fn write(self) -> CompanyWrite {
        CompanyWrite {
            company_id: self.company_id.unwrap_or_default(),
            traits: self.traits,
            context: self.context.unwrap_or_default(),
            user_id: self.user_id.filter(|id| id != ANONYMOUS),
        }
    }
}

impl Bulk for CompanyBody {
    type Write = CompanyWrite;
    const MEMBER: &'static str = "companies";

    fn named(record: Option<&Self>) -> Named {
        Named::Company(record.and_then(|record| record.company_id.clone()))
    }

    fn checked(self) -> Result<CompanyWrite, Refusal> {
        Ok(self.write())
    }

    async fn update(
        product: &Product,
        org: &OrgId,
        writes: &[CompanyWrite],
        update_only: bool,
        author: &Author,
    ) -> Result<Vec<ItemResult>, ProductError> {
        product.update_companies(org, writes, update_only, author).await
    }
}

/// What the document says of a body of `update`; [`UpdateBody`] reads it without copying.
#[derive(JsonSchema)]
#[schemars(rename = "CompaniesUpdateRequest")]
#[expect(dead_code, reason = "for the document")]
struct UpdateShape {
    /// Up to 1,000 companies. Absent: one company by the members of a company beside `update_only`.
    companies: Option<Vec<CompanyBody>>,
    /// Companies that are not known are skipped.
    update_only: Option<bool>,
    /// With a publishable key: a token of scope `users.update`.
    user_token: Option<String>,
    /// A single company, in place of `companies`.
    #[serde(flatten)]
    single: Option<CompanyBody>,
}

/// The routes, and what they say about themselves.
pub(super) fn routes() -> Routes<Sdk> {
    let company = json!({
        "company_id": "company_456", "user_id": "user_123",
        "traits": {"name": "Acme Corp", "plan": "enterprise", "employee_count": 150, "space_id": "space_789"},
    });
    let answer = json!({
        "success": true, "status": "updated", "id": "cmp_01K0000000000000000000000", "external_id": "company_456",
        "company_id": "company_456", "user_id": "user_123", "name": "Acme Corp", "plan": "enterprise",
        "employee_count": 150, "signed_up_at": "2024-08-12T15:32:00.000000+00:00",
        "custom_fields": {"space_id": "space_789"}, "context": {},
        "created_at": "2026-04-11T12:25:19.492417+00:00", "updated_at": "2026-04-11T12:25:19.492417+00:00",
    });
    let of_identify = Operation::post("/api/sdk/companies/identify", "identify_company", "A company, and a user of it")
        .about(
            "Makes or updates the company and links the user that is named. One call is enough, and many users share a \
             company. A link that a publishable key claims never replaces one that a server key, a verified token or \
             a connector made.",
        )
        .tag(Tag::Identity)
        .access(Access::AnyKey)
        .body::<CompanyBody>(company.clone())
        .answer::<CompanyAnswer>(200, "The company.", answer)
        .codes(CODES)
        .codes(VOICE);
    let of_update = Operation::post("/api/sdk/companies/update", "update_companies", "Bring companies in step")
        .about(
            "Makes or updates up to 1,000 companies, each whole or not at all. At most 24 MiB. A server key, or a \
             publishable key and a `user_token` of scope `users.update`.",
        )
        .tag(Tag::Identity)
        .access(Access::AnyKey)
        .body::<UpdateShape>(json!({"companies": [company]}))
        .answer::<BulkAnswer>(200, "What became of each.", json!({
            "success": true, "total": 1, "created": 1, "updated": 0, "unchanged": 0, "skipped": 0, "rejected": 0,
            "results": [{"index": 0, "status": "created", "company_id": "company_456", "id": "cmp_01K0000000000000000000000"}],
        }))
        .codes(CODES)
        .codes(VOICE)
        .idempotent();
    Routes::new().add(of_identify, identify).add(of_update, update)
}

/// The route of `identify`: a company, and the user who is of it.
pub(super) async fn identify(
    State(sdk): State<Sdk>,
    caller: Caller,
    JsonBody(body): JsonBody<CompanyBody>,
) -> Result<Response, ApiError> {
    let voice = caller.voice(&sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    let write = body.write();
    let written = sdk.product.identify_company(caller.org(), &write, &author(voice)).await.map_err(failed)?;
    let company = match caller.is_server() {
        true => written.company,
        false => written.said(),
    };
    Ok(axum::Json(CompanyAnswer::of(company, write.user_id, written.change)).into_response())
}

/// The body of `update`: `companies`, or the members of one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct UpdateBody<'a> {
    #[serde(borrow)]
    companies: Option<Vec<&'a RawValue>>,
    update_only: Option<bool>,
    user_token: Option<String>,
}

/// The route of `update`: one or up to a thousand.
pub(super) async fn update(
    State(sdk): State<Sdk>,
    caller: Caller,
    RawBody(bytes): RawBody,
) -> Result<Response, ApiError> {
    let UpdateBody { companies, update_only, user_token } = parse_object(&bytes)?;
    bulk::update::<CompanyBody>(&sdk, &caller, &bytes, companies, Head { update_only, user_token }).await
}

//! `/api/v1/users`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use connector_sdk::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{object, unavailable};
use crate::context::render::Trimmed;
use crate::context::{CompanyDoc, MergeOptions, RenderOptions, Request, Section, UserDoc, merge, render};
use crate::domain::ContextEntry;
use crate::domain::users::EndUser;
use crate::http::ApiError;
use crate::http::cursor::{self, Cursors, Page};
use crate::http::extract::{Named, Params};
use crate::http::openapi::{In, Operation, Routes, Tag};
use crate::http::sdk::{Caller, Sdk};
use crate::store::identity::Lookup;

const LIST: &str = "/api/v1/users";

/// A user as stored.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "User")]
struct View {
    /// Our id, `usr_…`.
    id: String,
    /// The caller's id.
    user_id: Option<String>,
    /// Our id of the company that the user is linked to.
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
    /// A test user: not counted in `team_size`.
    is_test: bool,
    /// When the user was first seen in the product.
    first_seen: Option<Timestamp>,
    /// When the user was last seen in the product.
    last_seen: Option<Timestamp>,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last written.
    updated_at: Timestamp,
}

impl From<EndUser> for View {
    fn from(user: EndUser) -> Self {
        Self {
            id: user.id.0,
            user_id: user.external_id,
            company_id: user.company_id.map(|id| id.0),
            source: user.source,
            fields: object(&user.fields),
            custom_fields: user.custom_fields,
            context: user.context,
            provenance: object(&user.provenance),
            is_test: user.is_test,
            first_seen: user.first_seen,
            last_seen: user.last_seen,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    /// The company: our id (`cmp_…`) or the caller's.
    company: Option<String>,
    /// Rows of the page: 1 to 200, 50 unless said otherwise.
    #[schemars(range(min = 1, max = 200))]
    #[serde(skip_serializing)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing)]
    cursor: Option<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PromptQuery {
    /// Whether the answer says where each value comes from, and what it won against.
    #[serde(default)]
    explain: bool,
    /// Tokens that the text may take. Absent: the setting `prompt.budget_tokens`.
    budget_tokens: Option<usize>,
}

/// What the prompt says about a user and their company.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Prompt")]
struct PromptView {
    /// The text.
    text: String,
    /// About how many tokens it takes.
    tokens: usize,
    /// Its sections, in their order.
    sections: Vec<Section>,
    /// What the budget left out.
    trimmed: Vec<Trimmed>,
    /// With `explain`: each field and entry with its origin, its rank, and what it won against.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Map<String, Value>>,
}

pub(super) fn routes() -> Routes<Sdk> {
    Routes::new().add(list_operation(), list).add(find_operation(), find).add(prompt_operation(), prompt)
}

fn example() -> Value {
    json!({
        "id": "usr_01K0000000000000000000000A", "user_id": "user_123", "company_id": "cmp_01K0000000000000000000000A",
        "source": "sdk", "fields": {"name": "Jane Doe"}, "custom_fields": {"role": "admin"}, "context": {},
        "provenance": {}, "is_test": false, "first_seen": "2026-11-01T09:00:00Z", "last_seen": "2026-11-22T15:00:00Z",
        "created_at": "2026-11-01T09:00:00Z", "updated_at": "2026-11-22T15:00:00Z",
    })
}

fn list_operation() -> Operation {
    Operation::get(LIST, "list_users", "Users, in the order that they were made in")
        .tag(Tag::Data)
        .query::<Query>()
        .answer::<Page<View>>(
            200,
            "A page of them.",
            json!({"data": [example()], "next_cursor": null, "has_more": false}),
        )
        .codes(&["bad_cursor", "not_found"])
}

fn find_operation() -> Operation {
    Operation::get("/api/v1/users/{id}", "find_user", "A user")
        .tag(Tag::Data)
        .parameter::<String>(In::Path, "id", "Our id (`usr_…`) or the caller's.")
        .answer::<View>(200, "It.", example())
        .codes(&["not_found"])
}

fn prompt_operation() -> Operation {
    Operation::get("/api/v1/users/{id}/prompt", "find_prompt", "What the prompt says about a user and their company")
        .about("The text that the chat gets when its request brings nothing of its own.")
        .tag(Tag::Data)
        .parameter::<String>(In::Path, "id", "Our id (`usr_…`) or the caller's.")
        .query::<PromptQuery>()
        .answer::<PromptView>(
            200,
            "The text.",
            json!({"text": "[User Profile]\nName: Jane Doe", "tokens": 8,
                   "sections": [{"name": "[User Profile]", "tokens": 8, "bytes": 29, "truncated": false}], "trimmed": []}),
        )
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
    let company = match &query.company {
        None => None,
        Some(id) => {
            let found =
                sdk.store.find_company(caller.org(), &Lookup::parse(id)).await.map_err(unavailable)?;
            Some(found.ok_or_else(|| ApiError::not_found("company: there is no company of this id"))?.id)
        }
    };
    let listed =
        sdk.store.list_users(caller.org(), company.as_ref(), after.as_deref(), i64::from(limit) + 1).await;
    let rows: Vec<View> = listed.map_err(unavailable)?.rows.into_iter().map(View::from).collect();
    Ok(Json(cursors.page(rows, limit, |row| row.id.clone())).into_response())
}

async fn find(
    State(sdk): State<Sdk>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    let found = sdk.store.find_user(caller.org(), &Lookup::parse(&id)).await.map_err(unavailable)?;
    Ok(Json(View::from(found.ok_or_else(unknown)?)).into_response())
}

async fn prompt(
    State(sdk): State<Sdk>,
    caller: Caller,
    Named(id): Named<String>,
    Params(query): Params<PromptQuery>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    let view =
        sdk.store.load_view(caller.org(), Some(&Lookup::parse(&id)), None).await.map_err(unavailable)?;
    let user = UserDoc::from(view.user.ok_or_else(unknown)?);
    let company = view.company.map(CompanyDoc::from);
    let settings = sdk.prompt_of(caller.org()).await?;
    let (request, options) =
        (Request::default(), MergeOptions { reporting_currency: settings.reporting_currency.clone() });
    let merged = merge(Some(&user), company.as_ref(), &request, &settings.attributes, &options);
    let budget_tokens = query.budget_tokens.or(settings.budget_tokens);
    let rendered = render(&merged, &RenderOptions { budget_tokens, ..RenderOptions::default() });
    let explain = query.explain.then(|| object(&merged));
    Ok(Json(PromptView {
        text: rendered.text,
        tokens: rendered.tokens,
        sections: rendered.sections,
        trimmed: rendered.trimmed,
        explain,
    })
    .into_response())
}

fn unknown() -> ApiError {
    ApiError::not_found("there is no user of this id")
}

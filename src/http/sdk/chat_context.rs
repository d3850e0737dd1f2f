//! `POST /api/sdk/chat/context`: what the chat's system prompt says about a customer.
//!
//! The body is the reference's chat body; what does not bear on the context is ignored. The answer is the
//! text and the merged document. A user or company that is not known is no error: the text then holds what
//! the request brings.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::extract::{FromRequest as _, State};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::{Caller, Sdk};
use crate::context::merge::Party;
use crate::context::render::Trimmed;
use crate::context::{
    CompanyDoc, CompanyPart, MergeOptions, Merged, RenderOptions, Request, Scope, Section, UserDoc, merge,
    render,
};
use crate::domain::{CompanyId, ContextEntry, UserId};
use crate::http::ApiError;
use crate::http::extract::JsonBody;
use crate::http::openapi::{Operation, Tag};
use crate::store::identity::Lookup;
use crate::telemetry::metric;

/// The reference's limit on the custom fields of a request, in characters of JSON.
const CUSTOM_FIELDS_CHARS: usize = 10_000;
/// The reference's limits on a stored user's and company's payload, in bytes of JSON. What a request lays
/// over them keeps the same.
const USER_BYTES: usize = 20_000;
const COMPANY_BYTES: usize = 50_000;
/// When to come again after a trouble of ours.
const RETRY_SECONDS: u64 = 5;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "ChatContextRequest")]
struct Body {
    /// The user: the caller's id or ours (`usr_…`). `anonymous`, empty or absent: nobody.
    user_id: Option<String>,
    /// The company: the caller's id or ours (`cmp_…`). Absent: the user's.
    company_id: Option<String>,
    /// Traits of the user, laid over the stored ones for this answer only; at most 10,000 characters of JSON.
    custom_fields: Map<String, Value>,
    /// Context entries by key, laid over the stored ones for this answer only; at most 20,000 bytes of JSON.
    context: BTreeMap<String, ContextEntry>,
    /// What the request says about the company; at most 50,000 bytes of JSON.
    company: CompanyPart,
    /// Whether the answer says where each value comes from, and what it won against.
    explain: bool,
    /// Tokens that the text may take. Absent: the setting `prompt.budget_tokens`.
    budget_tokens: Option<usize>,
}

/// What the answer is made of, for the document; [`Answer`] writes it without copying.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatContext")]
struct Shape {
    /// The text for the system prompt.
    text: String,
    /// About how many tokens it takes.
    tokens: usize,
    /// Its sections, in their order.
    sections: Vec<Section>,
    /// What the budget left out.
    trimmed: Vec<Trimmed>,
    /// What won, by key.
    document: DocumentShape,
    /// Our id of the user, `null` when nobody is known by the id that was sent.
    user_id: Option<String>,
    /// Our id of the company, likewise.
    company_id: Option<String>,
    /// With `explain`: each field and entry with its origin, its rank, and what it won against.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Map<String, Value>>,
}

/// The merged document.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatDocument")]
struct DocumentShape {
    /// Fields of the user.
    user: Option<Map<String, Value>>,
    /// Fields of the company.
    company: Option<Map<String, Value>>,
    /// Context entries.
    context: ContextsShape,
}

/// Context entries by key, of both scopes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatContextEntries")]
struct ContextsShape {
    user: BTreeMap<String, ContextEntry>,
    company: BTreeMap<String, ContextEntry>,
}

/// What the route says about itself.
pub fn operation() -> Operation {
    let request = json!({
        "user_id": "user_123",
        "context": {"errors": {"label": "Current Issues", "type": "error",
                               "value": [{"area": "billing", "message": "Payment failed"}]}},
    });
    let text = "[User Profile]\nName: Jane Doe\n\n[Current Issues] (error)\n- billing: Payment failed";
    let answer = json!({
        "text": text, "tokens": 22,
        "sections": [
            {"name": "[User Profile]", "tokens": 7, "bytes": 29, "truncated": false},
            {"name": "[Current Issues] (error)", "tokens": 14, "bytes": 50, "truncated": false},
        ],
        "trimmed": [],
        "document": {
            "user": {"name": "Jane Doe"}, "company": null,
            "context": {"user": request["context"], "company": {}},
        },
        "user_id": "usr_01K0000000000000000000000", "company_id": null,
    });
    Operation::post("/api/sdk/chat/context", "chat_context", "What the chat's prompt says about a customer")
        .about(
            "Takes the chat's body; what does not bear on the context is ignored. What the request says is laid over what \
             is stored, by rank, and printed in the format of `docs/prompt-format.md`.\n\nA user or company that is not \
             known is no error: the text then holds what the request brings.",
        )
        .tag(Tag::Chat)
        .body::<Body>(request)
        .answer::<Shape>(200, "The text and the document that it was made of.", answer)
        .codes(&["too_large"])
}

/// The route.
pub async fn handle(
    State(sdk): State<Sdk>,
    caller: Caller,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    // Who asks comes before what is asked: a stranger's body is not read.
    caller.need_server()?;
    let JsonBody(body) = JsonBody::<Body>::from_request(request, &()).await?;
    body.check()?;
    let (user, company) = (lookup(body.user_id.as_deref()), lookup(body.company_id.as_deref()));
    let view = sdk.store.load_view(caller.org(), user.as_ref(), company.as_ref()).await;
    let view = view.map_err(|e| ApiError::unavailable(RETRY_SECONDS, &e))?;
    let user_id = view.user.as_ref().map(|user| user.id.clone());
    let company_id = view.company.as_ref().map(|company| company.id.clone());
    let (user, company) = (view.user.map(UserDoc::from), view.company.map(CompanyDoc::from));
    let request = Request {
        custom_fields: body.custom_fields,
        context: body.context,
        company: body.company,
        ..Request::default()
    };
    let prompt = sdk.prompt_of(caller.org()).await?;
    let began = Instant::now();
    let options = MergeOptions { reporting_currency: prompt.reporting_currency.clone() };
    let merged = merge(user.as_ref(), company.as_ref(), &request, &prompt.attributes, &options);
    let budget_tokens = body.budget_tokens.or(prompt.budget_tokens);
    let rendered = render(&merged, &RenderOptions { budget_tokens, ..RenderOptions::default() });
    metrics::histogram!(metric::RENDER_SECONDS).record(began.elapsed().as_secs_f64());
    let answer = Answer {
        text: &rendered.text,
        tokens: rendered.tokens,
        sections: &rendered.sections,
        trimmed: &rendered.trimmed,
        document: Document(&merged),
        user_id,
        company_id,
        explain: body.explain.then_some(&merged),
    };
    Ok(axum::Json(answer).into_response())
}

#[derive(Serialize)]
struct Answer<'a> {
    text: &'a str,
    tokens: usize,
    sections: &'a [Section],
    trimmed: &'a [Trimmed],
    document: Document<'a>,
    user_id: Option<UserId>,
    company_id: Option<CompanyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<&'a Merged<'a>>,
}

/// The merged document: what won, by key, without where it came from.
struct Document<'a>(&'a Merged<'a>);

/// The fields of a party, by key.
struct Fields<'a>(&'a Party<'a>);

/// The entries of a scope, by key.
struct Entries<'a>(&'a Merged<'a>, Scope);

/// Entries of both scopes.
#[derive(Serialize)]
struct Contexts<'a> {
    user: Entries<'a>,
    company: Entries<'a>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("Document", 3)?;
        members.serialize_field("user", &self.0.user.as_ref().map(Fields))?;
        members.serialize_field("company", &self.0.company.as_ref().map(Fields))?;
        let (user, company) = (Entries(self.0, Scope::User), Entries(self.0, Scope::Company));
        members.serialize_field("context", &Contexts { user, company })?;
        members.end()
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.fields.iter().map(|field| (&field.key, &field.value)))
    }
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of_scope = self.0.entries.iter().filter(|entry| entry.scope == self.1);
        serializer.collect_map(of_scope.map(|entry| (&entry.key, &entry.entry)))
    }
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

//! `POST /api/sdk/chat/context`: what the chat's system prompt says about a customer.
//!
//! The body is the reference's chat body; what does not bear on the context is ignored. The answer is the
//! text and the merged document. A user or company that is not known is no error: the text then holds what
//! the request brings.
//!
//! The answer has a strong `ETag` over everything that it is made from. Sent back as `If-None-Match` it is answered
//! with 304 while nothing has changed, which costs one statement and no rendering.

use std::collections::BTreeMap;

use axum::extract::{FromRequest as _, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use schemars::JsonSchema;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::chat_body::{ChatBody, json_text, named, store_error};
use super::chat_view::Known;
use super::{Caller, PromptSettings, Sdk};
use crate::context::merge::Party;
use crate::context::render::Trimmed;
use crate::context::{Merged, Request, Scope, Section};
use crate::domain::{CompanyId, ContextEntry, UserId};
use crate::http::ApiError;
use crate::http::extract::JsonBody;
use crate::http::openapi::{In, Operation, Tag};
use crate::store::conversations::ViewStamp;
use crate::store::identity::Lookup;

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
    /// With `explain`: each field and entry with its origin (`stored`, `token`, `request`), its rank, who wrote it
    /// and when (`source`, `observed_at`), and what it won against.
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
             known is no error: the text then holds what the request brings. `company_id` counts where the user is \
             linked to no company.\n\nThe answer's `ETag` changes with everything that it is made from: sent back as \
             `If-None-Match` it is answered with 304 while nothing has changed, at the cost of one look-up.",
        )
        .tag(Tag::Chat)
        .parameter::<Option<String>>(In::Header, "if-none-match", "An `ETag` of an earlier answer to the same body.")
        .body::<ChatBody>(request)
        .answer::<Shape>(200, "The text and the document that it was made of.", answer)
        .header("ETag", "Changes with everything that the answer is made from.")
        .answer_empty(304, "Nothing has changed since the answer with that `ETag`.")
        .header("ETag", "As it was.")
        .codes(&["too_large", "identity_invalid", "identity_expired", "identity_scope", "identity_mismatch"])
}

/// The route.
pub async fn handle(
    State(sdk): State<Sdk>,
    caller: Caller,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    // Who asks comes before what is asked: a stranger's body is not read.
    caller.need_server()?;
    let known_tags = request.headers().get_all(IF_NONE_MATCH).iter().cloned().collect::<Vec<_>>();
    let JsonBody(body) = JsonBody::<ChatBody>::from_request(request, &()).await?;
    body.check()?;
    let voice = caller.voice(&sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    let user = lookup(body.user_id.as_deref());
    // What the customer's backend has signed goes before what the body says.
    let claimed = voice.claims.get("company_id").and_then(Value::as_str);
    let company = lookup(claimed.or(body.company_id.as_deref()));
    let prompt = sdk.prompt_of(caller.org()).await?;
    let said = said(&prompt, &body, &voice.claims);
    if !known_tags.is_empty() {
        let stamp = sdk.store.find_view_stamp(caller.org(), user.as_ref(), company.as_ref()).await;
        let tag = tag(&stamp.map_err(store_error)?, &said);
        if matches(&known_tags, &tag) {
            return Ok((StatusCode::NOT_MODIFIED, headers(&tag)).into_response());
        }
    }
    let view = sdk.store.load_chat_view(caller.org(), user.as_ref(), company.as_ref()).await;
    let view = view.map_err(store_error)?;
    let tag = tag(&view.stamp, &said);
    let request = Request {
        claims: voice.claims,
        custom_fields: body.custom_fields,
        context: body.context,
        company: body.company,
        behavior_context: body.behavior_context,
        ..Request::default()
    };
    let known = Known::new(view.view, request);
    let answer = known.render(&prompt, body.budget_tokens, |merged, rendered| {
        let answer = Answer {
            text: &rendered.text,
            tokens: rendered.tokens,
            sections: &rendered.sections,
            trimmed: &rendered.trimmed,
            document: Document(merged),
            user_id: known.user_id.as_ref(),
            company_id: known.company_id.as_ref(),
            explain: body.explain.then(|| known.explain(merged)),
        };
        axum::Json(answer).into_response()
    });
    Ok((headers(&tag), answer).into_response())
}

/// What the answer is made from beside the rows: the request, the settings, and this program's way to print.
fn said(prompt: &PromptSettings, body: &ChatBody, claims: &Map<String, Value>) -> Sha256 {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    };
    part(env!("CARGO_PKG_VERSION"));
    part(&prompt.stamp());
    part(&json_text(&body.custom_fields));
    part(&json_text(&body.context));
    part(&json_text(&body.company));
    part(body.behavior_context.as_deref().unwrap_or_default());
    part(&json!([claims, body.explain, body.budget_tokens]).to_string());
    hash
}

fn tag(stamp: &ViewStamp, said: &Sha256) -> String {
    let mut hash = said.clone();
    for row in [&stamp.user, &stamp.company] {
        match row {
            Some((id, version)) => {
                hash.update(id);
                hash.update([0]);
                hash.update(version.to_le_bytes());
            }
            None => hash.update([1]),
        }
    }
    format!("\"{}\"", hex::encode(&hash.finalize()[..16]))
}

/// Whether one of the tags that the caller knows is this one.
fn matches(known: &[HeaderValue], tag: &str) -> bool {
    let tags = known.iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    tags.map(str::trim).any(|known| known.strip_prefix("W/").unwrap_or(known) == tag)
}

fn headers(tag: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers
}

#[derive(Serialize)]
struct Answer<'a> {
    text: &'a str,
    tokens: usize,
    sections: &'a [Section],
    trimmed: &'a [Trimmed],
    document: Document<'a>,
    user_id: Option<&'a UserId>,
    company_id: Option<&'a CompanyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Value>,
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

/// The caller's id, or ours where the caller has none with that text.
fn lookup(id: Option<&str>) -> Option<Lookup> {
    named(id).map(Lookup::parse)
}

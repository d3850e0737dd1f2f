//! `POST /api/sdk/tickets/create` and `/tickets/update`.

use axum::extract::{FromRequest as _, State};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::chat_body::{check_id, external, json_text, limit, missing, named, session, store_error, wrong};
use super::conversations::{SUBJECT_CHARS, reference_time, refused};
use super::{Caller, Sdk};
use crate::domain::conversations::{Priority, Ticket, TicketStatus};
use crate::http::ApiError;
use crate::http::codes::VOICE;
use crate::http::extract::JsonBody;
use crate::http::openapi::{Access, Operation, Tag};
use crate::store::conversations::{Author, TicketChange, TicketWrite};

/// The reference's limits.
const MESSAGE_CHARS: usize = 50_000;
const METADATA_BYTES: usize = 50_000;
const SOURCE_CHARS: usize = 50;
/// An address, in characters (RFC 5321).
const EMAIL_CHARS: usize = 320;
const NAME_CHARS: usize = 500;
const SOURCE: &str = "api";

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "TicketRequest")]
struct Body {
    /// The caller's own id of the ticket: a second call with it makes no second ticket.
    #[schemars(length(max = 200))]
    ticket_id: Option<String>,
    /// The caller's id of the user, made where it is not known. This or `email` is needed.
    #[schemars(length(max = 200))]
    user_id: Option<String>,
    /// A token that proves who speaks.
    user_token: Option<String>,
    /// An address by which the user is found, or made.
    #[schemars(length(max = 320))]
    email: Option<String>,
    /// The name of a user who is made.
    #[schemars(length(max = 500))]
    name: Option<String>,
    /// The caller's id of the company, where the user is linked to none. Ignored of a publishable key.
    #[schemars(length(max = 200))]
    company_id: Option<String>,
    /// The browser session, cut to 200 characters.
    session_id: Option<String>,
    /// What it is about. Needed.
    #[schemars(length(min = 1, max = 1000))]
    subject: Option<String>,
    /// The text.
    #[schemars(length(max = 50000))]
    message: Option<String>,
    /// Anything, at most 50,000 bytes of JSON.
    metadata: Option<Map<String, Value>>,
    /// Where it comes from; `api` unless said.
    #[schemars(length(max = 50))]
    source: Option<String>,
    /// How far it is.
    status: TicketStatus,
    /// How urgent it is.
    priority: Option<Priority>,
}

/// What is answered: what the caller said, with ids and times.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TicketAnswer")]
struct Answer {
    /// It is stored.
    success: bool,
    /// Our id.
    id: String,
    /// The caller's id, else ours.
    ticket_id: String,
    /// How far it is.
    status: TicketStatus,
    /// How urgent it is.
    priority: Priority,
    /// What it is about.
    subject: String,
    /// Where it comes from.
    source: String,
    /// It was not known; only of `create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<bool>,
    /// Our id of the user; told to a server key by `create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// The user was made for it; told to a server key by `create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_created: Option<bool>,
    /// When it was made.
    created_at: String,
    /// When anything of it last changed.
    updated_at: String,
}

impl From<Ticket> for Answer {
    fn from(ticket: Ticket) -> Self {
        Self {
            success: true,
            ticket_id: ticket.external_id.unwrap_or_else(|| ticket.id.0.clone()),
            id: ticket.id.0,
            status: ticket.status,
            priority: ticket.priority,
            subject: ticket.subject,
            source: ticket.source,
            created: None,
            user_id: None,
            user_created: None,
            created_at: reference_time(ticket.created_at),
            updated_at: reference_time(ticket.updated_at),
        }
    }
}

fn example(status: &str) -> Value {
    json!({
        "success": true, "id": "tkt_01K0000000000000000000000", "ticket_id": "T-17", "status": status,
        "priority": "priority", "subject": "Export fails", "source": "api",
        "created_at": "2026-03-01T09:00:05.000000+00:00", "updated_at": "2026-03-01T09:00:05.000000+00:00",
    })
}

/// What `tickets/create` says about itself.
pub fn create_operation() -> Operation {
    let body = json!({"ticket_id": "T-17", "user_id": "user_123", "subject": "Export fails",
        "message": "Since this morning.", "priority": "priority"});
    Operation::post("/api/sdk/tickets/create", "create_ticket", "Make a ticket")
        .about(
            "The user is found by `user_id`, else by `email` (whom others know by it before whom claims it), else made. \
             With a `ticket_id` the call can be repeated. Members that are not named here are ignored; no AI reply is made.",
        )
        .tag(Tag::Activity)
        .access(Access::AnyKey)
        .body::<Body>(body)
        .answer::<Answer>(200, "It is stored.", example("open"))
        .codes(VOICE)
        .codes(&["missing_field", "too_large", "not_yours"])
}

/// What `tickets/update` says about itself.
pub fn update_operation() -> Operation {
    let body = json!({"ticket_id": "T-17", "status": "resolved"});
    Operation::post("/api/sdk/tickets/update", "update_ticket", "Change a ticket")
        .about("What is not said stays. Open and pending tickets weigh on a customer, resolved and closed ones do not.")
        .tag(Tag::Activity)
        .body::<Update>(body)
        .answer::<Answer>(200, "As it is now.", example("resolved"))
        .codes(&["missing_field", "too_large"])
        .codes(&["not_found"])
}

/// Makes a ticket.
pub async fn create(
    State(sdk): State<Sdk>,
    caller: Caller,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let JsonBody(body) = JsonBody::<Body>::from_request(request, &()).await?;
    let ids = [("ticket_id", &body.ticket_id), ("user_id", &body.user_id), ("company_id", &body.company_id)];
    for (member, id) in ids {
        check_id(member, id.as_deref())?;
    }
    let user = named(body.user_id.as_deref());
    let email = body.email.as_deref().map(str::trim).filter(|email| !email.is_empty());
    if user.is_none() && email.is_none() {
        return Err(ApiError::bad_request("missing_field", "user_id or email is required"));
    }
    if let Some(email) = email {
        check_email(email)?;
    }
    let subject = body.subject.as_deref().filter(|subject| !subject.trim().is_empty());
    let subject = subject.ok_or_else(|| missing("subject"))?;
    limit("subject", subject.chars().count(), SUBJECT_CHARS, "characters")?;
    let text = |member: &Option<String>| member.as_deref().unwrap_or_default().chars().count();
    limit("message", text(&body.message), MESSAGE_CHARS, "characters")?;
    limit("name", text(&body.name), NAME_CHARS, "characters")?;
    limit("source", text(&body.source), SOURCE_CHARS, "characters")?;
    if let Some(metadata) = &body.metadata {
        limit("metadata", json_text(metadata).len(), METADATA_BYTES, "bytes")?;
    }
    if body.ticket_id.as_deref().is_some_and(|id| id.starts_with("tkt_")) {
        return Err(wrong("ticket_id", "ids that begin with tkt_ are given here"));
    }
    let voice = caller.voice(&sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    let company = if caller.is_server() { named(body.company_id.as_deref()) } else { None };
    let write = TicketWrite {
        external_id: body.ticket_id.clone().filter(|id| !id.is_empty()),
        author: Author {
            user: user.map(external),
            company: company.map(external),
            session_id: session(body.session_id.as_deref()),
            rank: voice.rank,
            verified: voice.verified,
            at: sdk.chat.clock().now(),
        },
        email: email.map(str::to_owned),
        name: body.name.clone().filter(|name| !name.trim().is_empty()),
        subject: subject.to_owned(),
        message: body.message.clone(),
        metadata: body.metadata.clone(),
        source: body.source.clone().filter(|source| !source.is_empty()).unwrap_or_else(|| SOURCE.to_owned()),
        status: body.status,
        priority: body.priority.unwrap_or_default(),
    };
    let put = sdk.store.put_ticket(caller.org(), write).await.map_err(store_error)?.map_err(refused)?;
    let (created, user_created) = (put.created, put.user_created);
    let user = put.ticket.user_id.clone();
    let mut answer = Answer { created: Some(created), ..put.ticket.into() };
    if caller.is_server() {
        // Whose a ticket is that names an address is not for a browser to learn.
        answer.user_id = user.map(|id| id.0);
        answer.user_created = Some(user_created);
    }
    Ok(axum::Json(answer).into_response())
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TicketUpdateRequest")]
struct Update {
    /// The caller's id, or ours (`tkt_…`). Needed.
    #[schemars(length(min = 1))]
    ticket_id: Option<String>,
    /// How far it is.
    status: Option<TicketStatus>,
    /// How urgent it is.
    priority: Option<Priority>,
    /// What it is about.
    #[schemars(length(min = 1, max = 1000))]
    subject: Option<String>,
}

/// Changes a ticket; for a server key.
pub async fn update(
    State(sdk): State<Sdk>,
    caller: Caller,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    let JsonBody(body) = JsonBody::<Update>::from_request(request, &()).await?;
    let id = body.ticket_id.as_deref().filter(|id| !id.is_empty()).ok_or_else(|| missing("ticket_id"))?;
    let subject = body.subject.as_deref().unwrap_or_default();
    limit("subject", subject.chars().count(), SUBJECT_CHARS, "characters")?;
    if body.subject.is_some() && subject.trim().is_empty() {
        return Err(wrong("subject", "must not be empty"));
    }
    let change = TicketChange { status: body.status, priority: body.priority, subject: body.subject.clone() };
    let changed = sdk.store.change_ticket(caller.org(), id, &change, sdk.chat.clock().now()).await;
    let ticket = changed.map_err(store_error)?;
    let ticket = ticket.ok_or_else(|| ApiError::not_found("ticket_id: there is none with this id"))?;
    Ok(axum::Json(Answer::from(ticket)).into_response())
}

fn check_email(email: &str) -> Result<(), ApiError> {
    limit("email", email.chars().count(), EMAIL_CHARS, "characters")?;
    let plausible = email
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    if plausible && !email.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    Err(wrong("email", "an e-mail address is expected"))
}

//! `POST /api/sdk/tickets/create` and `/tickets/update`.

use axum::extract::{FromRequest as _, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::chat_body::{check_id, external, json_text, limit, missing, named, session, store_error, wrong};
use super::conversations::{SUBJECT_CHARS, reference_time, refused};
use super::{Caller, Sdk};
use crate::domain::conversations::{Priority, Ticket, TicketStatus};
use crate::http::ApiError;
use crate::http::extract::JsonBody;
use crate::store::conversations::{Author, TicketChange, TicketWrite};

/// The reference's limits.
const MESSAGE_CHARS: usize = 50_000;
const METADATA_BYTES: usize = 50_000;
const SOURCE_CHARS: usize = 50;
/// An address, in characters (RFC 5321).
const EMAIL_CHARS: usize = 320;
const NAME_CHARS: usize = 500;
const SOURCE: &str = "api";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    /// The caller's own id of the ticket: a second call with it makes no second ticket.
    ticket_id: Option<String>,
    user_id: Option<String>,
    user_token: Option<String>,
    email: Option<String>,
    name: Option<String>,
    company_id: Option<String>,
    session_id: Option<String>,
    subject: Option<String>,
    message: Option<String>,
    metadata: Option<Map<String, Value>>,
    source: Option<String>,
    status: TicketStatus,
    priority: Option<Priority>,
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
    let mut answer = shown(&put.ticket);
    answer["success"] = json!(true);
    answer["created"] = json!(put.created);
    if caller.is_server() {
        // Whose a ticket is that names an address is not for a browser to learn.
        answer["user_id"] = json!(put.ticket.user_id);
        answer["user_created"] = json!(put.user_created);
    }
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(answer)).into_response())
}

#[derive(Debug, Deserialize)]
struct Update {
    ticket_id: Option<String>,
    status: Option<TicketStatus>,
    priority: Option<Priority>,
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
    let mut answer = shown(&ticket);
    answer["success"] = json!(true);
    Ok(axum::Json(answer).into_response())
}

/// What the caller said, with ids and times.
fn shown(ticket: &Ticket) -> Value {
    json!({
        "id": ticket.id,
        "ticket_id": ticket.external_id.as_deref().unwrap_or(ticket.id.as_str()),
        "status": ticket.status,
        "priority": ticket.priority,
        "subject": ticket.subject,
        "source": ticket.source,
        "created_at": reference_time(ticket.created_at),
        "updated_at": reference_time(ticket.updated_at),
    })
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

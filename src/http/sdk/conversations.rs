//! `POST /api/sdk/conversations`: a conversation that took place elsewhere, or the rating of one that took place here.

use axum::extract::{FromRequest as _, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use connector_sdk::Timestamp;
use http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::chat_body::{check_id, external, limit, missing, named, session, store_error, wrong};
use super::{Caller, Sdk};
use crate::domain::Rank;
use crate::domain::conversations::{ConversationStatus, Mode, Rating, Role};
use crate::http::ApiError;
use crate::http::extract::JsonBody;
use crate::store::conversations::{
    Author, Change, ConversationRef, ConversationWrite, MessageWrite, Refusal,
};

/// Messages of one call.
const MESSAGES: usize = 1_000;
/// A message, in characters; the reference's limit on a ticket's.
const TEXT_CHARS: usize = 50_000;
/// The reference's limit on a ticket's subject, in characters.
pub(super) const SUBJECT_CHARS: usize = 1_000;
/// How far a caller's clock may be ahead of ours.
const AHEAD: TimeDelta = TimeDelta::days(1);

#[derive(Debug, Deserialize)]
struct Body {
    conversation_id: Option<String>,
    user_id: Option<String>,
    user_token: Option<String>,
    company_id: Option<String>,
    session_id: Option<String>,
    mode: Option<Mode>,
    agent_id: Option<String>,
    status: Option<ConversationStatus>,
    subject: Option<String>,
    /// From -1 to 1; `null` takes it away.
    #[serde(default, deserialize_with = "present")]
    sentiment: Option<Option<f64>>,
    /// `null` takes it away.
    #[serde(default, deserialize_with = "present")]
    rating: Option<Option<Rating>>,
    started_at: Option<String>,
    #[serde(default)]
    messages: Vec<BodyMessage>,
}

#[derive(Debug, Deserialize)]
struct BodyMessage {
    #[serde(alias = "message_id")]
    id: Option<String>,
    position: Option<u32>,
    #[serde(alias = "speaker")]
    role: Role,
    #[serde(alias = "content")]
    text: String,
    #[serde(alias = "created_at")]
    sent_at: Option<String>,
}

/// A member that is there, be it `null`.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(reader: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(reader).map(Some)
}

/// The route.
pub async fn handle(
    State(sdk): State<Sdk>,
    caller: Caller,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let JsonBody(body) = JsonBody::<Body>::from_request(request, &()).await?;
    let id = body.conversation_id.as_deref().filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| missing("conversation_id"))?;
    let ids = [("user_id", &body.user_id), ("company_id", &body.company_id), ("agent_id", &body.agent_id)];
    check_id("conversation_id", Some(id))?;
    for (member, id) in ids {
        check_id(member, id.as_deref())?;
    }
    let now = sdk.chat.clock().now();
    let subject = body.subject.as_deref().unwrap_or_default();
    limit("subject", subject.chars().count(), SUBJECT_CHARS, "characters")?;
    limit("messages", body.messages.len(), MESSAGES, "messages")?;
    let mut messages = Vec::with_capacity(body.messages.len());
    for (at, message) in body.messages.iter().enumerate() {
        let member = format!("messages[{at}]");
        limit(&format!("{member}.text"), message.text.chars().count(), TEXT_CHARS, "characters")?;
        check_id(&format!("{member}.id"), message.id.as_deref())?;
        messages.push(MessageWrite {
            external_id: message.id.clone().filter(|id| !id.is_empty()),
            ordinal: message.position.map(i64::from),
            role: message.role,
            text: message.text.clone(),
            sent_at: instant(&format!("{member}.sent_at"), message.sent_at.as_deref(), now)?,
        });
    }
    let sentiment_millionths = match body.sentiment {
        None => Change::Keep,
        Some(None) => Change::Clear,
        Some(Some(number)) if (-1.0..=1.0).contains(&number) =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "at most a million, rounded")]
            Change::Set((number * 1_000_000.0).round() as i64)
        }
        Some(Some(_)) => return Err(wrong("sentiment", "a number from -1 to 1 is expected")),
    };
    let rating = match body.rating {
        None => Change::Keep,
        Some(None) => Change::Clear,
        Some(Some(rating)) => Change::Set(rating),
    };
    let started_at = instant("started_at", body.started_at.as_deref(), now)?;
    let voice = caller.voice(&sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    let company = if caller.is_server() { named(body.company_id.as_deref()) } else { None };
    let write = ConversationWrite {
        conversation: ConversationRef::parse(id),
        author: Author {
            user: named(body.user_id.as_deref()).map(external),
            company: company.map(external),
            session_id: session(body.session_id.as_deref()),
            rank: voice.rank,
            verified: voice.verified,
            at: now,
        },
        mode: body.mode,
        agent_id: body.agent_id,
        status: body.status,
        subject: body.subject,
        sentiment_millionths,
        rating,
        started_at,
        messages,
    };
    let put = sdk.store.put_conversation(caller.org(), write).await.map_err(store_error)?;
    let put = put.map_err(refused)?;
    let conversation = &put.conversation;
    let mut answer = json!({
        "success": true,
        "id": conversation.id,
        "conversation_id": conversation.external_id.as_deref().unwrap_or(conversation.id.as_str()),
        "created": put.created,
        "messages": {"added": put.added, "replaced": put.replaced},
        "created_at": reference_time(conversation.created_at),
        "updated_at": reference_time(conversation.updated_at),
    });
    if voice.rank != Rank::Claimed {
        answer["status"] = json!(conversation.status);
        answer["message_count"] = json!(conversation.messages);
    }
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(answer)).into_response())
}

/// The reference's form of a time: microseconds, and an offset.
pub(super) fn reference_time(at: Timestamp) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, false)
}

/// A caller's time.
fn instant(member: &str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let at = DateTime::parse_from_rfc3339(text)
        .map_err(|_| wrong(member, "an ISO 8601 time with an offset is expected"))?
        .with_timezone(&Utc)
        .trunc_subsecs(6);
    if at > now + AHEAD {
        return Err(wrong(member, "is in the future"));
    }
    if at < DateTime::UNIX_EPOCH {
        return Err(wrong(member, "is before 1970"));
    }
    Ok(Some(at))
}

/// Why the store wrote nothing.
pub(super) fn refused(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::Unknown(member) => ApiError::not_found(format!("{member}: there is none with this id")),
        Refusal::OfAnother => {
            ApiError::forbidden("not_yours", "it belongs to another user or session, or says something else")
                .hint("name its user or its session, choose another id, or use a server key")
        }
        Refusal::Conflict { index, ordinal } => {
            ApiError::new(StatusCode::CONFLICT, "message_conflict", "Conflict").detail(format!(
                "messages[{index}]: another message is stored at position {ordinal}; \
                 give messages an id, or the position that they replace, or send the whole conversation"
            ))
        }
        Refusal::TooMany => {
            ApiError::bad_request("too_large", "messages: a conversation holds at most 10000 messages")
        }
    }
}

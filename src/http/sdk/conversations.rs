//! `POST /api/sdk/conversations`: a conversation that took place elsewhere, or the rating of one that took place here.

use axum::extract::{FromRequest as _, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use connector_sdk::Timestamp;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::chat_body::{check_id, external, limit, missing, named, session, store_error, wrong};
use super::{Caller, Sdk};
use crate::domain::Rank;
use crate::domain::conversations::{ConversationStatus, Mode, Rating, Role};
use crate::http::ApiError;
use crate::http::codes::VOICE;
use crate::http::extract::JsonBody;
use crate::http::openapi::{Access, Operation, Tag};
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

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ConversationRequest")]
struct Body {
    /// The caller's id of the conversation, or ours (`cnv_…`). Needed.
    #[schemars(length(min = 1, max = 200))]
    conversation_id: Option<String>,
    /// The caller's id of the user, made where it is not known; `anonymous`, empty or absent: nobody.
    #[schemars(length(max = 200))]
    user_id: Option<String>,
    /// A token that proves who speaks.
    user_token: Option<String>,
    /// The caller's id of the company, where the user is linked to none. Ignored of a publishable key.
    #[schemars(length(max = 200))]
    company_id: Option<String>,
    /// The browser session, cut to 200 characters. What is nobody's in it is linked when its user is identified.
    session_id: Option<String>,
    /// Where it takes place.
    mode: Option<Mode>,
    /// The caller's name of the AI agent.
    #[schemars(length(max = 200))]
    agent_id: Option<String>,
    /// Whether it goes on.
    status: Option<ConversationStatus>,
    /// What it is about.
    #[schemars(length(max = 1000))]
    subject: Option<String>,
    /// From -1 (bad) to 1 (good); `null` takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schemars(range(min = -1, max = 1))]
    sentiment: Option<Option<f64>>,
    /// What the user says of it; `null` takes it away.
    #[serde(default, deserialize_with = "present")]
    rating: Option<Option<Rating>>,
    /// ISO 8601 with an offset; absent: its first message.
    started_at: Option<String>,
    /// Its messages: all of them in their order, or some with an `id` or a `position`; at most 1,000.
    #[serde(default)]
    messages: Vec<BodyMessage>,
}

/// A message.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ConversationMessage")]
struct BodyMessage {
    /// The caller's id: a message that is stored with it is replaced. Also taken as `message_id`.
    #[serde(alias = "message_id")]
    #[schemars(length(max = 200))]
    id: Option<String>,
    /// Its place from 0, for a message without an id: the message that is stored there is replaced.
    #[schemars(range(max = 9999))]
    position: Option<u32>,
    /// Who speaks. Also taken as `speaker`.
    #[serde(alias = "speaker")]
    role: Role,
    /// What is said. Also taken as `content`.
    #[serde(alias = "content")]
    #[schemars(length(max = 50000))]
    text: String,
    /// ISO 8601 with an offset; absent: now. Also taken as `created_at`.
    #[serde(alias = "created_at")]
    sent_at: Option<String>,
}

/// What is answered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConversationAnswer")]
struct Answer {
    /// It is stored.
    success: bool,
    /// Our id.
    id: String,
    /// The caller's id, else ours.
    conversation_id: String,
    /// It was not known.
    created: bool,
    /// What became of the messages.
    messages: MessagesAnswer,
    /// Whether it goes on; told to a server key.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<ConversationStatus>,
    /// Number of its messages; told to a server key.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_count: Option<i64>,
    /// When it was made.
    created_at: String,
    /// When anything of it last changed.
    updated_at: String,
}

/// What became of messages.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConversationMessagesAnswer")]
struct MessagesAnswer {
    /// New ones.
    added: usize,
    /// Ones whose text or speaker changed.
    replaced: usize,
}

/// What the route says about itself.
pub fn operation() -> Operation {
    let body = json!({
        "conversation_id": "conv_77", "user_id": "user_123", "sentiment": 0.4, "rating": "positive",
        "messages": [
            {"role": "user", "text": "Where is my invoice?", "sent_at": "2026-03-01T09:00:00Z"},
            {"role": "assistant", "text": "Under Settings > Billing.", "sent_at": "2026-03-01T09:00:02Z"},
        ],
    });
    let answer = json!({
        "success": true, "id": "cnv_01K0000000000000000000000", "conversation_id": "conv_77", "created": true,
        "messages": {"added": 2, "replaced": 0}, "status": "open", "message_count": 2,
        "created_at": "2026-03-01T09:00:05.000000+00:00", "updated_at": "2026-03-01T09:00:05.000000+00:00",
    });
    Operation::post("/api/sdk/conversations", "put_conversation", "Store a conversation")
        .about(
            "Makes the conversation or changes it: what is not said stays, and the same again changes nothing. A message \
             replaces another only where it names it, by `id` or `position`; one that has neither stands at its place in the \
             list, and is refused (`message_conflict`) where another is stored there.\n\nA publishable key writes to \
             conversations of the user that it names, and to nobody's of its session. What it says is a claim: it \
             replaces nothing that a server has said.",
        )
        .tag(Tag::Activity)
        .access(Access::AnyKey)
        .body::<Body>(body)
        .answer::<Answer>(200, "It is stored.", answer)
        .codes(VOICE)
        .codes(&["missing_field", "too_large", "not_yours", "not_found", "message_conflict"])
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
    let for_server = voice.rank != Rank::Claimed;
    let answer = Answer {
        success: true,
        id: conversation.id.0.clone(),
        conversation_id: conversation.external_id.clone().unwrap_or_else(|| conversation.id.0.clone()),
        created: put.created,
        messages: MessagesAnswer { added: put.added, replaced: put.replaced },
        status: for_server.then_some(conversation.status),
        message_count: for_server.then_some(conversation.messages),
        created_at: reference_time(conversation.created_at),
        updated_at: reference_time(conversation.updated_at),
    };
    Ok(axum::Json(answer).into_response())
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

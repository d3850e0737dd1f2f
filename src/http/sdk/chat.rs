//! `POST /api/sdk/chat` and `/chat/stream`: what the user says is answered by the configured model, which is told what
//! is known of the customer.
//!
//! Whoever asks is answered from what they may know: what is stored of a user enters the prompt for a server key and
//! for a user that a token proves, and for what a browser merely claims only where the organisation has said so
//! (`docs/adr/0034-what-a-chat-may-know.md`). Both turns are stored, the user's before the model is asked.

use axum::body::Body;
use axum::extract::{FromRequest as _, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::chat_body::{ChatBody, HistoryItem, external, named, store_error};
use super::chat_view::{Known, company_is_known};
use super::{Caller, Sdk, Voice};
use crate::chat::{ModelError, ModelMessage, NoSlot, Piece};
use crate::context::{KeyClass, Request};
use crate::domain::ConversationId;
use crate::domain::conversations::{Message, Role};
use crate::domain::ids::new_id;
use crate::domain::orgs::Switch;
use crate::http::ApiError;
use crate::http::codes::VOICE;
use crate::http::extract::JsonBody;
use crate::http::openapi::{Access, Operation, Tag};
use crate::store::conversations::{Author, Refusal, TurnStart};

/// Stored messages that are passed on where the caller sends no history.
const REMEMBERED: i64 = 50;
/// When to come again where too many answers are on their way.
const BUSY_SECONDS: u64 = 2;
const SESSION: HeaderName = HeaderName::from_static("x-session-id");
const AGENT: HeaderName = HeaderName::from_static("x-agent-id");
const CONVERSATION: HeaderName = HeaderName::from_static("x-conversation-id");

fn described(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    let body = json!({"message": "Which plan am I on?", "user_id": "user_123", "session_id": "ses_1"});
    Operation::post(path, id, summary)
        .about(
            "Tells the configured model (`[chat]` in the settings) what `chat/context` tells, passes the conversation on, \
             and stores both turns.\n\nWhat is stored of the user enters the prompt for a server key, and for a user that a \
             `user_token` proves. A publishable key that merely names a user is answered from what its own request brings, \
             unless the organisation has switched `unverified_chat` on: the model recites what it is told, and anybody can \
             name anybody.\n\nWho hangs up calls the model off.",
        )
        .tag(Tag::Chat)
        .access(Access::AnyKey)
        .body::<ChatBody>(body)
        .codes(VOICE)
        .codes(&["missing_field", "too_large", "model_failed", "model_refused", "model_timeout", "model_busy"])
        .codes(&["chat_busy", "chat_not_configured"])
}

/// What `chat` says about itself.
pub fn operation() -> Operation {
    let answer = json!({"response": "You are on Pro.", "session_id": "ses_1", "agent_id": null,
        "conversation_id": "cnv_01K0000000000000000000000"});
    described("/api/sdk/chat", "chat", "Answer a message")
        .answer::<Answer>(200, "The whole answer.", answer)
        .header("X-Session-Id", "The session.")
        .header("X-Conversation-Id", "The conversation that both turns are stored in.")
}

/// What `chat/stream` says about itself.
pub fn stream_operation() -> Operation {
    described("/api/sdk/chat/stream", "chat_stream", "Answer a message as a stream")
        .answer_text(
            200,
            "text/plain",
            "The answer's text as it comes; a transfer that breaks off is an answer that did.",
        )
        .header("X-Session-Id", "The session.")
        .header("X-Agent-Id", "The agent, where one was named.")
        .header("X-Conversation-Id", "The conversation that both turns are stored in.")
}

/// `POST /api/sdk/chat`: the whole answer.
pub async fn handle(
    State(sdk): State<Sdk>,
    caller: Caller,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let mut turn = begin(&sdk, &caller, request).await?;
    let mut response = String::new();
    loop {
        match turn.pieces.recv().await {
            Some(Piece::Text(text)) => response.push_str(&text),
            Some(Piece::End) => break,
            Some(Piece::Broken(error)) => return Err(refusal(error)),
            None => return Err(refusal(ModelError::Cut)),
        }
    }
    let headers = turn.headers();
    let Begun { session_id, agent_id, conversation_id, .. } = turn;
    let answer = Answer { response, session_id, agent_id, conversation_id: conversation_id.0 };
    Ok((headers, axum::Json(answer)).into_response())
}

/// `POST /api/sdk/chat/stream`: the answer's text as it comes. When it breaks off, so does the transfer.
pub async fn stream(
    State(sdk): State<Sdk>,
    caller: Caller,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let mut turn = begin(&sdk, &caller, request).await?;
    // Up to the first word a failure can still be said.
    let first = match turn.pieces.recv().await {
        Some(Piece::Text(text)) => Some(text),
        Some(Piece::End) => None,
        Some(Piece::Broken(error)) => return Err(refusal(error)),
        None => return Err(refusal(ModelError::Cut)),
    };
    let mut headers = turn.headers();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let Some(first) = first else { return Ok((headers, Body::empty()).into_response()) };
    let rest = stream::unfold(turn.pieces, |mut pieces| async move {
        match pieces.recv().await {
            Some(Piece::Text(text)) => Some((Ok(Bytes::from(text)), pieces)),
            Some(Piece::End) => None,
            Some(Piece::Broken(error)) => Some((Err(std::io::Error::other(error)), pieces)),
            None => None,
        }
    });
    let first = stream::once(async move { Ok(Bytes::from(first)) });
    let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
    Ok((headers, body).into_response())
}

/// What is answered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatAnswer")]
struct Answer {
    /// What the model says.
    response: String,
    /// The session: send it with the next message.
    session_id: String,
    /// The agent that was named.
    agent_id: Option<String>,
    /// Our id of the conversation; rate it with `conversations`.
    conversation_id: String,
}

/// A turn whose question is stored and whose answer is on its way.
struct Begun {
    session_id: String,
    agent_id: Option<String>,
    conversation_id: ConversationId,
    pieces: mpsc::Receiver<Piece>,
}

impl Begun {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let values = [
            (SESSION, Some(self.session_id.as_str())),
            (AGENT, self.agent_id.as_deref()),
            (CONVERSATION, Some(self.conversation_id.as_str())),
        ];
        for (name, value) in values {
            // A caller's id that no header can hold is in the body only.
            if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok()) {
                headers.insert(name, value);
            }
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers
    }
}

async fn begin(sdk: &Sdk, caller: &Caller, request: axum::extract::Request) -> Result<Begun, ApiError> {
    let JsonBody(body) = JsonBody::<ChatBody>::from_request(request, &()).await?;
    body.check()?;
    let message = body.message()?.to_owned();
    let history = body.history()?;
    let images: Vec<String> = body.images()?.into_iter().map(str::to_owned).collect();
    let voice = caller.voice(sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    let slot = sdk.chat.slot().map_err(no_slot)?;
    let sees_stored = sees_stored(sdk, caller, &voice).await?;
    let known = known(sdk, caller, &voice, &body, sees_stored).await?;
    let prompt = sdk.prompt_of(caller.org()).await?;
    let system =
        known.render(&prompt, body.budget_tokens, |_, rendered| sdk.chat.system_prompt(&rendered.text));
    let session_id = body.session().unwrap_or_else(|| new_id("ses", sdk.chat.clock()));
    let claimed_company = voice.claims.get("company_id").and_then(Value::as_str);
    let company = if caller.is_server() { body.company_id.as_deref() } else { None };
    let start = TurnStart {
        author: Author {
            user: body.user().map(external),
            company: named(claimed_company.or(company)).map(external),
            session_id: Some(session_id.clone()),
            rank: voice.rank,
            verified: voice.verified,
            at: sdk.chat.clock().now(),
        },
        mode: body.mode,
        agent_id: body.agent_id.clone(),
        text: message.clone(),
        history: if history.is_none() && sees_stored { REMEMBERED } else { 0 },
    };
    let turn = sdk.store.begin_turn(caller.org(), start).await.map_err(store_error)?;
    let turn = turn.map_err(refused)?;
    let mut messages: Vec<ModelMessage> = system.into_iter().collect();
    match history {
        Some(said) => messages.extend(said.into_iter().map(of_caller)),
        None if sees_stored => messages.extend(turn.history.into_iter().filter_map(of_store)),
        None => {}
    }
    messages.push(ModelMessage { role: "user", content: content(&message, &images) });
    let (store, org) = (sdk.store.clone(), caller.org().clone());
    let pieces = sdk.chat.answer(slot, store, org, turn.conversation_id.clone(), messages);
    Ok(Begun { session_id, agent_id: body.agent_id, conversation_id: turn.conversation_id, pieces })
}

/// Whether what is stored may enter the prompt: the model recites what it is told.
async fn sees_stored(sdk: &Sdk, caller: &Caller, voice: &Voice) -> Result<bool, ApiError> {
    if caller.is_server() || voice.verified {
        return Ok(true);
    }
    Ok(sdk.keys.trust(caller.org()).await?.rules.unverified_chat == Switch::On)
}

/// What the prompt says.
async fn known(
    sdk: &Sdk,
    caller: &Caller,
    voice: &Voice,
    body: &ChatBody,
    sees_stored: bool,
) -> Result<Known, ApiError> {
    let request = Request {
        key: if caller.is_server() { KeyClass::Server } else { KeyClass::Publishable },
        claims: voice.claims.clone(),
        custom_fields: body.custom_fields.clone(),
        context: body.context.clone(),
        company: body.company.clone(),
        behavior_context: body.behavior_context.clone(),
    };
    if !sees_stored {
        return Ok(Known::new(Default::default(), request));
    }
    let signed = voice.claims.get("company_id").and_then(Value::as_str);
    // A verified user's browser proves who the user is, not which company is the user's.
    let trusts_body = caller.is_server() || !voice.verified;
    let company = signed.or(if trusts_body { body.company_id.as_deref() } else { None });
    let (user, company) = (body.user().map(external), named(company).map(external));
    let view = sdk.store.load_chat_view(caller.org(), user.as_ref(), company.as_ref()).await;
    let mut view = view.map_err(store_error)?.view;
    if voice.verified && !caller.is_server() && !company_is_known(&view) {
        let stays = |company: &crate::domain::companies::Company| company.external_id.as_deref() == signed;
        view.company = view.company.filter(|company| signed.is_some() && stays(company));
    }
    Ok(Known::new(view, request))
}

fn of_caller(item: HistoryItem) -> ModelMessage {
    let role = if item.role == Role::User { "user" } else { "assistant" };
    ModelMessage { role, content: item.text.into() }
}

/// What was said here before. What a browser says that others have said is not passed on as theirs.
fn of_store(message: Message) -> Option<ModelMessage> {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant | Role::Agent if !message.claimed => "assistant",
        _ => return None,
    };
    (!message.text.is_empty()).then(|| ModelMessage { role, content: message.text.into() })
}

fn content(text: &str, images: &[String]) -> Value {
    if images.is_empty() {
        return text.into();
    }
    let mut parts = vec![json!({"type": "text", "text": text})];
    parts.extend(images.iter().map(|url| json!({"type": "image_url", "image_url": {"url": url}})));
    Value::Array(parts)
}

fn no_slot(why: NoSlot) -> ApiError {
    let error = |code, title| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, title);
    match why {
        NoSlot::NotConfigured => error("chat_not_configured", "Chats are not answered here")
            .detail("no model is configured: set chat.base_url and chat.model, or ask /api/sdk/chat/context for the prompt and call a model yourself")
            .hint("in halo-sync.toml: [chat] base_url, model, api_key_file"),
        NoSlot::Busy => error("chat_busy", "Temporarily unavailable")
            .detail("as many answers as chat.max_concurrent allows are on their way")
            .retry_after(BUSY_SECONDS),
    }
}

/// Nothing of what the endpoint said is passed on: it may quote the prompt.
fn refusal(error: ModelError) -> ApiError {
    let (status, code) = match error {
        ModelError::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "model_busy"),
        ModelError::Stalled | ModelError::TooSlow => (StatusCode::GATEWAY_TIMEOUT, "model_timeout"),
        ModelError::Refused(_) => (StatusCode::BAD_GATEWAY, "model_refused"),
        _ => (StatusCode::BAD_GATEWAY, "model_failed"),
    };
    let api = ApiError::new(status, code, "No answer").detail(error.to_string());
    match error {
        ModelError::Busy { retry_after } => api.retry_after(retry_after.unwrap_or(BUSY_SECONDS)),
        ModelError::Refused(_) => {
            api.hint("look at chat.base_url, chat.model, chat.api_key and chat.parameters")
        }
        _ => api,
    }
}

fn refused(refusal: Refusal) -> ApiError {
    super::conversations::refused(refusal)
}

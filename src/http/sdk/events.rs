//! `POST /api/sdk/events`: what users do in the product, up to a hundred at once.

use axum::extract::{FromRequest as _, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::chat_body::{check_id, external, json_text, limit, missing, named, session, store_error};
use super::conversations::refused;
use super::{Caller, Sdk};
use crate::http::ApiError;
use crate::http::extract::JsonBody;
use crate::store::conversations::{Author, EventWrite};

/// The reference's limits: events of a call, and bytes of an event's metadata.
const EVENTS: usize = 100;
const METADATA_BYTES: usize = 10_000;
/// The reference cuts what is longer, in characters.
const TYPE_CHARS: usize = 100;
const SELECTOR_CHARS: usize = 500;
const URL_CHARS: usize = 2_000;

#[derive(Debug, Deserialize)]
struct Body {
    events: Option<Vec<Event>>,
    user_id: Option<String>,
    user_token: Option<String>,
    session_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Event {
    event_type: Option<String>,
    element_selector: Option<String>,
    page_url: Option<String>,
    metadata: Option<Value>,
}

/// The route.
pub async fn handle(
    State(sdk): State<Sdk>,
    caller: Caller,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let JsonBody(body) = JsonBody::<Body>::from_request(request, &()).await?;
    let said = body.events.ok_or_else(|| missing("events"))?;
    limit("events", said.len(), EVENTS, "events")?;
    check_id("user_id", body.user_id.as_deref())?;
    let mut events = Vec::with_capacity(said.len());
    for (at, event) in said.into_iter().enumerate() {
        let kind = event.event_type.filter(|kind| !kind.trim().is_empty());
        let kind = kind.ok_or_else(|| missing(&format!("events[{at}].event_type")))?;
        if let Some(metadata) = &event.metadata {
            let bytes = json_text(metadata).len();
            limit(&format!("events[{at}].metadata"), bytes, METADATA_BYTES, "bytes")?;
        }
        events.push(EventWrite {
            event_type: cut(&kind, TYPE_CHARS),
            element_selector: event.element_selector.map(|text| cut(&text, SELECTOR_CHARS)),
            page_url: event.page_url.map(|text| cut(&text, URL_CHARS)),
            metadata: event.metadata,
        });
    }
    let voice = caller.voice(&sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    let author = Author {
        user: named(body.user_id.as_deref()).map(external),
        company: None,
        session_id: session(body.session_id.as_deref()),
        rank: voice.rank,
        verified: voice.verified,
        at: sdk.chat.clock().now(),
    };
    let stored = sdk.store.put_events(caller.org(), &author, events).await.map_err(store_error)?;
    stored.map_err(refused)?;
    Ok(axum::Json(json!({ "success": true })).into_response())
}

/// Its first characters; none is cut in two.
fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

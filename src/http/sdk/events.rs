//! `POST /api/sdk/events`: what users do in the product, up to a hundred at once.

use axum::extract::{FromRequest as _, State};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::chat_body::{check_id, external, json_text, limit, missing, named, session, store_error};
use super::conversations::refused;
use super::{Caller, Sdk};
use crate::http::ApiError;
use crate::http::codes::VOICE;
use crate::http::extract::JsonBody;
use crate::http::openapi::{Access, Operation, Tag};
use crate::store::conversations::{Author, EventWrite};

/// The reference's limits: events of a call, and bytes of an event's metadata.
const EVENTS: usize = 100;
const METADATA_BYTES: usize = 10_000;
/// The reference cuts what is longer, in characters.
const TYPE_CHARS: usize = 100;
const SELECTOR_CHARS: usize = 500;
const URL_CHARS: usize = 2_000;

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "EventsRequest")]
struct Body {
    /// What was done, at most 100. Needed.
    #[schemars(length(max = 100))]
    events: Option<Vec<Event>>,
    /// The caller's id of the user, made where it is not known; `anonymous`, empty or absent: nobody.
    #[schemars(length(max = 200))]
    user_id: Option<String>,
    /// A token that proves who speaks.
    user_token: Option<String>,
    /// The browser session, cut to 200 characters.
    session_id: Option<String>,
}

/// Something that was done.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Event")]
struct Event {
    /// `click`, `page_view`, `form_submit`, `error`, or any other word; cut to 100 characters. Needed.
    event_type: Option<String>,
    /// The page's element; cut to 500 characters.
    element_selector: Option<String>,
    /// The page; cut to 2,000 characters.
    page_url: Option<String>,
    /// Any JSON, at most 10,000 bytes.
    metadata: Option<Value>,
}

/// What is answered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventsAnswer")]
struct Answer {
    /// All of them are stored.
    success: bool,
}

/// What the route says about itself.
pub fn operation() -> Operation {
    let event = json!({"event_type": "click", "element_selector": "#upgrade",
        "page_url": "/settings/billing", "metadata": {"plan": "pro"}});
    Operation::post("/api/sdk/events", "put_events", "Take in what users do")
        .about(
            "All events are stored or none. The user that is named is made where it is not known, and was seen now. Texts \
             that are too long are cut, as the reference does it.",
        )
        .tag(Tag::Activity)
        .access(Access::AnyKey)
        .body::<Body>(json!({"user_id": "user_123", "session_id": "s_1", "events": [event]}))
        .answer::<Answer>(200, "All of them are stored.", json!({"success": true}))
        .codes(VOICE)
        .codes(&["missing_field", "too_large"])
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
    Ok(axum::Json(Answer { success: true }).into_response())
}

/// Its first characters; none is cut in two.
fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

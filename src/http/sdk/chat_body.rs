//! The reference's chat body, which all routes of a chat take, and its limits.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::context::CompanyPart;
use crate::domain::ContextEntry;
use crate::domain::conversations::{Mode, Role};
use crate::http::ApiError;
use crate::product::ANONYMOUS;
use crate::store::StoreError;
use crate::store::identity::Lookup;

/// The reference's limits, in characters.
const CUSTOM_FIELDS_CHARS: usize = 10_000;
const BEHAVIOR_CHARS: usize = 5_000;
const MESSAGE_CHARS: usize = 10_000;
/// The reference's limit, in messages.
const HISTORY_MESSAGES: usize = 50;
/// The reference's limits on a stored user's and company's payload, in bytes of JSON. What a request lays over them
/// keeps the same.
const USER_BYTES: usize = 20_000;
const COMPANY_BYTES: usize = 50_000;
/// Ids, in characters.
pub(super) const ID_CHARS: usize = 200;
/// Pictures of one message.
const IMAGES: usize = 10;
/// When to come again after a trouble of ours.
pub(super) const RETRY_SECONDS: u64 = 5;

/// A body of `chat`, `chat/stream` or `chat/context`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "ChatRequest")]
pub(super) struct ChatBody {
    /// The caller's id of the user; `anonymous`, empty or absent: nobody.
    #[schemars(length(max = 200))]
    pub(super) user_id: Option<String>,
    /// A token that proves who speaks, signed with the organisation's identity secret.
    pub(super) user_token: Option<String>,
    /// The caller's id of the company, or ours, which counts where the user is linked to none.
    #[schemars(length(max = 200))]
    pub(super) company_id: Option<String>,
    /// The browser session, cut to 200 characters; given back where it is left out. It says which conversation goes on.
    pub(super) session_id: Option<String>,
    /// Where the conversation takes place.
    pub(super) mode: Mode,
    /// The caller's name of the AI agent.
    #[schemars(length(max = 200))]
    pub(super) agent_id: Option<String>,
    /// Traits of the user, laid over the stored ones for this answer only; at most 10,000 characters of JSON.
    pub(super) custom_fields: Map<String, Value>,
    /// Context entries by key, laid over the stored ones for this answer only; at most 20,000 bytes of JSON.
    pub(super) context: BTreeMap<String, ContextEntry>,
    /// What the request says about the company; at most 50,000 bytes of JSON.
    pub(super) company: CompanyPart,
    /// What the visitor is doing, a line each: the prompt's last section.
    #[schemars(length(max = 5000))]
    pub(super) behavior_context: Option<String>,
    /// `chat/context`: whether the answer says where each value comes from, and what it won against.
    pub(super) explain: bool,
    /// Tokens that the prompt's text may take. Absent: the setting `prompt.budget_tokens`.
    pub(super) budget_tokens: Option<usize>,
    /// What the user says, at most 10,000 characters. Needed by `chat`, ignored by `chat/context`.
    #[schemars(with = "Option<String>")]
    message: Value,
    /// What was said before, oldest first, at most 50 messages; absent: what is stored of the session. Ignored by
    /// `chat/context`.
    #[schemars(with = "Option<Vec<HistoryItem>>")]
    conversation_history: Value,
    /// Pictures, at most 10: `https` or `data:image` addresses. Passed on to the model, never fetched here. Ignored by
    /// `chat/context`.
    #[schemars(with = "Option<Vec<String>>")]
    images: Value,
}

/// What was said before, as the reference's clients send it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "ChatHistoryItem")]
pub(super) struct HistoryItem {
    /// Who spoke: `user`, `assistant`, or `agent` for a person. Also taken as `speaker`.
    #[serde(alias = "speaker")]
    pub(super) role: Role,
    /// What was said. Also taken as `content`.
    #[serde(alias = "content")]
    pub(super) text: String,
}

impl ChatBody {
    /// Checks what every route reads.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let ids =
            [("user_id", &self.user_id), ("company_id", &self.company_id), ("agent_id", &self.agent_id)];
        for (member, id) in ids {
            check_id(member, id.as_deref())?;
        }
        limit(
            "custom_fields",
            json_text(&self.custom_fields).chars().count(),
            CUSTOM_FIELDS_CHARS,
            "characters",
        )?;
        limit("context", json_text(&self.context).len(), USER_BYTES, "bytes")?;
        limit("company", json_text(&self.company).len(), COMPANY_BYTES, "bytes")?;
        let behavior = self.behavior_context.as_deref().unwrap_or_default();
        limit("behavior_context", behavior.chars().count(), BEHAVIOR_CHARS, "characters")
    }

    /// What the user says.
    pub(super) fn message(&self) -> Result<&str, ApiError> {
        let text = match &self.message {
            Value::String(text) => text.as_str(),
            Value::Null => return Err(missing("message")),
            _ => return Err(wrong("message", "a string is expected")),
        };
        if text.trim().is_empty() {
            return Err(missing("message"));
        }
        limit("message", text.chars().count(), MESSAGE_CHARS, "characters")?;
        Ok(text)
    }

    /// What was said before, where the caller says it; nothing where the stored conversation is meant.
    pub(super) fn history(&self) -> Result<Option<Vec<HistoryItem>>, ApiError> {
        let items = match &self.conversation_history {
            Value::Null => return Ok(None),
            Value::Array(items) => items,
            _ => return Err(wrong("conversation_history", "a list is expected")),
        };
        limit("conversation_history", items.len(), HISTORY_MESSAGES, "messages")?;
        let mut read = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let member = format!("conversation_history[{at}]");
            let item = HistoryItem::deserialize(item).map_err(|error| wrong(&member, &error.to_string()))?;
            limit(&member, item.text.chars().count(), MESSAGE_CHARS, "characters")?;
            if item.role == Role::System {
                // Who writes the system prompt is the operator.
                return Err(wrong(&member, "a message of role system is not taken"));
            }
            read.push(item);
        }
        Ok(Some(read))
    }

    /// Addresses of pictures: on the web, or the picture itself. They are passed on, never fetched here.
    pub(super) fn images(&self) -> Result<Vec<&str>, ApiError> {
        let items = match &self.images {
            Value::Null => return Ok(Vec::new()),
            Value::Array(items) => items,
            _ => return Err(wrong("images", "a list is expected")),
        };
        limit("images", items.len(), IMAGES, "pictures")?;
        let mut read = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let member = format!("images[{at}]");
            let text = item.as_str().ok_or_else(|| wrong(&member, "a string is expected"))?;
            let known = text.starts_with("data:image/") && text.contains(";base64,")
                || url::Url::parse(text).is_ok_and(|url| url.scheme() == "https");
            if !known {
                return Err(wrong(&member, "an https address or a data:image address is expected"));
            }
            read.push(text);
        }
        Ok(read)
    }

    /// The user that is named.
    pub(super) fn user(&self) -> Option<&str> {
        named(self.user_id.as_deref())
    }

    /// The session that is named, cut to the reference's length.
    pub(super) fn session(&self) -> Option<String> {
        session(self.session_id.as_deref())
    }
}

/// A user's or company's id; nothing for nobody, and for the reference's word for nobody.
pub(super) fn named(id: Option<&str>) -> Option<&str> {
    id.filter(|id| !id.is_empty() && *id != ANONYMOUS)
}

/// A session's id, cut to the reference's length.
pub(super) fn session(id: Option<&str>) -> Option<String> {
    id.map(|id| id.chars().take(ID_CHARS).collect::<String>()).filter(|id| !id.is_empty())
}

/// The caller's own id, whatever it looks like.
pub(super) fn external(id: &str) -> Lookup {
    Lookup::External(id.to_owned())
}

/// Refuses an id that could not be stored as it is.
pub(super) fn check_id(member: &str, id: Option<&str>) -> Result<(), ApiError> {
    let Some(id) = id else { return Ok(()) };
    limit(member, id.chars().count(), ID_CHARS, "characters")?;
    if id.contains('\0') { Err(wrong(member, "an id must be text without NUL")) } else { Ok(()) }
}

/// What came from JSON goes back to JSON.
pub(super) fn json_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) fn limit(member: &str, measured: usize, limit: usize, unit: &str) -> Result<(), ApiError> {
    if measured <= limit {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "too_large",
        format!("{member}: {measured} {unit}, at most {limit} are accepted"),
    ))
}

pub(super) fn missing(member: &str) -> ApiError {
    ApiError::bad_request("missing_field", format!("{member} is required"))
}

pub(super) fn wrong(member: &str, detail: &str) -> ApiError {
    ApiError::bad_request("invalid_body", format!("{member}: {detail}"))
}

/// What the store refused, or why it could not be asked.
pub(super) fn store_error(error: StoreError) -> ApiError {
    match error {
        StoreError::Invalid(detail) => ApiError::bad_request("invalid_body", detail),
        other => ApiError::unavailable(RETRY_SECONDS, &other),
    }
}

//! What passes between an end user and the operator: conversations, tickets, events.

use connector_sdk::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CompanyId, ConversationId, EventId, Rank, TicketId, UserId};

/// Where a conversation takes place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Written.
    #[default]
    Chat,
    /// Spoken.
    Voice,
    /// With pictures of the speakers.
    Video,
    /// With a person of the operator.
    Livehelp,
}

/// Whether a conversation goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationStatus {
    /// It goes on.
    #[default]
    Open,
    /// It is over: the next message of its session begins another.
    Closed,
}

/// What the user said of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rating {
    /// It helped.
    Positive,
    /// It did not.
    Negative,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The end user.
    #[serde(alias = "visitor", alias = "customer", alias = "human", alias = "end_user")]
    User,
    /// The AI support agent.
    #[serde(alias = "ai", alias = "bot", alias = "model")]
    Assistant,
    /// A person of the operator.
    #[serde(alias = "teammate", alias = "admin")]
    Agent,
    /// Nobody: a note of the system that the conversation took place in.
    System,
}

/// A conversation, without its messages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conversation {
    /// Our id.
    pub id: ConversationId,
    /// The caller's id; unique in the organisation.
    pub external_id: Option<String>,
    /// The browser session that it took place in.
    pub session_id: Option<String>,
    /// Whose it is; `None` while nobody is known.
    pub user_id: Option<UserId>,
    /// Whose word that is.
    pub user_rank: Rank,
    /// The user's company when it was written, else the one that the caller named.
    pub company_id: Option<CompanyId>,
    /// Where it takes place.
    pub mode: Mode,
    /// The caller's name of the AI agent.
    pub agent_id: Option<String>,
    /// Whether it goes on.
    pub status: ConversationStatus,
    /// What it is about.
    pub subject: Option<String>,
    /// From -1,000,000 (bad) to 1,000,000 (good).
    pub sentiment_millionths: Option<i64>,
    /// What the user said of it.
    pub rating: Option<Rating>,
    /// `sdk` for what was sent whole, `chat` for what was said here.
    pub source: String,
    /// Number of its messages.
    pub messages: i64,
    /// When it began.
    pub started_at: Timestamp,
    /// When its newest message was sent.
    pub active_at: Timestamp,
    /// When the row was made.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// Its place, from 0.
    pub ordinal: i64,
    /// The caller's id; unique in the conversation.
    pub external_id: Option<String>,
    /// Who speaks.
    pub role: Role,
    /// What was said.
    pub text: String,
    /// False for an answer that broke off.
    pub complete: bool,
    /// A browser says that this was said; nobody else does.
    pub claimed: bool,
    /// When it was sent.
    pub sent_at: Timestamp,
}

/// How far a ticket is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TicketStatus {
    /// Somebody of the operator must act.
    #[default]
    Open,
    /// It waits for something; counts as open.
    Pending,
    /// Answered.
    Resolved,
    /// Over.
    Closed,
}

impl TicketStatus {
    /// Whether the ticket still weighs on the customer.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Pending)
    }
}

/// How urgent a ticket is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Can wait.
    Low,
    /// Nothing said.
    #[default]
    Normal,
    /// Before others.
    High,
    /// Now.
    Urgent,
    /// The reference's flag; weighs as `high`.
    Priority,
}

impl Priority {
    /// Whether it counts as a priority ticket.
    pub fn is_priority(self) -> bool {
        matches!(self, Self::High | Self::Urgent | Self::Priority)
    }
}

/// A ticket.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ticket {
    /// Our id.
    pub id: TicketId,
    /// The caller's id; unique in the organisation.
    pub external_id: Option<String>,
    /// The browser session that it was written in.
    pub session_id: Option<String>,
    /// Whose it is.
    pub user_id: Option<UserId>,
    /// Whose word that is.
    pub user_rank: Rank,
    /// The user's company when it was written.
    pub company_id: Option<CompanyId>,
    /// How far it is.
    pub status: TicketStatus,
    /// How urgent it is.
    pub priority: Priority,
    /// What it is about.
    pub subject: String,
    /// The text.
    pub message: Option<String>,
    /// What the caller added.
    pub metadata: Option<Map<String, Value>>,
    /// Where it came from; `api` unless said.
    pub source: String,
    /// When it was resolved or closed.
    pub closed_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// Something that a user did in the product.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UserEvent {
    /// Our id.
    pub id: EventId,
    /// Who did it; `None` while nobody is known.
    pub user_id: Option<UserId>,
    /// The browser session.
    pub session_id: Option<String>,
    /// `click`, `page_view`, `form_submit`, `error`, or any other word.
    pub event_type: String,
    /// The page's element.
    pub element_selector: Option<String>,
    /// The page.
    pub page_url: Option<String>,
    /// What the caller added: any JSON.
    pub metadata: Option<Value>,
    /// When it was taken in.
    pub created_at: Timestamp,
}

/// What a user did on one day (UTC).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ActivityDay {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Identify calls.
    pub identifies: i64,
    /// Events.
    pub events: i64,
    /// Messages that the user wrote.
    pub messages: i64,
    /// Tickets.
    pub tickets: i64,
}

//! What passes between users and the operator, and what a chat reads of them.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Result;
use super::identity::{Lookup, StoredView};
use crate::domain::conversations::{
    ActivityDay, Conversation, ConversationStatus, Message, Mode, Priority, Rating, Role, Ticket,
    TicketStatus, UserEvent,
};
use crate::domain::{CompanyId, ConversationId, OrgId, Rank, UserId};

/// How a caller names a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConversationRef {
    /// Our id (`cnv_…`).
    Id(ConversationId),
    /// The caller's id.
    External(String),
}

impl ConversationRef {
    /// `cnv_` ids are ours, everything else is the caller's.
    pub fn parse(text: &str) -> Self {
        if text.starts_with("cnv_") { Self::Id(text.into()) } else { Self::External(text.to_owned()) }
    }
}

/// Who writes, and about whom.
#[derive(Debug, Clone)]
pub struct Author {
    /// The user that is named. Made where there is none, if named by the caller's id.
    pub user: Option<Lookup>,
    /// The company that is named; what the user is linked to goes before it.
    pub company: Option<Lookup>,
    /// The browser session.
    pub session_id: Option<String>,
    /// Whose word all of it is. [`Rank::Claimed`] writes only to what is its user's or its session's.
    pub rank: Rank,
    /// A token proves that it is the user who speaks.
    pub verified: bool,
    /// Now.
    pub at: Timestamp,
}

impl Author {
    /// Whose word it is that this is the user.
    pub fn user_rank(&self) -> Rank {
        if self.verified { Rank::Server } else { self.rank }
    }
}

/// A message to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageWrite {
    /// The caller's id: the message with it is replaced.
    pub external_id: Option<String>,
    /// Its place; for a message without an id, the message at it is meant.
    pub ordinal: Option<i64>,
    /// Who speaks.
    pub role: Role,
    /// What was said.
    pub text: String,
    /// When; `None` for now.
    pub sent_at: Option<Timestamp>,
}

/// A value to be set, taken away, or left as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// As it is.
    #[default]
    Keep,
    /// Taken away.
    Clear,
    /// Set.
    Set(T),
}

/// A conversation to be made or changed. What is `None` stays as it is.
#[derive(Debug, Clone)]
pub struct ConversationWrite {
    /// Which one.
    pub conversation: ConversationRef,
    /// Who writes.
    pub author: Author,
    /// Where it takes place.
    pub mode: Option<Mode>,
    /// The caller's name of the AI agent.
    pub agent_id: Option<String>,
    /// Whether it goes on.
    pub status: Option<ConversationStatus>,
    /// What it is about.
    pub subject: Option<String>,
    /// From -1,000,000 to 1,000,000.
    pub sentiment_millionths: Change<i64>,
    /// What the user said of it.
    pub rating: Change<Rating>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// Messages; one without an id and a place stands at its place in this list.
    pub messages: Vec<MessageWrite>,
}

/// Why something was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// One of our ids that does not exist: the member's name.
    Unknown(&'static str),
    /// It is another user's or another session's.
    OfAnother,
    /// At this place of the list stands a message that would overwrite another: the stored one's ordinal.
    Conflict {
        /// In the list that was sent.
        index: usize,
        /// Where the other one is stored.
        ordinal: i64,
    },
    /// There would be more messages than a conversation holds.
    TooMany,
}

/// A conversation as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversationPut {
    /// As it is now.
    pub conversation: Conversation,
    /// It is new.
    pub created: bool,
    /// Messages that are new.
    pub added: usize,
    /// Messages whose text or sender changed.
    pub replaced: usize,
}

/// A user's message that is to be answered.
#[derive(Debug, Clone)]
pub struct TurnStart {
    /// Who writes. The session says which conversation it is: the newest open one of that user, or of nobody yet.
    pub author: Author,
    /// Where it takes place.
    pub mode: Mode,
    /// The caller's name of the AI agent.
    pub agent_id: Option<String>,
    /// What the user says.
    pub text: String,
    /// How many of the messages before it are answered.
    pub history: i64,
}

/// A turn that has begun: the user's message is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The conversation that it belongs to.
    pub conversation_id: ConversationId,
    /// Whose that is.
    pub user_id: Option<UserId>,
    /// What was said before, oldest first.
    pub history: Vec<Message>,
}

/// The answer to a turn.
#[derive(Debug, Clone)]
pub struct TurnEnd {
    /// The turn's conversation.
    pub conversation_id: ConversationId,
    /// What was answered, as far as it came.
    pub text: String,
    /// Whether that is all of it.
    pub complete: bool,
    /// Now.
    pub at: Timestamp,
}

/// A ticket to be made, or to be found again by its external id.
#[derive(Debug, Clone)]
pub struct TicketWrite {
    /// The caller's id; a second ticket with it is the first one.
    pub external_id: Option<String>,
    /// Who writes. The user is made where it is not known.
    pub author: Author,
    /// An address by which a user is found, or made.
    pub email: Option<String>,
    /// The name of a user that is made.
    pub name: Option<String>,
    /// What it is about.
    pub subject: String,
    /// The text.
    pub message: Option<String>,
    /// What the caller adds.
    pub metadata: Option<Map<String, Value>>,
    /// Where it comes from.
    pub source: String,
    /// How far it is.
    pub status: TicketStatus,
    /// How urgent it is.
    pub priority: Priority,
}

/// What is to change in a ticket.
#[derive(Debug, Clone, Default)]
pub struct TicketChange {
    /// How far it is.
    pub status: Option<TicketStatus>,
    /// How urgent it is.
    pub priority: Option<Priority>,
    /// What it is about.
    pub subject: Option<String>,
}

/// A ticket as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct TicketPut {
    /// As it is now.
    pub ticket: Ticket,
    /// It is new.
    pub created: bool,
    /// Its user was made for it.
    pub user_created: bool,
}

/// An event to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct EventWrite {
    /// What kind.
    pub event_type: String,
    /// The page's element.
    pub element_selector: Option<String>,
    /// The page.
    pub page_url: Option<String>,
    /// Any JSON.
    pub metadata: Option<Value>,
}

/// Whose conversations or tickets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A user's.
    User(UserId),
    /// A company's: its users' as of when they were written.
    Company(CompanyId),
}

/// What a user was found to have left in a session before it was known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SessionLinked {
    /// Conversations.
    pub conversations: u64,
    /// Tickets.
    pub tickets: u64,
    /// Events.
    pub events: u64,
}

/// What tells a chat's view from any other: the rows that it is made from, and how often each was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ViewStamp {
    /// The user's row.
    pub user: Option<(String, i64)>,
    /// The company's row.
    pub company: Option<(String, i64)>,
}

/// A chat's view with its stamp.
#[derive(Debug, Clone)]
pub struct ChatView {
    /// User and company.
    pub view: StoredView,
    /// What it is told apart by.
    pub stamp: ViewStamp,
}

/// Conversations, tickets, events, activity, and what a chat reads.
#[async_trait]
pub trait ConversationStore {
    /// Makes or changes a conversation, and its messages: the same again changes nothing.
    async fn put_conversation(
        &self,
        org: &OrgId,
        write: ConversationWrite,
    ) -> Result<std::result::Result<ConversationPut, Refusal>>;

    /// One conversation.
    async fn find_conversation(
        &self,
        org: &OrgId,
        conversation: &ConversationRef,
    ) -> Result<Option<Conversation>>;

    /// Conversations, newest activity first, those with activity before `before`.
    async fn list_conversations(
        &self,
        org: &OrgId,
        owner: &Owner,
        before: Option<Timestamp>,
        limit: i64,
    ) -> Result<Vec<Conversation>>;

    /// Messages in their order, from the ordinal `from`.
    async fn list_messages(
        &self,
        org: &OrgId,
        id: &ConversationId,
        from: i64,
        limit: i64,
    ) -> Result<Vec<Message>>;

    /// Stores what a user says, in the conversation of the session, and answers what was said before.
    async fn begin_turn(&self, org: &OrgId, start: TurnStart) -> Result<std::result::Result<Turn, Refusal>>;

    /// Stores the answer.
    async fn finish_turn(&self, org: &OrgId, end: TurnEnd) -> Result<()>;

    /// Makes a ticket.
    async fn put_ticket(
        &self,
        org: &OrgId,
        write: TicketWrite,
    ) -> Result<std::result::Result<TicketPut, Refusal>>;

    /// Changes a ticket, named by our id or the caller's. `Ok(None)`: there is none.
    async fn change_ticket(
        &self,
        org: &OrgId,
        ticket: &str,
        change: &TicketChange,
        at: Timestamp,
    ) -> Result<Option<Ticket>>;

    /// Tickets, newest first, those made before `before`.
    async fn list_tickets(
        &self,
        org: &OrgId,
        owner: &Owner,
        before: Option<Timestamp>,
        limit: i64,
    ) -> Result<Vec<Ticket>>;

    /// Stores events; the user, where one is named, was seen now.
    async fn put_events(
        &self,
        org: &OrgId,
        author: &Author,
        events: Vec<EventWrite>,
    ) -> Result<std::result::Result<(), Refusal>>;

    /// Events of a user, newest first, from behind the id `before`.
    async fn list_events(
        &self,
        org: &OrgId,
        user: &UserId,
        before: Option<&str>,
        limit: i64,
    ) -> Result<Vec<UserEvent>>;

    /// The days since `since_day` (days since 1970) on which a user did anything, oldest first.
    async fn list_activity(&self, org: &OrgId, user: &UserId, since_day: i64) -> Result<Vec<ActivityDay>>;

    /// Gives what nobody owns of a session to a user: conversations, tickets, events. To be called when a user
    /// is identified with a session (`units::conversations::link_session` inside a unit).
    async fn link_session(
        &self,
        org: &OrgId,
        session_id: &str,
        user: &UserId,
        rank: Rank,
        at: Timestamp,
    ) -> Result<SessionLinked>;

    /// Removes up to `limit` events from before `before`, and that time's days of activity. Answers how many.
    async fn prune_events(&self, org: &OrgId, before: Timestamp, limit: i64) -> Result<i64>;

    /// Removes up to `limit` days of activity from before `before_day`. Answers how many.
    async fn prune_activity(&self, org: &OrgId, before_day: i64, limit: i64) -> Result<i64>;

    /// Removes everything that is kept here of a user.
    async fn delete_conversations_of_user(&self, org: &OrgId, user: &UserId) -> Result<()>;

    /// Removes what is kept here of a company and of nobody else; what is a user's stays the user's.
    async fn delete_conversations_of_company(&self, org: &OrgId, company: &CompanyId) -> Result<()>;

    /// What tells the view of a chat apart, in one statement that reads no documents.
    async fn find_view_stamp(
        &self,
        org: &OrgId,
        user: Option<&Lookup>,
        company: Option<&Lookup>,
    ) -> Result<ViewStamp>;

    /// The view of a chat at one instant: the user, and the company that the user is linked to, else the one
    /// that is named.
    async fn load_chat_view(
        &self,
        org: &OrgId,
        user: Option<&Lookup>,
        company: Option<&Lookup>,
    ) -> Result<ChatView>;
}

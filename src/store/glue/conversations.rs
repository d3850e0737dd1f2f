//! [`ConversationStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::Timestamp;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::conversations::{ActivityDay, Conversation, Message, Ticket, UserEvent};
use crate::domain::{CompanyId, ConversationId, OrgId, Rank, UserId};
use crate::store::conversations::{
    Author, ChatView, ConversationPut, ConversationRef, ConversationStore, ConversationWrite, EventWrite,
    Owner, Refusal, SessionLinked, TicketChange, TicketPut, TicketWrite, Turn, TurnEnd, TurnStart, ViewStamp,
};
use crate::store::identity::Lookup;

type Refusable<T> = std::result::Result<T, Refusal>;

#[async_trait]
impl ConversationStore for Engine {
    async fn put_conversation(
        &self,
        org: &OrgId,
        write: ConversationWrite,
    ) -> Result<Refusable<ConversationPut>> {
        unit!(self.write(Lane::Ack, Scope::Org(org.clone())), [org = org.clone(), write = write], |c| {
            units::conversations::put_conversation(c, org, write)
        })
    }

    async fn find_conversation(
        &self,
        org: &OrgId,
        conversation: &ConversationRef,
    ) -> Result<Option<Conversation>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), conversation = conversation.clone()],
            |c| units::conversations::find_conversation(c, org, conversation)
        )
    }

    async fn list_conversations(
        &self,
        org: &OrgId,
        owner: &Owner,
        before: Option<Timestamp>,
        limit: i64,
    ) -> Result<Vec<Conversation>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), owner = owner.clone()], |c| {
            units::conversations::list_conversations(c, org, owner, before, limit)
        })
    }

    async fn list_messages(
        &self,
        org: &OrgId,
        id: &ConversationId,
        from: i64,
        limit: i64,
    ) -> Result<Vec<Message>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), id = id.clone()], |c| {
            units::conversations::list_messages(c, org, id, from, limit)
        })
    }

    async fn begin_turn(&self, org: &OrgId, start: TurnStart) -> Result<Refusable<Turn>> {
        unit!(self.write(Lane::Ack, Scope::Org(org.clone())), [org = org.clone(), start = start], |c| {
            units::conversations::begin_turn(c, org, start)
        })
    }

    async fn finish_turn(&self, org: &OrgId, end: TurnEnd) -> Result<()> {
        unit!(self.write(Lane::Ack, Scope::Org(org.clone())), [org = org.clone(), end = end], |c| {
            units::conversations::finish_turn(c, org, end)
        })
    }

    async fn put_ticket(&self, org: &OrgId, write: TicketWrite) -> Result<Refusable<TicketPut>> {
        unit!(self.write(Lane::Ack, Scope::Org(org.clone())), [org = org.clone(), write = write], |c| {
            units::tickets::put_ticket(c, org, write)
        })
    }

    async fn change_ticket(
        &self,
        org: &OrgId,
        ticket: &str,
        change: &TicketChange,
        at: Timestamp,
    ) -> Result<Option<Ticket>> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), ticket = ticket.to_owned(), change = change.clone()],
            |c| units::tickets::change_ticket(c, org, ticket, change, at)
        )
    }

    async fn list_tickets(
        &self,
        org: &OrgId,
        owner: &Owner,
        before: Option<Timestamp>,
        limit: i64,
    ) -> Result<Vec<Ticket>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), owner = owner.clone()], |c| {
            units::tickets::list_tickets(c, org, owner, before, limit)
        })
    }

    async fn put_events(
        &self,
        org: &OrgId,
        author: &Author,
        events: Vec<EventWrite>,
    ) -> Result<Refusable<()>> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), author = author.clone(), events = events],
            |c| units::user_events::put_events(c, org, author, events)
        )
    }

    async fn list_events(
        &self,
        org: &OrgId,
        user: &UserId,
        before: Option<&str>,
        limit: i64,
    ) -> Result<Vec<UserEvent>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), user = user.clone(), before = before.map(str::to_owned)],
            |c| units::user_events::list_events(c, org, user, before.as_deref(), limit)
        )
    }

    async fn list_activity(&self, org: &OrgId, user: &UserId, since_day: i64) -> Result<Vec<ActivityDay>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), user = user.clone()], |c| {
            units::user_events::list_activity(c, org, user, since_day)
        })
    }

    async fn link_session(
        &self,
        org: &OrgId,
        session_id: &str,
        user: &UserId,
        rank: Rank,
        at: Timestamp,
    ) -> Result<SessionLinked> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), session = session_id.to_owned(), user = user.clone()],
            |c| units::user_events::link_session(c, org, session, user, rank, at)
        )
    }

    async fn prune_events(&self, org: &OrgId, before: Timestamp, limit: i64) -> Result<i64> {
        unit!(self.write(Lane::Bulk, Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::user_events::prune_events(c, org, before, limit)
        })
    }

    async fn prune_activity(&self, org: &OrgId, before_day: i64, limit: i64) -> Result<i64> {
        unit!(self.write(Lane::Bulk, Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::user_events::prune_activity(c, org, before_day, limit)
        })
    }

    async fn delete_conversations_of_user(&self, org: &OrgId, user: &UserId) -> Result<()> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), user = user.clone()],
            |c| { units::user_events::delete_of_user(c, org, user) }
        )
    }

    async fn delete_conversations_of_company(&self, org: &OrgId, company: &CompanyId) -> Result<()> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), company = company.clone()],
            |c| units::user_events::delete_of_company(c, org, company)
        )
    }

    async fn find_view_stamp(
        &self,
        org: &OrgId,
        user: Option<&Lookup>,
        company: Option<&Lookup>,
    ) -> Result<ViewStamp> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), user = user.cloned(), company = company.cloned()],
            |c| units::views::find_view_stamp(c, org, user.as_ref(), company.as_ref())
        )
    }

    async fn load_chat_view(
        &self,
        org: &OrgId,
        user: Option<&Lookup>,
        company: Option<&Lookup>,
    ) -> Result<ChatView> {
        unit!(
            self.snapshot(Scope::Org(org.clone())),
            [org = org.clone(), user = user.cloned(), company = company.cloned()],
            |c| units::views::load_chat_view(c, org, user.as_ref(), company.as_ref())
        )
    }
}

//! Tickets.

use connector_sdk::Timestamp;
use sqlx::FromRow;

use super::authors::{self, raced};
use super::user_events::{self, Did};
use super::{Conn, new_id_at};
use crate::domain::conversations::Ticket;
use crate::domain::{OrgId, TicketId};
use crate::store::Result;
use crate::store::conversations::{Owner, Refusal, TicketChange, TicketPut, TicketWrite};
use crate::store::convert::{clean, from_json, from_word, time, to_json, us, word};
use crate::store::identity::Lookup;

statements! {
    FIND_BY_ID = "SELECT * FROM tickets WHERE org_id = $1 AND id = $2";
    FIND_BY_EXTERNAL = "SELECT * FROM tickets WHERE org_id = $1 AND external_id = $2";
    PUT = "INSERT INTO tickets (id, org_id, external_id, session_id, user_id, user_rank, company_id, status, priority,
            subject, message, metadata, source, closed_at, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)";
    CHANGE = "UPDATE tickets SET status = $3, priority = $4, subject = $5, closed_at = $6, updated_at = $7
        WHERE org_id = $1 AND id = $2";
    OF_USER = "SELECT * FROM tickets WHERE org_id = $1 AND user_id = $2 AND created_at < $3
        ORDER BY created_at DESC, id DESC LIMIT $4";
    OF_COMPANY = "SELECT * FROM tickets WHERE org_id = $1 AND company_id = $2 AND created_at < $3
        ORDER BY created_at DESC, id DESC LIMIT $4";
}

#[derive(FromRow)]
struct Row {
    id: String,
    external_id: Option<String>,
    session_id: Option<String>,
    user_id: Option<String>,
    user_rank: String,
    company_id: Option<String>,
    status: String,
    priority: String,
    subject: String,
    message: Option<String>,
    metadata: Option<String>,
    source: String,
    closed_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

impl Row {
    fn read(self) -> Result<Ticket> {
        let row = &self.id;
        Ok(Ticket {
            user_rank: from_word("tickets", "user_rank", row, &self.user_rank)?,
            status: from_word("tickets", "status", row, &self.status)?,
            priority: from_word("tickets", "priority", row, &self.priority)?,
            metadata: self
                .metadata
                .as_deref()
                .map(|text| from_json("tickets", "metadata", row, text))
                .transpose()?,
            id: self.id.into(),
            external_id: self.external_id,
            session_id: self.session_id,
            user_id: self.user_id.map(Into::into),
            company_id: self.company_id.map(Into::into),
            subject: self.subject,
            message: self.message,
            source: self.source,
            closed_at: self.closed_at.map(time),
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
        })
    }
}

async fn find(c: &mut Conn, org: &OrgId, ticket: &str) -> Result<Option<Ticket>> {
    let sql = if ticket.starts_with("tkt_") { FIND_BY_ID } else { FIND_BY_EXTERNAL };
    let row: Option<Row> = sqlx::query_as(sql).bind(&org.0).bind(clean(ticket)).fetch_optional(c).await?;
    row.map(Row::read).transpose()
}

pub(crate) async fn put_ticket(
    c: &mut Conn,
    org: &OrgId,
    write: &TicketWrite,
) -> Result<std::result::Result<TicketPut, Refusal>> {
    let author = &write.author;
    if let Some(id) = &write.external_id
        && let Some(ticket) = find(c, org, id).await?
    {
        // The same again: a caller that heard no answer.
        let known = authors::find(c, org, author).await?;
        let same = ticket.subject == clean(&write.subject)
            && ticket.message == write.message.as_deref().map(clean)
            && (author.user.is_none() || known == Ok(ticket.user_id.clone()));
        return Ok(match same {
            true => Ok(TicketPut { ticket, created: false, user_created: false }),
            false => Err(Refusal::OfAnother),
        });
    }
    let known = match authors::find(c, org, author).await? {
        Ok(known) => known,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // By the caller's id, then by the address, else somebody new.
    let by_email = match (&known, &write.email) {
        (None, Some(email)) => authors::find_by_email(c, org, email).await?,
        _ => None,
    };
    let mut author = author.clone();
    let user_created = known.is_none() && by_email.is_none();
    if user_created {
        let external = match &author.user {
            Some(Lookup::External(id)) => Some(clean(id)),
            _ => None,
        };
        let (name, email) = (write.name.as_deref().map(clean), write.email.as_deref().map(clean));
        let made = authors::make_user(c, org, external, name, email, author.rank, author.at).await?;
        author.user = Some(Lookup::Id(made.id.0));
    } else if let Some(user) = by_email {
        author.user = Some(Lookup::Id(user.id.0));
    }
    let named = authors::resolve(c, org, &author, false).await?;
    let ticket = Ticket {
        id: TicketId(new_id_at(TicketId::PREFIX, author.at)),
        external_id: write.external_id.as_deref().map(clean),
        session_id: author.session_id.as_deref().map(clean),
        user_id: named.user,
        user_rank: author.user_rank(),
        company_id: named.company,
        status: write.status,
        priority: write.priority,
        subject: clean(&write.subject),
        message: write.message.as_deref().map(clean),
        metadata: write.metadata.clone(),
        source: clean(&write.source),
        closed_at: (!write.status.is_open()).then_some(author.at),
        created_at: author.at,
        updated_at: author.at,
    };
    sqlx::query(PUT)
        .bind(&ticket.id.0)
        .bind(&org.0)
        .bind(&ticket.external_id)
        .bind(&ticket.session_id)
        .bind(ticket.user_id.as_ref().map(|id| &id.0))
        .bind(word(ticket.user_rank)?)
        .bind(ticket.company_id.as_ref().map(|id| &id.0))
        .bind(word(ticket.status)?)
        .bind(word(ticket.priority)?)
        .bind(&ticket.subject)
        .bind(&ticket.message)
        .bind(ticket.metadata.as_ref().map(to_json).transpose()?)
        .bind(&ticket.source)
        .bind(ticket.closed_at.map(us))
        .bind(us(ticket.created_at))
        .execute(&mut *c)
        .await
        .map_err(|error| raced(error.into()))?;
    if let Some(user) = &ticket.user_id {
        let day = user_events::day_of(author.at);
        user_events::note_activity(c, org, user.as_str(), day, Did::Tickets, 1).await?;
    }
    Ok(Ok(TicketPut { ticket, created: true, user_created }))
}

pub(crate) async fn change_ticket(
    c: &mut Conn,
    org: &OrgId,
    ticket: &str,
    change: &TicketChange,
    at: Timestamp,
) -> Result<Option<Ticket>> {
    let Some(mut ticket) = find(c, org, ticket).await? else { return Ok(None) };
    let before = ticket.clone();
    ticket.status = change.status.unwrap_or(ticket.status);
    ticket.priority = change.priority.unwrap_or(ticket.priority);
    if let Some(subject) = &change.subject {
        ticket.subject = clean(subject);
    }
    ticket.closed_at = match (ticket.status.is_open(), ticket.closed_at) {
        (true, _) => None,
        (false, closed) => closed.or(Some(at)),
    };
    if ticket == before {
        return Ok(Some(ticket));
    }
    ticket.updated_at = at;
    sqlx::query(CHANGE)
        .bind(&org.0)
        .bind(&ticket.id.0)
        .bind(word(ticket.status)?)
        .bind(word(ticket.priority)?)
        .bind(&ticket.subject)
        .bind(ticket.closed_at.map(us))
        .bind(us(at))
        .execute(c)
        .await?;
    Ok(Some(ticket))
}

pub(crate) async fn list_tickets(
    c: &mut Conn,
    org: &OrgId,
    owner: &Owner,
    before: Option<Timestamp>,
    limit: i64,
) -> Result<Vec<Ticket>> {
    let (sql, id) = match owner {
        Owner::User(id) => (OF_USER, &id.0),
        Owner::Company(id) => (OF_COMPANY, &id.0),
    };
    let rows: Vec<Row> = sqlx::query_as(sql)
        .bind(&org.0)
        .bind(clean(id))
        .bind(before.map_or(i64::MAX, us))
        .bind(limit)
        .fetch_all(c)
        .await?;
    rows.into_iter().map(Row::read).collect()
}

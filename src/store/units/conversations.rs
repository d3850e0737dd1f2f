//! Conversations and their messages.

use std::collections::BTreeMap;

use connector_sdk::Timestamp;
use sqlx::FromRow;

use super::authors::{self, Named, raced};
use super::user_events::{self, Did};
use super::{Conn, bulk, new_id_at};
use crate::domain::conversations::{Conversation, Message, Role};
use crate::domain::{ConversationId, OrgId, Rank, UserId};
use crate::store::Result;
use crate::store::conversations::{
    Change, ConversationPut, ConversationRef, ConversationWrite, MessageWrite, Owner, Refusal, Turn, TurnEnd,
    TurnStart,
};
use crate::store::convert::{clean, from_word, time, us, word};

statements! {
    FIND_BY_ID = "SELECT * FROM conversations WHERE org_id = $1 AND id = $2";
    FIND_BY_EXTERNAL = "SELECT * FROM conversations WHERE org_id = $1 AND external_id = $2";
    LOCK = concat!("SELECT * FROM conversations WHERE org_id = $1 AND id = $2", for_update!());
    OF_SESSION = concat!("SELECT * FROM conversations
        WHERE org_id = $1 AND session_id = $2 AND status = 'open' AND (user_id IS NULL OR user_id = $3)
        ORDER BY CASE WHEN user_id IS NULL THEN 1 ELSE 0 END, id DESC LIMIT 1", for_update!());
    OF_SESSION_NOBODY = concat!("SELECT * FROM conversations
        WHERE org_id = $1 AND session_id = $2 AND status = 'open' AND user_id IS NULL
        ORDER BY id DESC LIMIT 1", for_update!());
    OF_USER = "SELECT * FROM conversations WHERE org_id = $1 AND user_id = $2 AND active_at < $3
        ORDER BY active_at DESC, id DESC LIMIT $4";
    OF_COMPANY = "SELECT * FROM conversations WHERE org_id = $1 AND company_id = $2 AND active_at < $3
        ORDER BY active_at DESC, id DESC LIMIT $4";
    PUT = "INSERT INTO conversations (id, org_id, external_id, session_id, user_id, user_rank, company_id, mode,
            agent_id, status, subject, sentiment, sentiment_rank, rating, rating_rank, source, message_count,
            started_at, active_at, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
        ON CONFLICT (id) DO UPDATE SET session_id = excluded.session_id, user_id = excluded.user_id,
            user_rank = excluded.user_rank, company_id = excluded.company_id, mode = excluded.mode,
            agent_id = excluded.agent_id, status = excluded.status, subject = excluded.subject,
            sentiment = excluded.sentiment, sentiment_rank = excluded.sentiment_rank, rating = excluded.rating,
            rating_rank = excluded.rating_rank, message_count = excluded.message_count,
            started_at = excluded.started_at, active_at = excluded.active_at, updated_at = excluded.updated_at";
    MESSAGES = "SELECT * FROM messages WHERE org_id = $1 AND conversation_id = $2 AND ordinal >= $3
        ORDER BY ordinal LIMIT $4";
    LAST_MESSAGES = "SELECT * FROM messages WHERE org_id = $1 AND conversation_id = $2 ORDER BY ordinal DESC LIMIT $3";
}

/// Messages that one conversation holds.
pub(crate) const MESSAGES_AT_MOST: i64 = 10_000;

#[derive(Debug, Clone, PartialEq, FromRow)]
struct Row {
    id: String,
    external_id: Option<String>,
    session_id: Option<String>,
    user_id: Option<String>,
    user_rank: String,
    company_id: Option<String>,
    mode: String,
    agent_id: Option<String>,
    status: String,
    subject: Option<String>,
    sentiment: Option<i64>,
    sentiment_rank: Option<String>,
    rating: Option<String>,
    rating_rank: Option<String>,
    source: String,
    message_count: i64,
    started_at: i64,
    active_at: i64,
    created_at: i64,
    updated_at: i64,
}

impl Row {
    fn new(id: String, source: &str, rank: Rank, at: Timestamp) -> Result<Self> {
        let at = us(at);
        Ok(Self {
            id,
            external_id: None,
            session_id: None,
            user_id: None,
            user_rank: word(rank)?,
            company_id: None,
            mode: "chat".to_owned(),
            agent_id: None,
            status: "open".to_owned(),
            subject: None,
            sentiment: None,
            sentiment_rank: None,
            rating: None,
            rating_rank: None,
            source: source.to_owned(),
            message_count: 0,
            started_at: at,
            active_at: at,
            created_at: at,
            updated_at: at,
        })
    }

    fn read(self) -> Result<Conversation> {
        let row = &self.id;
        Ok(Conversation {
            user_rank: from_word("conversations", "user_rank", row, &self.user_rank)?,
            mode: from_word("conversations", "mode", row, &self.mode)?,
            status: from_word("conversations", "status", row, &self.status)?,
            rating: self
                .rating
                .as_deref()
                .map(|text| from_word("conversations", "rating", row, text))
                .transpose()?,
            id: self.id.into(),
            external_id: self.external_id,
            session_id: self.session_id,
            user_id: self.user_id.map(Into::into),
            company_id: self.company_id.map(Into::into),
            agent_id: self.agent_id,
            subject: self.subject,
            sentiment_millionths: self.sentiment,
            source: self.source,
            messages: self.message_count,
            started_at: time(self.started_at),
            active_at: time(self.active_at),
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
        })
    }

    /// Gives it to whom a write names. A user stays; who knows better than a browser may correct one.
    fn assign(&mut self, named: &Named, rank: Rank) -> Result<()> {
        let stored: Rank = from_word("conversations", "user_rank", &self.id, &self.user_rank)?;
        if let Some(user) = &named.user {
            let free = self.user_id.is_none();
            if free || (self.user_id.as_deref() != Some(user.as_str()) && rank.level() >= stored.level()) {
                self.user_id = Some(user.0.clone());
                self.user_rank = word(rank)?;
                self.company_id = None;
            } else if rank.level() > stored.level() {
                self.user_rank = word(rank)?;
            }
        }
        if self.company_id.is_none()
            && (named.user.is_none() || self.user_id == named.user.as_ref().map(|id| id.0.clone()))
        {
            self.company_id = named.company.as_ref().map(|id| id.0.clone());
        }
        Ok(())
    }

    /// Whether more than its messages and what is thought of it would change.
    fn is_recast(&self, before: &Self) -> bool {
        (&self.mode, &self.agent_id, &self.status, &self.subject, self.started_at)
            != (&before.mode, &before.agent_id, &before.status, &before.subject, before.started_at)
    }

    async fn write(&self, c: &mut Conn, org: &OrgId) -> Result<()> {
        sqlx::query(PUT)
            .bind(&self.id)
            .bind(&org.0)
            .bind(&self.external_id)
            .bind(&self.session_id)
            .bind(&self.user_id)
            .bind(&self.user_rank)
            .bind(&self.company_id)
            .bind(&self.mode)
            .bind(&self.agent_id)
            .bind(&self.status)
            .bind(&self.subject)
            .bind(self.sentiment)
            .bind(&self.sentiment_rank)
            .bind(&self.rating)
            .bind(&self.rating_rank)
            .bind(&self.source)
            .bind(self.message_count)
            .bind(self.started_at)
            .bind(self.active_at)
            .bind(self.created_at)
            .bind(self.updated_at)
            .execute(c)
            .await
            .map_err(|error| raced(error.into()))?;
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, FromRow)]
struct MessageRow {
    ordinal: i64,
    external_id: Option<String>,
    role: String,
    text: String,
    complete: bool,
    claimed: bool,
    sent_at: i64,
}

impl MessageRow {
    fn read(self, conversation: &str) -> Result<Message> {
        Ok(Message {
            role: from_word("messages", "role", conversation, &self.role)?,
            ordinal: self.ordinal,
            external_id: self.external_id,
            text: self.text,
            complete: self.complete,
            claimed: self.claimed,
            sent_at: time(self.sent_at),
        })
    }
}

async fn row_of(c: &mut Conn, org: &OrgId, conversation: &ConversationRef) -> Result<Option<Row>> {
    let (sql, text) = match conversation {
        ConversationRef::Id(id) => (FIND_BY_ID, &id.0),
        ConversationRef::External(id) => (FIND_BY_EXTERNAL, id),
    };
    Ok(sqlx::query_as(sql).bind(&org.0).bind(clean(text)).fetch_optional(c).await?)
}

pub(crate) async fn find_conversation(
    c: &mut Conn,
    org: &OrgId,
    conversation: &ConversationRef,
) -> Result<Option<Conversation>> {
    row_of(c, org, conversation).await?.map(Row::read).transpose()
}

pub(crate) async fn list_conversations(
    c: &mut Conn,
    org: &OrgId,
    owner: &Owner,
    before: Option<Timestamp>,
    limit: i64,
) -> Result<Vec<Conversation>> {
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

pub(crate) async fn list_messages(
    c: &mut Conn,
    org: &OrgId,
    id: &ConversationId,
    from: i64,
    limit: i64,
) -> Result<Vec<Message>> {
    message_rows(c, org, &id.0, from, limit).await?.into_iter().map(|row| row.read(&id.0)).collect()
}

async fn message_rows(c: &mut Conn, org: &OrgId, id: &str, from: i64, limit: i64) -> Result<Vec<MessageRow>> {
    Ok(sqlx::query_as(MESSAGES).bind(&org.0).bind(clean(id)).bind(from).bind(limit).fetch_all(c).await?)
}

/// The newest messages, oldest first.
async fn last_messages(c: &mut Conn, org: &OrgId, id: &str, limit: i64) -> Result<Vec<MessageRow>> {
    let mut rows: Vec<MessageRow> =
        sqlx::query_as(LAST_MESSAGES).bind(&org.0).bind(id).bind(limit).fetch_all(c).await?;
    rows.reverse();
    Ok(rows)
}

pub(crate) async fn put_conversation(
    c: &mut Conn,
    org: &OrgId,
    write: &ConversationWrite,
) -> Result<std::result::Result<ConversationPut, Refusal>> {
    let author = &write.author;
    let found = match row_of(c, org, &write.conversation).await? {
        // Who writes to a conversation writes to no other copy of it.
        Some(row) => sqlx::query_as(LOCK).bind(&org.0).bind(&row.id).fetch_optional(&mut *c).await?,
        None => None,
    };
    let (mut row, created): (Row, bool) = match (found, &write.conversation) {
        (Some(row), _) => (row, false),
        (None, ConversationRef::Id(_)) => return Ok(Err(Refusal::Unknown("conversation_id"))),
        (None, ConversationRef::External(id)) => {
            let mut row =
                Row::new(new_id_at(ConversationId::PREFIX, author.at), "sdk", author.user_rank(), author.at)?;
            row.external_id = Some(clean(id));
            (row, true)
        }
    };
    let before = row.clone();
    let session = author.session_id.as_deref().map(clean);
    // Everything that may be refused comes before the first write.
    let known = match authors::find(c, org, author).await? {
        Ok(known) => known,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if !created && author.rank == Rank::Claimed && !is_own(&row, known.as_ref(), session.as_deref()) {
        return Ok(Err(Refusal::OfAnother));
    }
    let stored = message_rows(c, org, &row.id, 0, MESSAGES_AT_MOST).await?;
    let placed = match place(&stored, &write.messages, author.rank == Rank::Claimed, author.at)? {
        Ok(placed) => placed,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let named = authors::resolve(c, org, author, false).await?;
    row.assign(&named, author.user_rank())?;
    row.session_id = row.session_id.or(session);
    if let Some(mode) = write.mode {
        row.mode = word(mode)?;
    }
    if let Some(agent) = &write.agent_id {
        row.agent_id = Some(clean(agent));
    }
    if let Some(status) = write.status {
        row.status = word(status)?;
    }
    if let Some(subject) = &write.subject {
        row.subject = Some(clean(subject));
    }
    let sentiment = write.sentiment_millionths;
    judge(&mut row.sentiment, &mut row.sentiment_rank, sentiment, author.rank, &before.id)?;
    let rating = match write.rating {
        Change::Keep => Change::Keep,
        Change::Clear => Change::Clear,
        Change::Set(rating) => Change::Set(word(rating)?),
    };
    judge(&mut row.rating, &mut row.rating_rank, rating, author.rank, &before.id)?;
    if let Some(at) = write.started_at {
        row.started_at = us(at);
    }
    if !created && author.user_rank() == Rank::Claimed && is_known(&before)? && row.is_recast(&before) {
        return Ok(Err(Refusal::OfAnother));
    }
    let Placed { rows, added, replaced, by_user } = placed;
    row.message_count += i64::try_from(added).unwrap_or(i64::MAX);
    let first = rows.iter().map(|message| message.sent_at).min();
    if created && write.started_at.is_none() {
        row.started_at = first.unwrap_or(row.started_at).min(row.started_at);
    }
    let newest = rows.iter().map(|message| message.sent_at).max();
    row.active_at = match (newest, before.message_count) {
        (Some(newest), 0) => newest,
        (Some(newest), _) => newest.max(row.active_at),
        (None, _) => row.active_at,
    };
    if created || row != before || !rows.is_empty() {
        row.updated_at = us(author.at);
        row.write(c, org).await?;
    }
    write_messages(c, org, &row.id, &rows).await?;
    if let Some(user) = &row.user_id {
        for (day, count) in by_user {
            user_events::note_activity(c, org, user, day, Did::Messages, count).await?;
        }
    }
    Ok(Ok(ConversationPut { conversation: row.read()?, created, added, replaced }))
}

/// Whether a browser speaks of its own conversation: the same user's, or nobody's of the same session.
fn is_own(row: &Row, known: Option<&UserId>, session: Option<&str>) -> bool {
    match &row.user_id {
        Some(user) => known.is_some_and(|known| known.as_str() == user),
        None => row.session_id.is_some() && row.session_id.as_deref() == session,
    }
}

/// Whether somebody better placed than a browser says whose it is.
fn is_known(row: &Row) -> Result<bool> {
    let rank: Rank = from_word("conversations", "user_rank", &row.id, &row.user_rank)?;
    Ok(rank.level() > Rank::Claimed.level())
}

/// Sets or clears a judgement unless somebody better placed has made it.
fn judge<T>(
    value: &mut Option<T>,
    rank: &mut Option<String>,
    change: Change<T>,
    by: Rank,
    row: &str,
) -> Result<()> {
    let stored: Option<Rank> =
        rank.as_deref().map(|text| from_word("conversations", "rank", row, text)).transpose()?;
    if stored.is_some_and(|stored| stored.level() > by.level()) {
        return Ok(());
    }
    match change {
        Change::Keep => {}
        Change::Clear => (*value, *rank) = (None, None),
        Change::Set(new) => (*value, *rank) = (Some(new), Some(word(by)?)),
    }
    Ok(())
}

/// What is to be written of a list of messages.
struct Placed {
    rows: Vec<MessageRow>,
    added: usize,
    replaced: usize,
    /// New messages of the user by day.
    by_user: BTreeMap<i64, i64>,
}

/// Finds each message's place. What is named (by an id or a place) may replace; what stands only at its place in the
/// list must be what is stored there, or new.
fn place(
    stored: &[MessageRow],
    messages: &[MessageWrite],
    claimed: bool,
    at: Timestamp,
) -> Result<std::result::Result<Placed, Refusal>> {
    let mut by_ordinal: BTreeMap<i64, MessageRow> =
        stored.iter().map(|row| (row.ordinal, row.clone())).collect();
    let mut by_id: BTreeMap<String, i64> =
        stored.iter().filter_map(|row| Some((row.external_id.clone()?, row.ordinal))).collect();
    let mut changed = BTreeMap::new();
    let (mut added, mut replaced, mut by_user) = (0, 0, BTreeMap::new());
    for (index, message) in messages.iter().enumerate() {
        let id = message.external_id.as_deref().map(clean);
        let next = by_ordinal.last_key_value().map_or(0, |(ordinal, _)| ordinal + 1);
        let at_index = i64::try_from(index).unwrap_or(i64::MAX);
        let ordinal = match (&id, message.ordinal) {
            (Some(id), place) => match by_id.get(id) {
                Some(ordinal) => *ordinal,
                None => place.unwrap_or(next),
            },
            (None, Some(place)) => place,
            (None, None) => at_index,
        };
        if ordinal >= MESSAGES_AT_MOST {
            return Ok(Err(Refusal::TooMany));
        }
        let (role, text) = (word(message.role)?, clean(&message.text));
        let there = by_ordinal.get(&ordinal);
        let same = there.is_some_and(|there| there.role == role && there.text == text);
        if let Some(there) = there {
            let named = id.is_some() && there.external_id == id;
            let by_place = message.ordinal.is_some() && id.is_none();
            // A browser rewrites nothing that somebody else has said.
            if !same && (!(named || by_place) || (claimed && !there.claimed)) {
                return Ok(Err(Refusal::Conflict { index, ordinal }));
            }
        }
        if same && there.is_some_and(|there| there.complete && (id.is_none() || there.external_id == id)) {
            continue;
        }
        match there {
            Some(_) => replaced += 1,
            None => {
                added += 1;
                if message.role == Role::User {
                    let sent = message.sent_at.unwrap_or(at);
                    *by_user.entry(user_events::day_of(sent)).or_insert(0) += 1;
                }
            }
        }
        let row = MessageRow {
            ordinal,
            external_id: id.clone().or_else(|| there.and_then(|there| there.external_id.clone())),
            role,
            text,
            complete: true,
            claimed,
            sent_at: message.sent_at.map_or_else(|| there.map_or(us(at), |there| there.sent_at), us),
        };
        if let Some(id) = id {
            by_id.insert(id, ordinal);
        }
        by_ordinal.insert(ordinal, row.clone());
        changed.insert(ordinal, row);
    }
    Ok(Ok(Placed { rows: changed.into_values().collect(), added, replaced, by_user }))
}

async fn write_messages(c: &mut Conn, org: &OrgId, conversation: &str, rows: &[MessageRow]) -> Result<()> {
    bulk::insert(
        c,
        "INSERT INTO messages (org_id, conversation_id, ordinal, external_id, role, text, complete, claimed, sent_at)",
        rows,
        "ON CONFLICT (conversation_id, ordinal) DO UPDATE SET external_id = excluded.external_id, \
         role = excluded.role, text = excluded.text, complete = excluded.complete, claimed = excluded.claimed, \
         sent_at = excluded.sent_at",
        |row, x| {
            row.push_bind(&org.0)
                .push_bind(conversation)
                .push_bind(x.ordinal)
                .push_bind(x.external_id.as_deref())
                .push_bind(&x.role)
                .push_bind(&x.text)
                .push_bind(x.complete)
                .push_bind(x.claimed)
                .push_bind(x.sent_at);
        },
    )
    .await
    .map_err(raced)?;
    Ok(())
}

pub(crate) async fn begin_turn(
    c: &mut Conn,
    org: &OrgId,
    start: &TurnStart,
) -> Result<std::result::Result<Turn, Refusal>> {
    let author = &start.author;
    if let Err(refusal) = authors::find(c, org, author).await? {
        return Ok(Err(refusal));
    }
    let named = authors::resolve(c, org, author, false).await?;
    let session = author.session_id.as_deref().map(clean);
    let found: Option<Row> = match (&session, &named.user) {
        (None, _) => None,
        (Some(session), Some(user)) => {
            sqlx::query_as(OF_SESSION)
                .bind(&org.0)
                .bind(session)
                .bind(&user.0)
                .fetch_optional(&mut *c)
                .await?
        }
        (Some(session), None) => {
            sqlx::query_as(OF_SESSION_NOBODY).bind(&org.0).bind(session).fetch_optional(&mut *c).await?
        }
    };
    let mut row = match found {
        Some(row) if row.message_count + 2 <= MESSAGES_AT_MOST => row,
        _ => {
            let id = new_id_at(ConversationId::PREFIX, author.at);
            let mut row = Row::new(id, "chat", author.user_rank(), author.at)?;
            row.mode = word(start.mode)?;
            row
        }
    };
    row.assign(&named, author.user_rank())?;
    row.session_id = row.session_id.or(session);
    if let Some(agent) = &start.agent_id {
        row.agent_id = Some(clean(agent));
    }
    let stored = last_messages(c, org, &row.id, start.history.max(1)).await?;
    let ordinal = stored.last().map_or(0, |last| last.ordinal + 1);
    let message = MessageRow {
        ordinal,
        external_id: None,
        role: word(Role::User)?,
        text: clean(&start.text),
        complete: true,
        claimed: author.user_rank() == Rank::Claimed,
        sent_at: us(author.at),
    };
    row.message_count += 1;
    row.active_at = row.active_at.max(us(author.at));
    row.updated_at = us(author.at);
    row.write(c, org).await?;
    write_messages(c, org, &row.id, &[message]).await?;
    if let Some(user) = &row.user_id {
        let day = user_events::day_of(author.at);
        user_events::note_activity(c, org, user, day, Did::Messages, 1).await?;
    }
    let skip = stored.len().saturating_sub(usize::try_from(start.history).unwrap_or(0));
    let history =
        stored.into_iter().skip(skip).map(|message| message.read(&row.id)).collect::<Result<Vec<_>>>()?;
    Ok(Ok(Turn { conversation_id: row.id.into(), user_id: row.user_id.map(Into::into), history }))
}

pub(crate) async fn finish_turn(c: &mut Conn, org: &OrgId, end: &TurnEnd) -> Result<()> {
    let found: Option<Row> =
        sqlx::query_as(LOCK).bind(&org.0).bind(&end.conversation_id.0).fetch_optional(&mut *c).await?;
    // Deleted meanwhile: what nobody may know any more is not written again.
    let Some(mut row) = found else { return Ok(()) };
    let stored = last_messages(c, org, &row.id, 1).await?;
    let message = MessageRow {
        ordinal: stored.last().map_or(0, |last| last.ordinal + 1),
        external_id: None,
        role: word(Role::Assistant)?,
        text: clean(&end.text),
        complete: end.complete,
        claimed: false,
        sent_at: us(end.at),
    };
    row.message_count += 1;
    row.active_at = row.active_at.max(us(end.at));
    row.updated_at = us(end.at);
    row.write(c, org).await?;
    write_messages(c, org, &row.id, &[message]).await
}

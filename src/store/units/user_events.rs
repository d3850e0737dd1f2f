//! Events, days of activity, what a session leaves to its user, and what goes with a user or a company.

use std::collections::{BTreeMap, BTreeSet};

use connector_sdk::Timestamp;
use serde_json::Value;
use sqlx::FromRow;

use super::{Conn, authors, bulk, identity, new_id_at};
use crate::domain::conversations::{ActivityDay, UserEvent};
use crate::domain::{CompanyId, EventId, OrgId, Rank, UserId};
use crate::store::Result;
use crate::store::conversations::{Author, EventWrite, Refusal, SessionLinked};
use crate::store::convert::{clean, from_json, json_list, time, to_json, us, word};
use crate::store::identity::Lookup;

statements! {
    EVENTS_OF = "SELECT * FROM user_events WHERE org_id = $1 AND user_id = $2 AND id < $3 ORDER BY id DESC LIMIT $4";
    NOTE = "INSERT INTO activity_days (org_id, user_id, day, identifies, events, messages, tickets)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (user_id, day) DO UPDATE SET identifies = activity_days.identifies + excluded.identifies,
            events = activity_days.events + excluded.events, messages = activity_days.messages + excluded.messages,
            tickets = activity_days.tickets + excluded.tickets";
    ACTIVITY = "SELECT day, identifies, events, messages, tickets FROM activity_days
        WHERE org_id = $1 AND user_id = $2 AND day >= $3 ORDER BY day";
    LINK_CONVERSATIONS = "UPDATE conversations SET user_id = $3, user_rank = $4, company_id = COALESCE(company_id, $5),
            updated_at = $6
        WHERE org_id = $1 AND session_id = $2 AND user_id IS NULL";
    LINK_TICKETS = "UPDATE tickets SET user_id = $3, user_rank = $4, company_id = COALESCE(company_id, $5), updated_at = $6
        WHERE org_id = $1 AND session_id = $2 AND user_id IS NULL";
    LINK_EVENTS = "UPDATE user_events SET user_id = $3 WHERE org_id = $1 AND session_id = $2 AND user_id IS NULL";
    ORPHAN_EVENTS = "SELECT created_at / 86400000000 AS day, COUNT(*) AS number FROM user_events
        WHERE org_id = $1 AND session_id = $2 AND user_id IS NULL GROUP BY created_at / 86400000000";
    ORPHAN_TICKETS = "SELECT created_at / 86400000000 AS day, COUNT(*) AS number FROM tickets
        WHERE org_id = $1 AND session_id = $2 AND user_id IS NULL GROUP BY created_at / 86400000000";
    ORPHAN_MESSAGES = "SELECT m.sent_at / 86400000000 AS day, COUNT(*) AS number
        FROM conversations v JOIN messages m ON m.conversation_id = v.id AND m.role = 'user'
        WHERE v.org_id = $1 AND v.session_id = $2 AND v.user_id IS NULL GROUP BY m.sent_at / 86400000000";
    PRUNE_EVENTS = concat!("DELETE FROM user_events WHERE org_id = $1 AND id",
        in_select!("SELECT id FROM user_events WHERE org_id = $1 AND created_at < $2 ORDER BY created_at LIMIT $3"));
    PRUNE_ACTIVITY = "DELETE FROM activity_days WHERE org_id = $1 AND (user_id, day) IN
        (SELECT user_id, day FROM activity_days WHERE org_id = $1 AND day < $2 ORDER BY day LIMIT $3)";
    WITH_HISTORY = concat!("SELECT user_id FROM conversations WHERE org_id = $1 AND user_id IS NOT NULL AND user_id",
            in_list!("$2"),
        " UNION SELECT user_id FROM tickets WHERE org_id = $1 AND user_id IS NOT NULL AND user_id", in_list!("$2"),
        " UNION SELECT user_id FROM user_events WHERE org_id = $1 AND user_id IS NOT NULL AND user_id", in_list!("$2"),
        " UNION SELECT user_id FROM activity_days WHERE org_id = $1 AND user_id", in_list!("$2"));
    MOVE_CONVERSATIONS = "UPDATE conversations SET user_id = $3, updated_at = $4 WHERE org_id = $1 AND user_id = $2";
    MOVE_TICKETS = "UPDATE tickets SET user_id = $3, updated_at = $4 WHERE org_id = $1 AND user_id = $2";
    MOVE_EVENTS = "UPDATE user_events SET user_id = $3 WHERE org_id = $1 AND user_id = $2";
    MOVE_ACTIVITY = "INSERT INTO activity_days (org_id, user_id, day, identifies, events, messages, tickets)
        SELECT org_id, CAST($3 AS TEXT), day, identifies, events, messages, tickets FROM activity_days
        WHERE org_id = $1 AND user_id = $2
        ON CONFLICT (user_id, day) DO UPDATE SET identifies = activity_days.identifies + excluded.identifies,
            events = activity_days.events + excluded.events, messages = activity_days.messages + excluded.messages,
            tickets = activity_days.tickets + excluded.tickets";
    DELETE_CONVERSATIONS_OF = "DELETE FROM conversations WHERE org_id = $1 AND user_id = $2";
    DELETE_TICKETS_OF = "DELETE FROM tickets WHERE org_id = $1 AND user_id = $2";
    DELETE_EVENTS_OF = "DELETE FROM user_events WHERE org_id = $1 AND user_id = $2";
    DELETE_ACTIVITY_OF = "DELETE FROM activity_days WHERE org_id = $1 AND user_id = $2";
    DELETE_COMPANY_CONVERSATIONS = "DELETE FROM conversations WHERE org_id = $1 AND company_id = $2 AND user_id IS NULL";
    LEAVE_CONVERSATIONS = "UPDATE conversations SET company_id = NULL WHERE org_id = $1 AND company_id = $2";
    DELETE_COMPANY_TICKETS = "DELETE FROM tickets WHERE org_id = $1 AND company_id = $2 AND user_id IS NULL";
    LEAVE_TICKETS = "UPDATE tickets SET company_id = NULL WHERE org_id = $1 AND company_id = $2";
}

const DAY: i64 = 86_400_000_000;

/// Days since 1970, UTC.
pub(crate) fn day_of(at: Timestamp) -> i64 {
    us(at).div_euclid(DAY)
}

/// What a user did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Did {
    Identifies,
    Events,
    Messages,
    Tickets,
}

/// Counts something that a user did on a day.
pub(crate) async fn note_activity(
    c: &mut Conn,
    org: &OrgId,
    user: &str,
    day: i64,
    did: Did,
    number: i64,
) -> Result<()> {
    let of = |which: Did| if which == did { number } else { 0 };
    sqlx::query(NOTE)
        .bind(&org.0)
        .bind(user)
        .bind(day)
        .bind(of(Did::Identifies))
        .bind(of(Did::Events))
        .bind(of(Did::Messages))
        .bind(of(Did::Tickets))
        .execute(c)
        .await?;
    Ok(())
}

/// Counts identifies, by user and day.
pub(crate) async fn note_identifies(
    c: &mut Conn,
    org: &OrgId,
    identified: &BTreeMap<(&str, i64), i64>,
) -> Result<()> {
    let rows: Vec<_> = identified.iter().collect();
    bulk::insert(
        c,
        "INSERT INTO activity_days (org_id, user_id, day, identifies, events, messages, tickets)",
        &rows,
        "ON CONFLICT (user_id, day) DO UPDATE SET identifies = activity_days.identifies + excluded.identifies",
        |row, ((user, day), number)| {
            row.push_bind(&org.0).push_bind(*user).push_bind(*day).push_bind(**number);
            row.push_bind(0_i64).push_bind(0_i64).push_bind(0_i64);
        },
    )
    .await?;
    Ok(())
}

pub(crate) async fn put_events(
    c: &mut Conn,
    org: &OrgId,
    author: &Author,
    events: &[EventWrite],
) -> Result<std::result::Result<(), Refusal>> {
    if let Err(refusal) = authors::find(c, org, author).await? {
        return Ok(Err(refusal));
    }
    let named = authors::resolve(c, org, author, true).await?;
    let session = author.session_id.as_deref().map(clean);
    let rows = events
        .iter()
        .map(|event| {
            let metadata = event.metadata.as_ref().map(to_json).transpose()?;
            Ok((new_id_at(EventId::PREFIX, author.at), event, metadata))
        })
        .collect::<Result<Vec<_>>>()?;
    bulk::insert(
        c,
        "INSERT INTO user_events (id, org_id, user_id, session_id, event_type, element_selector, page_url, metadata, \
         created_at)",
        &rows,
        "",
        |row, (id, event, metadata)| {
            row.push_bind(id)
                .push_bind(&org.0)
                .push_bind(named.user.as_ref().map(|id| &id.0))
                .push_bind(session.as_deref())
                .push_bind(clean(&event.event_type))
                .push_bind(event.element_selector.as_deref().map(clean))
                .push_bind(event.page_url.as_deref().map(clean))
                .push_bind(metadata.as_deref())
                .push_bind(us(author.at));
        },
    )
    .await?;
    if let Some(user) = named.user.filter(|_| !rows.is_empty()) {
        let number = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        note_activity(c, org, user.as_str(), day_of(author.at), Did::Events, number).await?;
    }
    Ok(Ok(()))
}

#[derive(FromRow)]
struct EventRow {
    id: String,
    user_id: Option<String>,
    session_id: Option<String>,
    event_type: String,
    element_selector: Option<String>,
    page_url: Option<String>,
    metadata: Option<String>,
    created_at: i64,
}

impl EventRow {
    fn read(self) -> Result<UserEvent> {
        let metadata: Option<Value> = self
            .metadata
            .as_deref()
            .map(|text| from_json("user_events", "metadata", &self.id, text))
            .transpose()?;
        Ok(UserEvent {
            id: self.id.into(),
            user_id: self.user_id.map(Into::into),
            session_id: self.session_id,
            event_type: self.event_type,
            element_selector: self.element_selector,
            page_url: self.page_url,
            metadata,
            created_at: time(self.created_at),
        })
    }
}

/// Sorts behind every id.
const LAST_ID: &str = "~";

pub(crate) async fn list_events(
    c: &mut Conn,
    org: &OrgId,
    user: &UserId,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<UserEvent>> {
    let rows: Vec<EventRow> = sqlx::query_as(EVENTS_OF)
        .bind(&org.0)
        .bind(clean(&user.0))
        .bind(clean(before.unwrap_or(LAST_ID)))
        .bind(limit)
        .fetch_all(c)
        .await?;
    rows.into_iter().map(EventRow::read).collect()
}

#[derive(FromRow)]
struct DayRow {
    day: i64,
    identifies: i64,
    events: i64,
    messages: i64,
    tickets: i64,
}

pub(crate) async fn list_activity(
    c: &mut Conn,
    org: &OrgId,
    user: &UserId,
    since_day: i64,
) -> Result<Vec<ActivityDay>> {
    let rows: Vec<DayRow> =
        sqlx::query_as(ACTIVITY).bind(&org.0).bind(clean(&user.0)).bind(since_day).fetch_all(c).await?;
    let read = |DayRow { day, identifies, events, messages, tickets }| ActivityDay {
        day,
        identifies,
        events,
        messages,
        tickets,
    };
    Ok(rows.into_iter().map(read).collect())
}

#[derive(FromRow)]
struct Count {
    day: i64,
    number: i64,
}

/// Gives what nobody owns of a session to a user. Called when a user is identified with a session.
pub(crate) async fn link_session(
    c: &mut Conn,
    org: &OrgId,
    session_id: &str,
    user: &UserId,
    rank: Rank,
    at: Timestamp,
) -> Result<SessionLinked> {
    let session = clean(session_id);
    let Some(user) = identity::find_user(c, org, &Lookup::Id(user.0.clone())).await? else {
        return Ok(SessionLinked::default());
    };
    for (sql, did) in
        [(ORPHAN_EVENTS, Did::Events), (ORPHAN_TICKETS, Did::Tickets), (ORPHAN_MESSAGES, Did::Messages)]
    {
        let days: Vec<Count> = sqlx::query_as(sql).bind(&org.0).bind(&session).fetch_all(&mut *c).await?;
        for Count { day, number } in days {
            note_activity(c, org, user.id.as_str(), day, did, number).await?;
        }
    }
    let mut linked = [0; 2];
    for (sql, count) in [LINK_CONVERSATIONS, LINK_TICKETS].into_iter().zip(&mut linked) {
        let done = sqlx::query(sql)
            .bind(&org.0)
            .bind(&session)
            .bind(&user.id.0)
            .bind(word(rank)?)
            .bind(user.company_id.as_ref().map(|id| &id.0))
            .bind(us(at))
            .execute(&mut *c)
            .await?;
        *count = done.rows_affected();
    }
    let events =
        sqlx::query(LINK_EVENTS).bind(&org.0).bind(&session).bind(&user.id.0).execute(&mut *c).await?;
    let [conversations, tickets] = linked;
    Ok(SessionLinked { conversations, tickets, events: events.rows_affected() })
}

pub(crate) async fn prune_events(c: &mut Conn, org: &OrgId, before: Timestamp, limit: i64) -> Result<i64> {
    let gone = sqlx::query(PRUNE_EVENTS).bind(&org.0).bind(us(before)).bind(limit).execute(c).await?;
    Ok(i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX))
}

pub(crate) async fn prune_activity(c: &mut Conn, org: &OrgId, before_day: i64, limit: i64) -> Result<i64> {
    let gone = sqlx::query(PRUNE_ACTIVITY).bind(&org.0).bind(before_day).bind(limit).execute(c).await?;
    Ok(i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX))
}

/// Removes everything that is kept here of a user. Called where a user is deleted.
pub(crate) async fn delete_of_user(c: &mut Conn, org: &OrgId, user: &UserId) -> Result<()> {
    for sql in [DELETE_CONVERSATIONS_OF, DELETE_TICKETS_OF, DELETE_EVENTS_OF, DELETE_ACTIVITY_OF] {
        sqlx::query(sql).bind(&org.0).bind(&user.0).execute(&mut *c).await?;
    }
    Ok(())
}

/// Those of the users with whom something was said or done.
pub(crate) async fn with_history(
    c: &mut Conn,
    org: &OrgId,
    users: &BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    let found: Vec<String> =
        sqlx::query_scalar(WITH_HISTORY).bind(&org.0).bind(json_list(users)).fetch_all(c).await?;
    Ok(found.into_iter().collect())
}

/// Makes what is kept here of a user another one's, who is the same person.
pub(crate) async fn hand_over(c: &mut Conn, org: &OrgId, from: &str, to: &str, at: Timestamp) -> Result<()> {
    for sql in [MOVE_CONVERSATIONS, MOVE_TICKETS] {
        sqlx::query(sql).bind(&org.0).bind(from).bind(to).bind(us(at)).execute(&mut *c).await?;
    }
    for sql in [MOVE_EVENTS, MOVE_ACTIVITY] {
        sqlx::query(sql).bind(&org.0).bind(from).bind(to).execute(&mut *c).await?;
    }
    sqlx::query(DELETE_ACTIVITY_OF).bind(&org.0).bind(from).execute(c).await?;
    Ok(())
}

/// Removes what is kept here of a company and of nobody else. Called where a company is deleted.
pub(crate) async fn delete_of_company(c: &mut Conn, org: &OrgId, company: &CompanyId) -> Result<()> {
    for sql in [DELETE_COMPANY_CONVERSATIONS, LEAVE_CONVERSATIONS, DELETE_COMPANY_TICKETS, LEAVE_TICKETS] {
        sqlx::query(sql).bind(&org.0).bind(&company.0).execute(&mut *c).await?;
    }
    Ok(())
}

//! The webhook inbox.

use std::collections::HashSet;

use connector_sdk::Timestamp;
use sqlx::{FromRow, QueryBuilder};

use super::{Conn, Db, bulk, jobs, new_id_at};
use crate::domain::jobs::NewJob;
use crate::domain::{ConnectionId, DeliveryId, OrgId};
use crate::store::Result;
use crate::store::convert::{clean, from_json, json_list, key_of, key_text, time, us};
use crate::store::inbox::{Accepted, Delivery, DeliveryCount, DeliveryFilter, NewDelivery, PROCESS_KIND};

statements! {
    // A statement of its own: the batch of pending deliveries is claimed by nobody, its job is. It ends with the
    // delivery that makes its bodies more than 8 MiB.
    BEGIN_PENDING = "UPDATE deliveries SET attempts = attempts + 1
        WHERE org_id = $1 AND connection_id = $2 AND state = 'pending' AND id IN (
            SELECT id FROM (
                SELECT id, SUM(size) OVER (ORDER BY received_at, id) - size AS before FROM (
                    SELECT id, received_at, LENGTH(body) AS size FROM deliveries
                    WHERE org_id = $1 AND connection_id = $2 AND state = 'pending'
                    ORDER BY received_at, id LIMIT $3) oldest) summed
            WHERE before < 8388608)
        RETURNING id, connection_id, event_id, kind, body, state, attempts, error, received_at, finished_at,
            touched, party_key, replays";
    // Only where the job would do something (others wait for a person), and where none of the connection waits or
    // runs: it may be waiting for the provider, and is not to be hastened.
    STALLED = "SELECT DISTINCT d.org_id, d.connection_id FROM deliveries d
        JOIN connections c ON c.id = d.connection_id AND c.status = 'active'
        WHERE d.state = 'pending' AND d.received_at < $1
            AND NOT EXISTS (SELECT 1 FROM jobs j
                WHERE j.org_id = d.org_id AND j.connection_id = d.connection_id AND j.kind = $2)
        ORDER BY d.org_id, d.connection_id";
    LIST = "SELECT id, connection_id, event_id, kind, state, attempts, error, received_at, finished_at,
            touched, party_key, replays
        FROM deliveries
        WHERE org_id = $1 AND ($2 = '' OR connection_id = $2) AND ($3 = '' OR state = $3)
            AND ($4 = '' OR kind = $4) AND SUBSTR(kind, 1, LENGTH($5)) = $5 AND received_at >= $6
            AND (received_at, id) < ($7, $8)
        ORDER BY received_at DESC, id DESC LIMIT $9";
    // Of each party its newest: the merge of several is the caller's.
    LIST_OF_PARTIES = concat!("SELECT id, connection_id, event_id, kind, state, attempts, error, received_at, finished_at,
            touched, party_key, replays
        FROM deliveries
        WHERE org_id = $1 AND connection_id = $2 AND ($3 = '' OR state = $3)
            AND ($4 = '' OR kind = $4) AND SUBSTR(kind, 1, LENGTH($5)) = $5 AND received_at >= $6
            AND (received_at, id) < ($7, $8) AND party_key IS NOT NULL AND party_key", in_list!("$10"), "
        ORDER BY received_at DESC, id DESC LIMIT $9");
    FIND = "SELECT id, connection_id, event_id, kind, body, state, attempts, error, received_at, finished_at,
            touched, party_key, replays
        FROM deliveries WHERE org_id = $1 AND id = $2";
    // An event's id is unique within a connection, and nearly always over all.
    FIND_OF_EVENT = concat!("SELECT id, connection_id, event_id, kind, body, state, attempts, error, received_at, finished_at,
            touched, party_key, replays
        FROM deliveries WHERE org_id = $1 AND event_id = $2 AND connection_id", in_list!("$3"), "
        ORDER BY received_at DESC LIMIT 1");
    CONNECTIONS = "SELECT id FROM connections WHERE org_id = $1";
    COUNT = "SELECT kind, state, COUNT(*) AS count, MAX(received_at) AS last_received_at FROM deliveries
        WHERE org_id = $1 AND connection_id = $2 AND received_at >= $3 GROUP BY kind, state ORDER BY kind, state";
    REPLAY = concat!("UPDATE deliveries SET state = 'pending', attempts = 0, error = NULL, finished_at = NULL,
            replays = replays + 1
        WHERE org_id = $1 AND state <> 'pending' AND id", in_list!("$2"), " RETURNING id, connection_id");
    APPLIED = concat!("SELECT event_id FROM deliveries
        WHERE org_id = $1 AND connection_id = $2 AND state = 'applied' AND error IS NULL AND event_id", in_list!("$3"));
    PRUNE = "DELETE FROM deliveries WHERE id IN (
        SELECT id FROM deliveries WHERE received_at < $1 AND state <> 'pending' ORDER BY received_at LIMIT $2)";
}

pub(crate) async fn accept_deliveries(
    c: &mut Conn,
    deliveries: &[NewDelivery],
    jobs: &[NewJob],
    now: Timestamp,
) -> Result<Vec<Accepted>> {
    let mut ids: Vec<String> =
        deliveries.iter().map(|x| new_id_at(DeliveryId::PREFIX, x.received_at)).collect();
    // Events of one request have one time: their ids keep the requests' order.
    ids.sort_unstable();
    let rows: Vec<(String, String, &NewDelivery)> =
        ids.into_iter().zip(deliveries).map(|(id, x)| (id, clean(&x.event_id), x)).collect();
    // One event may come twice in one request: the first is the event, the other its duplicate.
    let mut seen = HashSet::new();
    let first: Vec<&(String, String, &NewDelivery)> =
        rows.iter().filter(|(_, event, x)| seen.insert((&x.connection_id, event))).collect();
    let mut made = HashSet::new();
    for piece in bulk::pieces(&first) {
        let mut insert: QueryBuilder<Db> = QueryBuilder::new(
            "INSERT INTO deliveries (id, org_id, connection_id, event_id, kind, body, state, attempts, received_at) ",
        );
        insert.push_values(piece, |mut row, (id, event, x)| {
            row.push_bind(id)
                .push_bind(&x.org_id.0)
                .push_bind(&x.connection_id.0)
                .push_bind(event)
                .push_bind(clean(&x.kind))
                .push_bind(&x.body)
                .push_bind("pending")
                .push_bind(0i64)
                .push_bind(us(x.received_at));
        });
        insert.push(" ON CONFLICT (connection_id, event_id) DO NOTHING RETURNING id");
        let ids: Vec<String> = insert.build_query_scalar().fetch_all(&mut *c).await?;
        made.extend(ids);
    }
    let served: HashSet<&ConnectionId> =
        rows.iter().filter(|(id, ..)| made.contains(id)).map(|(.., x)| &x.connection_id).collect();
    let wanted: Vec<NewJob> = jobs
        .iter()
        .filter(|job| job.connection_id.as_ref().is_some_and(|id| served.contains(id)))
        .cloned()
        .collect();
    jobs::push_in(c, &wanted, now).await?;
    Ok(rows
        .into_iter()
        .map(|(id, _, _)| if made.contains(&id) { Accepted::New(id.into()) } else { Accepted::Duplicate })
        .collect())
}

#[derive(FromRow)]
struct DeliveryRow {
    id: String,
    connection_id: String,
    event_id: String,
    kind: String,
    #[sqlx(default)]
    body: Vec<u8>,
    state: String,
    attempts: i64,
    error: Option<String>,
    received_at: i64,
    finished_at: Option<i64>,
    touched: Option<String>,
    party_key: Option<String>,
    replays: i64,
}

impl DeliveryRow {
    fn read(self) -> Result<Delivery> {
        let touched: Vec<String> = match &self.touched {
            Some(text) => from_json("deliveries", "touched", &self.id, text)?,
            None => Vec::new(),
        };
        Ok(Delivery {
            touched: touched.iter().map(|key| key_of(key)).collect(),
            party: self.party_key.as_deref().map(key_of),
            replays: self.replays,
            id: self.id.into(),
            connection_id: self.connection_id.into(),
            event_id: self.event_id,
            kind: self.kind,
            body: self.body,
            state: self.state,
            attempts: self.attempts,
            error: self.error,
            received_at: time(self.received_at),
            finished_at: self.finished_at.map(time),
        })
    }
}

pub(crate) async fn load_pending_deliveries(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    limit: i64,
) -> Result<Vec<Delivery>> {
    let mut rows: Vec<DeliveryRow> =
        sqlx::query_as(BEGIN_PENDING).bind(&org.0).bind(&connection.0).bind(limit).fetch_all(c).await?;
    // RETURNING promises no order.
    rows.sort_unstable_by(|a, b| (a.received_at, &a.id).cmp(&(b.received_at, &b.id)));
    rows.into_iter().map(DeliveryRow::read).collect()
}

pub(crate) async fn list_stalled_inboxes(
    c: &mut Conn,
    before: Timestamp,
) -> Result<Vec<(OrgId, ConnectionId)>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as(STALLED).bind(us(before)).bind(PROCESS_KIND).fetch_all(c).await?;
    Ok(rows.into_iter().map(|(org, connection)| (org.into(), connection.into())).collect())
}

pub(crate) async fn find_deliveries(
    c: &mut Conn,
    org: &OrgId,
    filter: &DeliveryFilter,
    limit: i64,
) -> Result<Vec<Delivery>> {
    let parties = filter.connection.as_ref().and(filter.parties.as_ref());
    let (exact, prefix) = match filter.kind.as_deref() {
        None => ("", ""),
        Some(kind) => kind.strip_suffix('*').map_or((kind, ""), |prefix| ("", prefix)),
    };
    // The list ends at the earlier of `until` and the place to go on from.
    let until = (filter.until.map_or(i64::MAX, us), String::new());
    let before = match &filter.after {
        Some((at, id)) => until.min((us(*at), clean(&id.0))),
        None => until,
    };
    let mut query = sqlx::query_as(if parties.is_some() { LIST_OF_PARTIES } else { LIST })
        .bind(&org.0)
        .bind(filter.connection.as_ref().map_or(String::new(), |id| clean(&id.0)))
        .bind(clean(filter.state.as_deref().unwrap_or_default()))
        .bind(clean(exact))
        .bind(clean(prefix))
        .bind(filter.since.map_or(i64::MIN, us))
        .bind(before.0)
        .bind(before.1)
        .bind(limit);
    if let Some(parties) = parties {
        query = query.bind(json_list(parties.iter().map(key_text)));
    }
    let rows: Vec<DeliveryRow> = query.fetch_all(c).await?;
    rows.into_iter().map(DeliveryRow::read).collect()
}

pub(crate) async fn find_delivery(c: &mut Conn, org: &OrgId, id: &str) -> Result<Option<Delivery>> {
    let id = clean(id);
    let row: Option<DeliveryRow> =
        sqlx::query_as(FIND).bind(&org.0).bind(&id).fetch_optional(&mut *c).await?;
    if let Some(row) = row {
        return row.read().map(Some);
    }
    let connections: Vec<String> = sqlx::query_scalar(CONNECTIONS).bind(&org.0).fetch_all(&mut *c).await?;
    let row: Option<DeliveryRow> = sqlx::query_as(FIND_OF_EVENT)
        .bind(&org.0)
        .bind(&id)
        .bind(json_list(connections))
        .fetch_optional(c)
        .await?;
    row.map(DeliveryRow::read).transpose()
}

#[derive(FromRow)]
struct CountRow {
    kind: String,
    state: String,
    count: i64,
    last_received_at: i64,
}

pub(crate) async fn count_deliveries(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    since: Timestamp,
) -> Result<Vec<DeliveryCount>> {
    let rows: Vec<CountRow> =
        sqlx::query_as(COUNT).bind(&org.0).bind(&connection.0).bind(us(since)).fetch_all(c).await?;
    Ok(rows
        .into_iter()
        .map(|row| DeliveryCount {
            kind: row.kind,
            state: row.state,
            count: row.count,
            last_received_at: time(row.last_received_at),
        })
        .collect())
}

pub(crate) async fn replay_deliveries(
    c: &mut Conn,
    org: &OrgId,
    ids: &[DeliveryId],
    jobs: &[NewJob],
    now: Timestamp,
) -> Result<Vec<DeliveryId>> {
    let rows: Vec<(String, String)> = sqlx::query_as(REPLAY)
        .bind(&org.0)
        .bind(json_list(ids.iter().map(DeliveryId::as_str)))
        .fetch_all(&mut *c)
        .await?;
    let served: HashSet<&str> = rows.iter().map(|(_, connection)| connection.as_str()).collect();
    let wanted: Vec<NewJob> = jobs
        .iter()
        .filter(|job| job.connection_id.as_ref().is_some_and(|id| served.contains(id.as_str())))
        .cloned()
        .collect();
    jobs::push_in(c, &wanted, now).await?;
    Ok(rows.into_iter().map(|(id, _)| id.into()).collect())
}

pub(crate) async fn list_applied_events(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    events: &[String],
) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(APPLIED)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(json_list(events))
        .fetch_all(c)
        .await?)
}

pub(crate) async fn prune_deliveries(c: &mut Conn, before: Timestamp, limit: i64) -> Result<i64> {
    let done = sqlx::query(PRUNE).bind(us(before)).bind(limit).execute(c).await?;
    Ok(i64::try_from(done.rows_affected()).unwrap_or(i64::MAX))
}

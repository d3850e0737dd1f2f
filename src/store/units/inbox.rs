//! The webhook inbox.

use std::collections::HashSet;

use connector_sdk::Timestamp;
use sqlx::{FromRow, QueryBuilder};

use super::{Conn, Db, bulk, jobs, new_id_at};
use crate::domain::jobs::NewJob;
use crate::domain::{ConnectionId, DeliveryId, OrgId};
use crate::store::Result;
use crate::store::convert::{clean, json_list, time, us};
use crate::store::inbox::{Accepted, Delivery, NewDelivery, PROCESS_KIND};

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
        RETURNING id, connection_id, event_id, kind, body, state, attempts, error, received_at, finished_at";
    // Only where the job would do something (others wait for a person), and where none of the connection waits or
    // runs: it may be waiting for the provider, and is not to be hastened.
    STALLED = "SELECT DISTINCT d.org_id, d.connection_id FROM deliveries d
        JOIN connections c ON c.id = d.connection_id AND c.status = 'active'
        WHERE d.state = 'pending' AND d.received_at < $1
            AND NOT EXISTS (SELECT 1 FROM jobs j
                WHERE j.org_id = d.org_id AND j.connection_id = d.connection_id AND j.kind = $2)
        ORDER BY d.org_id, d.connection_id";
    LIST = "SELECT id, connection_id, event_id, kind, body, state, attempts, error, received_at, finished_at
        FROM deliveries
        WHERE org_id = $1 AND ($2 = '' OR connection_id = $2) AND ($3 = '' OR state = $3)
        ORDER BY received_at DESC, id DESC LIMIT $4";
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
    body: Vec<u8>,
    state: String,
    attempts: i64,
    error: Option<String>,
    received_at: i64,
    finished_at: Option<i64>,
}

impl DeliveryRow {
    fn read(self) -> Delivery {
        Delivery {
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
        }
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
    Ok(rows.into_iter().map(DeliveryRow::read).collect())
}

pub(crate) async fn list_stalled_inboxes(
    c: &mut Conn,
    before: Timestamp,
) -> Result<Vec<(OrgId, ConnectionId)>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as(STALLED).bind(us(before)).bind(PROCESS_KIND).fetch_all(c).await?;
    Ok(rows.into_iter().map(|(org, connection)| (org.into(), connection.into())).collect())
}

pub(crate) async fn list_deliveries(
    c: &mut Conn,
    org: &OrgId,
    connection: Option<&ConnectionId>,
    state: Option<&str>,
    limit: i64,
) -> Result<Vec<Delivery>> {
    let rows: Vec<DeliveryRow> = sqlx::query_as(LIST)
        .bind(&org.0)
        .bind(connection.map_or(String::new(), |id| clean(&id.0)))
        .bind(clean(state.unwrap_or_default()))
        .bind(limit)
        .fetch_all(c)
        .await?;
    Ok(rows.into_iter().map(DeliveryRow::read).collect())
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

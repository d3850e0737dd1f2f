//! The job that applies a connection's pending deliveries.
//!
//! Deliveries are taken in batches, so that a burst for one customer is one read of that customer: what comes
//! within `GATHER` of a batch waits for the next one, and derivation waits `QUIET` for the rest of a burst. A
//! batch that fails as a whole is tried again by the ladder; a delivery that has failed a few times is then
//! processed alone, so that it cannot hold its neighbours back, and in the end set aside as failed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use connector_sdk::{
    Batch, Clock, ConnectorError, DynConnector, Event, Mode, Priority, RawRequest, RecordKey, Session, Spec,
    Timestamp,
};
use serde_json::json;
use tokio::time::Instant;

use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::jobs::{JobOutcome, NewJob};
use crate::domain::{ConnectionId, DeliveryId, OrgId};
use crate::jobs::{JobContext, JobHandler};
use crate::store::Store;
use crate::store::inbox::Delivery;
use crate::store::mirror::{DeliveryDone, NamesOf};
use crate::sync::SyncError;
use crate::sync::ingest;
use crate::sync::providers::{ConnectionSettings, Providers};
use crate::telemetry::metric;

/// The kind of this job.
pub use crate::store::inbox::PROCESS_KIND as PROCESS_JOB;

/// Deliveries in one batch.
const BATCH: i64 = 100;
/// Times that a delivery is processed with others before it is processed alone.
const TOGETHER: i64 = 3;
/// Times that a delivery is processed before it is set aside.
const GIVE_UP: i64 = 8;
/// A connection's batches begin at least so far apart, unless one is full: a lone event is read at once, the many
/// events that one action of a customer makes are read together.
const GATHER: Duration = Duration::from_millis(100);
/// Derivation waits so long after a change for what else changes with it.
const QUIET: TimeDelta = TimeDelta::milliseconds(250);
/// How long one slice works before it lets others in.
const SLICE: Duration = Duration::from_secs(20);
/// A slice, one read of a batch and its commit.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How the reason begins of a delivery whose type the connector does not know.
pub const UNKNOWN_TYPE: &str = "the type is not known here";

/// The job that applies what is pending in a connection's inbox. One waits behind one that runs, so that a
/// delivery that arrives late in a run is seen by the next.
pub fn process_job(org: &OrgId, connection: &ConnectionId, at: Timestamp) -> NewJob {
    NewJob {
        kind: PROCESS_JOB,
        org_id: org.clone(),
        connection_id: Some(connection.clone()),
        dedupe_key: Some(format!("{PROCESS_JOB}:{connection}")),
        args: json!({}),
        run_at: at,
        priority: 0,
        max_attempts: 20,
    }
}

/// The handler of [`PROCESS_JOB`].
pub struct ProcessHandler {
    store: Arc<dyn Store>,
    providers: Arc<Providers>,
    clock: Arc<dyn Clock>,
    /// Whether what test clocks simulate is applied.
    simulated: bool,
    /// When each connection's last batch began.
    begun: Mutex<HashMap<ConnectionId, Instant>>,
}

impl ProcessHandler {
    /// Over the store and the providers. `simulated`: whether events of test clocks are applied.
    pub fn new(
        store: Arc<dyn Store>,
        providers: Arc<Providers>,
        clock: Arc<dyn Clock>,
        simulated: bool,
    ) -> Self {
        Self { store, providers, clock, simulated, begun: Mutex::default() }
    }

    /// Waits until the connection's next batch may begin.
    async fn gather(&self, cx: &JobContext, connection: &ConnectionId) {
        let begun = |map: &Mutex<HashMap<ConnectionId, Instant>>| {
            map.lock().unwrap_or_else(PoisonError::into_inner).get(connection).copied()
        };
        if let Some(last) = begun(&self.begun) {
            tokio::select! {
                () = tokio::time::sleep_until(last + GATHER) => {}
                () = cx.stop.cancelled() => {}
            }
        }
    }

    /// Notes that a batch begins; a full one lets the next begin at once.
    fn note_batch(&self, connection: &ConnectionId, full: bool) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        match full {
            true => begun.remove(connection),
            false => begun.insert(connection.clone(), Instant::now()),
        };
    }

    /// Works until nothing is pending or the slice is over. True: there may be more.
    async fn slice(&self, cx: &JobContext, connection: &Connection) -> Result<bool, SyncError> {
        let connector = self.providers.connector(&connection.connector)?.clone();
        let session = self.providers.session(connection, Priority::Webhook).await?;
        let until = Instant::now() + SLICE;
        while Instant::now() < until && !cx.stop.is_cancelled() {
            self.gather(cx, &connection.id).await;
            let pending =
                self.store.load_pending_deliveries(&connection.org_id, &connection.id, BATCH).await?;
            if pending.is_empty() {
                return Ok(false);
            }
            self.note_batch(&connection.id, i64::try_from(pending.len()).is_ok_and(|n| n >= BATCH));
            let (together, alone): (Vec<_>, Vec<_>) =
                pending.into_iter().partition(|d| d.attempts <= TOGETHER);
            if !together.is_empty() {
                self.apply(cx, connection, &*connector, &*session, together).await?;
            }
            for delivery in alone {
                self.apply_alone(cx, connection, &*connector, &*session, delivery).await?;
            }
        }
        Ok(true)
    }

    async fn apply_alone(
        &self,
        cx: &JobContext,
        connection: &Connection,
        connector: &dyn DynConnector,
        session: &dyn Session,
        delivery: Delivery,
    ) -> Result<(), SyncError> {
        let (id, kind, attempts) = (delivery.id.clone(), delivery.kind.clone(), delivery.attempts);
        match self.apply(cx, connection, connector, session, vec![delivery]).await {
            Err(SyncError::Connector(error))
                if attempts >= GIVE_UP
                    && (error.is_of_one_stream()
                        || matches!(error, ConnectorError::Protocol(_) | ConnectorError::Transient(_))) =>
            {
                tracing::warn!(delivery = %id, %error, "delivery set aside");
                let done = done(id, "failed", Some(error.to_string()));
                self.commit(cx, connection, connector, Read::default(), vec![Judged { kind, done }]).await
            }
            other => other,
        }
    }

    /// Reads what the deliveries name and commits records and deliveries in one unit.
    async fn apply(
        &self,
        cx: &JobContext,
        connection: &Connection,
        connector: &dyn DynConnector,
        session: &dyn Session,
        deliveries: Vec<Delivery>,
    ) -> Result<(), SyncError> {
        let mut verdicts = Vec::with_capacity(deliveries.len());
        let mut erased: Vec<RecordKey> = Vec::new();
        let mut touches: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut tombstones = Vec::new();
        for delivery in &deliveries {
            let verdict = judge(connector, connection, delivery, self.simulated);
            if let Verdict::Apply(events) = &verdict {
                for event in events {
                    for key in &event.touches {
                        touches.entry(key.stream.clone()).or_default().push(key.id.clone());
                    }
                    match connector.webhooks().is_some_and(|webhooks| webhooks.erases(event)) {
                        true => erased.extend(event.tombstones.iter().cloned()),
                        false => tombstones.extend(event.tombstones.iter().cloned()),
                    }
                }
            }
            verdicts.push((delivery, verdict));
        }
        if !erased.is_empty() {
            // Before the deliveries that demand it are finished: a process that ends here does it again.
            let (org, id) = (&connection.org_id, &connection.id);
            let driver = self.providers.connector(&connection.connector)?.clone();
            let names_of: NamesOf =
                Arc::new(move |body: &[u8]| driver.webhooks().map(|w| w.names(body)).unwrap_or_default());
            self.store.erase_records(org, id, &erased, names_of, self.clock.now()).await?;
            tracing::info!(connection = %id, records = erased.len(), "erased what the provider was told to forget");
        }
        // Taken before anything is asked for: what is read now is newer than any page read before.
        let mut read = Read { read_seq: self.store.next_read_seq().await?, ..Read::default() };
        let mut unreadable: BTreeMap<String, String> = BTreeMap::new();
        for (stream, mut ids) in touches {
            ids.sort_unstable();
            ids.dedup();
            let batch = match session.read_many(&stream, &ids).await {
                Ok(batch) => batch,
                // One stream that these credentials may not read does not hold the others back.
                Err(error) if error.is_of_one_stream() => {
                    unreadable.insert(stream, error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            read.batch.records.extend(batch.records);
            read.batch.rejected.extend(batch.rejected);
            read.batch.tombstones.extend(batch.tombstones);
        }
        let judged = verdicts
            .into_iter()
            .map(|(delivery, verdict)| Judged {
                kind: delivery.kind.clone(),
                done: DeliveryDone {
                    named: connector.webhooks().map(|w| w.names(&delivery.body)).unwrap_or_default(),
                    ..verdict.done(delivery.id.clone(), &unreadable)
                },
            })
            .collect();
        // An object that was read a moment ago is there, whatever an older deletion says.
        tombstones.retain(|key| !read.batch.records.iter().any(|r| r.key == *key));
        read.batch.tombstones.extend(tombstones);
        self.commit(cx, connection, connector, read, judged).await
    }

    async fn commit(
        &self,
        cx: &JobContext,
        connection: &Connection,
        connector: &dyn DynConnector,
        mut read: Read,
        mut judged: Vec<Judged>,
    ) -> Result<(), SyncError> {
        let now = self.clock.now();
        let spec = connector.spec();
        let link = ConnectionSettings::parse(&connection.config)?.link;
        let records = &mut read.batch.records;
        ingest::complete(&*self.store, &connection.org_id, &connection.id, connector, records).await?;
        let prepared = ingest::prepare(connector, &spec, &link, read.read_seq, read.batch.records);
        self.name_parties(connection, &spec, &prepared, &mut judged).await?;
        let counted: Vec<(String, &'static str)> =
            judged.iter().map(|j| (label(&spec, &j.kind), j.done.state)).collect();
        let mut commit = prepared.into_commit(connection.id.clone(), read.read_seq, read.batch.rejected, now);
        commit.tombstones = read.batch.tombstones;
        commit.deliveries = judged.into_iter().map(|j| j.done).collect();
        commit.fence = Some(cx.job.fence.clone());
        commit.derive_at = now + QUIET;
        self.store.commit_ingest(&connection.org_id, commit).await?;
        for (kind, state) in counted {
            metrics::counter!(metric::WEBHOOK_EVENTS, "connector" => spec.id, "type" => kind, "state" => state)
                .increment(1);
        }
        Ok(())
    }

    /// Says of each delivery which party it was about: that of the first of its records that has one, as read
    /// now or, for one that is gone, as it was stored.
    async fn name_parties(
        &self,
        connection: &Connection,
        spec: &Spec,
        prepared: &ingest::Prepared,
        judged: &mut [Judged],
    ) -> Result<(), SyncError> {
        let mut parties: HashMap<RecordKey, RecordKey> = HashMap::new();
        for record in &prepared.records {
            parties.extend(record.party.clone().map(|party| (record.key.clone(), party)));
        }
        let is_party = |key: &RecordKey| spec.stream(&key.stream).is_some_and(|stream| stream.party);
        let of = |key: &RecordKey, parties: &HashMap<RecordKey, RecordKey>| {
            if is_party(key) { Some(key.clone()) } else { parties.get(key).cloned() }
        };
        let unknown: BTreeSet<RecordKey> = judged
            .iter()
            .filter(|j| j.done.touched.iter().all(|key| of(key, &parties).is_none()))
            .flat_map(|j| j.done.touched.iter().cloned())
            .collect();
        if !unknown.is_empty() {
            let keys: Vec<_> = unknown.into_iter().collect();
            for record in self.store.load_records(&connection.org_id, &connection.id, &keys).await? {
                parties.extend(record.party.map(|party| (record.key, party)));
            }
        }
        for one in judged {
            one.done.party = one.done.touched.iter().find_map(|key| of(key, &parties));
        }
        Ok(())
    }
}

/// A delivery's verdict, with the type that it is counted under.
struct Judged {
    kind: String,
    done: DeliveryDone,
}

/// The label of a type in a metric: those that the connector asks for by name, all others as one, for a sender
/// could make up any number of them.
fn label(spec: &Spec, kind: &str) -> String {
    let known = spec.webhook_events.iter().find(|known| **known == kind);
    known.map_or_else(|| "other".to_owned(), |known| (*known).to_owned())
}

fn done(id: DeliveryId, state: &'static str, error: Option<String>) -> DeliveryDone {
    DeliveryDone { id, state, error, touched: Vec::new(), named: Vec::new(), party: None }
}

#[derive(Default)]
struct Read {
    read_seq: i64,
    batch: Batch,
}

/// What a stored delivery comes to, before anything is read.
enum Verdict {
    /// Its body is not what the provider's documents promise.
    Failed(String),
    /// It changes nothing here.
    Ignored(String),
    /// These events name records to read.
    Apply(Vec<Event>),
}

impl Verdict {
    fn done(self, id: DeliveryId, unreadable: &BTreeMap<String, String>) -> DeliveryDone {
        match self {
            Self::Failed(error) => done(id, "failed", Some(error)),
            Self::Ignored(reason) => done(id, "ignored", Some(reason)),
            Self::Apply(events) => {
                let mut touched: Vec<RecordKey> = Vec::new();
                for key in events.iter().flat_map(|e| e.touches.iter().chain(&e.tombstones)) {
                    if !touched.contains(key) {
                        touched.push(key.clone());
                    }
                }
                if touched.is_empty() {
                    return done(id, "ignored", Some("it names no record that is kept".to_owned()));
                }
                let mut reasons: Vec<_> = events
                    .iter()
                    .flat_map(|e| &e.touches)
                    .filter_map(|key| unreadable.get(&key.stream).map(|why| format!("{}: {why}", key.stream)))
                    .collect();
                reasons.sort_unstable();
                reasons.dedup();
                let error = (!reasons.is_empty()).then(|| reasons.join("; "));
                let readable = |e: &Event| {
                    !e.tombstones.is_empty() || e.touches.iter().any(|k| !unreadable.contains_key(&k.stream))
                };
                let applied = error.is_none() || events.iter().any(readable);
                let state = if applied { "applied" } else { "ignored" };
                DeliveryDone { touched, ..done(id, state, error) }
            }
        }
    }
}

/// The signature was checked when the delivery came in; routing is a pure function of the stored body.
fn judge(
    connector: &dyn DynConnector,
    connection: &Connection,
    delivery: &Delivery,
    simulated: bool,
) -> Verdict {
    let Some(webhooks) = connector.webhooks() else {
        return Verdict::Failed("this connector takes no webhooks".to_owned());
    };
    let headers = http::HeaderMap::new();
    let routed = webhooks.route(&RawRequest {
        method: "POST",
        url: "",
        headers: &headers,
        body: &delivery.body,
        received_at: delivery.received_at,
        tolerance: Duration::ZERO,
    });
    let events = match routed {
        Ok(events) => events,
        Err(error) => return Verdict::Failed(error),
    };
    let mut refused = None;
    let mut apply = Vec::new();
    // A request may hold several events; each has a delivery of its own over the same body.
    for event in events.into_iter().filter(|e| e.id == delivery.event_id) {
        match refusal(connection, &event, simulated) {
            Some(reason) => refused = Some(reason),
            None => apply.push(event),
        }
    }
    match (apply.is_empty(), refused) {
        (false, _) => Verdict::Apply(apply),
        (true, Some(reason)) => Verdict::Ignored(reason),
        (true, None) => Verdict::Failed("the stored body no longer holds this event".to_owned()),
    }
}

/// Why an event changes nothing here.
fn refusal(connection: &Connection, event: &Event, simulated: bool) -> Option<String> {
    if !event.known {
        return Some(format!("{UNKNOWN_TYPE}: {}", event.kind));
    }
    if let Some(clock) = event.simulated.as_ref().filter(|_| !simulated) {
        return Some(format!("it is simulated by test clock {clock}"));
    }
    let mode = if connection.mode == Mode::Live { "live" } else { "test" };
    if event.live.is_some_and(|live| live != (connection.mode == Mode::Live)) {
        return Some(format!("the connection is in {mode} mode and the event is not"));
    }
    match (&event.account, &connection.account_id) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            Some(format!("the event is about account {theirs}, the connection is {ours}"))
        }
        _ => None,
    }
}

#[async_trait]
impl JobHandler for ProcessHandler {
    fn kind(&self) -> &'static str {
        PROCESS_JOB
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    async fn run(&self, cx: JobContext) -> JobOutcome {
        let Some(id) = cx.job.connection_id.clone() else {
            return JobOutcome::Discard("the job names no connection".to_owned());
        };
        let result = async {
            let connection = self.store.find_connection(&cx.job.org_id, id.as_str()).await?;
            let connection =
                connection.ok_or_else(|| SyncError::Gone("the connection was removed".to_owned()))?;
            if connection.status != ConnectionStatus::Active {
                // Deliveries stay pending: a resume or a check that goes well pushes this job again. Asking on
                // with credentials that were refused would be a loop that no retry ends.
                return Ok(false);
            }
            let slice = self.slice(&cx, &connection).await;
            if let Err(error) = &slice
                && error.needs_person()
            {
                let (status, why) = (ConnectionStatus::NeedsAttention, error.to_string());
                let (org, now) = (&connection.org_id, self.clock.now());
                self.store.set_connection_status(org, &connection.id, status, Some(&why), now).await?;
                return Ok(false);
            }
            slice
        };
        match result.await {
            Ok(true) => JobOutcome::Snooze(Duration::ZERO),
            Ok(false) => JobOutcome::Done,
            Err(error) => error.outcome(self.clock.now()),
        }
    }
}

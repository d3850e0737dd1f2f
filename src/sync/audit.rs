//! Audits: the mirror compared with the provider, a sample of it or all.
//!
//! A sample finds what webhooks and cursors lose without reading everything: records drawn at random from the mirror
//! (changed or gone at the provider), the newest page of each stream (never arrived), and everything of some parties.
//! A difference counts only when a second look, a moment later, finds it still: what is on its way is no drift.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::{Clock, ConnectorError, Priority, RecordKey, StreamSpec};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::SyncError;
use super::compare::{Compared, Comparer, Difference, Drift};
use super::providers::Providers;
use super::reread::reread;
use super::whole::WholeRead;
use crate::domain::AuditId;
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::jobs::JobOutcome;
use crate::domain::watch::Audit;
use crate::jobs::{JobContext, JobHandler};
use crate::store::Store;
use crate::telemetry::metric;

/// The kind of the job that a schedule inserts.
pub const AUDIT_JOB: &str = "sync.audit";
/// Audits of a connection that are kept.
pub const KEEP: i64 = 30;
/// Differences that a report holds; all are counted.
const REPORTED: usize = 200;
/// Keys of the mirror in one look.
const PAGE: i64 = 1_000;
/// Of so many sampled records one party is read whole, and at most [`PARTIES`].
const RECORDS_A_PARTY: usize = 20;
const PARTIES: usize = 10;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// So many records of the mirror, drawn by this seed, and the newest of the provider.
    Sample {
        /// How many.
        records: usize,
        /// What the draw depends on.
        seed: u64,
    },
    /// Everything.
    All,
}

/// Counts of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamAudit {
    /// Records that were compared.
    pub compared: i64,
    /// The provider has them, the mirror does not.
    pub missing: i64,
    /// The mirror has them, the provider does not.
    pub extra: i64,
    /// Both have them, and not the same.
    pub different: i64,
    /// Why the stream was not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was compared.
    pub scope: Scope,
    /// By stream.
    pub streams: BTreeMap<String, StreamAudit>,
    /// The first records that differ, in the order of their names.
    pub differences: Vec<Difference>,
    /// All that differ.
    #[serde(skip)]
    pub drift: Vec<RecordKey>,
}

impl Report {
    /// Records that were compared.
    pub fn compared(&self) -> i64 {
        self.streams.values().map(|s| s.compared).sum()
    }

    fn note(&mut self, looked: Compared, found: &mut BTreeMap<RecordKey, Difference>) {
        for key in looked.equal.iter().chain(looked.different.iter().map(|(key, _)| key)) {
            self.streams.entry(key.stream.clone()).or_default().compared += 1;
        }
        for (stream, why) in looked.skipped {
            self.streams.entry(stream).or_default().skipped = Some(why);
        }
        found.extend(looked.different);
    }
}

/// Compares a connection's mirror with its provider. `progress` is told the stream and how many of its records were
/// compared.
///
/// # Errors
/// The provider's, and the store's.
pub async fn audit(
    store: &dyn Store,
    providers: &Providers,
    connection: &Connection,
    clock: &dyn Clock,
    scope: Scope,
    priority: Priority,
    mut progress: impl FnMut(&str, i64),
) -> Result<Report, SyncError> {
    let comparer = Comparer::open(store, providers, connection, priority).await?;
    let mut streams: Vec<StreamSpec> = comparer.spec.streams.clone();
    streams.sort_by_key(|s| (s.order, s.name));
    let mut report = Report { scope, streams: BTreeMap::new(), differences: Vec::new(), drift: Vec::new() };
    let mut found: BTreeMap<RecordKey, Difference> = BTreeMap::new();
    let auditor = Auditor { store, connection, comparer: &comparer, clock };
    match scope {
        Scope::All => {
            for stream in &streams {
                let told = |report: &Report| {
                    let compared = report.streams.get(stream.name).map_or(0, |s| s.compared);
                    progress(stream.name, compared);
                };
                auditor.whole(stream, &mut report, &mut found, told).await?;
            }
        }
        Scope::Sample { records, seed } => {
            let sample = auditor.draw(&streams, records, seed).await?;
            let mut seen: HashSet<RecordKey> = sample.iter().cloned().collect();
            let looked = comparer.keys(&sample).await?;
            let parties: BTreeSet<RecordKey> =
                looked.records.iter().filter_map(|r| r.party.clone()).collect();
            report.note(looked, &mut found);
            for stream in &streams {
                auditor.newest(stream, &mut seen, &mut report, &mut found).await?;
                progress(stream.name, report.streams.get(stream.name).map_or(0, |s| s.compared));
            }
            for party in parties.iter().take((records / RECORDS_A_PARTY).clamp(1, PARTIES)) {
                let mut batch = match comparer.session.read_party(party).await {
                    Ok(batch) => batch,
                    Err(ConnectorError::NotOffered(_)) => break,
                    Err(error) => return Err(error.into()),
                };
                batch.records.retain(|record| seen.insert(record.key.clone()));
                report.note(comparer.batch(batch).await?, &mut found);
            }
        }
    }
    auditor.confirm(&mut report, found).await?;
    Ok(report)
}

struct Auditor<'a> {
    store: &'a dyn Store,
    connection: &'a Connection,
    comparer: &'a Comparer<'a>,
    clock: &'a dyn Clock,
}

impl Auditor<'_> {
    /// Every record of a stream, both ways.
    async fn whole(
        &self,
        stream: &StreamSpec,
        report: &mut Report,
        found: &mut BTreeMap<RecordKey, Difference>,
        mut told: impl FnMut(&Report),
    ) -> Result<(), SyncError> {
        report.streams.entry(stream.name.to_owned()).or_default();
        let mut seen: HashSet<RecordKey> = HashSet::new();
        let mut pages = WholeRead::begin(&*self.comparer.session, stream.name, self.clock.now()).await?;
        loop {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) if error.is_of_one_stream() => {
                    report.streams.entry(stream.name.to_owned()).or_default().skipped =
                        Some(error.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            // A page may come twice where objects went while it was read.
            let records = page.records.into_iter().filter(|r| seen.insert(r.key.clone())).collect();
            report.note(self.comparer.records(records).await?, found);
            told(report);
        }
        if !stream.full_pass_deletes {
            return Ok(());
        }
        let mut after: Option<String> = None;
        loop {
            let keys = self.keys(stream.name, after.as_deref()).await?;
            let Some(last) = keys.last() else { return Ok(()) };
            after = Some(last.id.clone());
            for key in keys.into_iter().filter(|key| !seen.contains(key)) {
                report.streams.entry(stream.name.to_owned()).or_default().compared += 1;
                let extra = Difference { record: key.to_string(), drift: Drift::Extra, pointers: Vec::new() };
                found.insert(key, extra);
            }
        }
    }

    async fn keys(&self, stream: &str, after: Option<&str>) -> Result<Vec<RecordKey>, SyncError> {
        let Connection { org_id, id, .. } = self.connection;
        Ok(self.store.list_record_keys(org_id, id, stream, after, PAGE).await?)
    }

    /// So many records of the mirror, each as likely as any other (reservoir sampling).
    async fn draw(
        &self,
        streams: &[StreamSpec],
        records: usize,
        seed: u64,
    ) -> Result<Vec<RecordKey>, SyncError> {
        let mut random = seed;
        let (mut drawn, mut met) = (Vec::with_capacity(records), 0u64);
        for stream in streams {
            let mut after: Option<String> = None;
            loop {
                let keys = self.keys(stream.name, after.as_deref()).await?;
                let Some(last) = keys.last() else { break };
                after = Some(last.id.clone());
                for key in keys {
                    met += 1;
                    if drawn.len() < records {
                        drawn.push(key);
                        continue;
                    }
                    let place = usize::try_from(next_random(&mut random) % met).unwrap_or(usize::MAX);
                    if let Some(taken) = drawn.get_mut(place) {
                        *taken = key;
                    }
                }
            }
        }
        Ok(drawn)
    }

    /// The newest of a stream: what never arrived is most likely among them.
    async fn newest(
        &self,
        stream: &StreamSpec,
        seen: &mut HashSet<RecordKey>,
        report: &mut Report,
        found: &mut BTreeMap<RecordKey, Difference>,
    ) -> Result<(), SyncError> {
        match self.comparer.session.read_newest(stream.name, self.clock.now()).await {
            Ok(newest) => {
                let records = newest.records.into_iter().filter(|r| seen.insert(r.key.clone())).collect();
                report.note(self.comparer.records(records).await?, found);
            }
            Err(error) if error.is_of_one_stream() => {
                report.streams.entry(stream.name.to_owned()).or_default().skipped = Some(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Looks a second time at what differed, and counts what still does.
    async fn confirm(
        &self,
        report: &mut Report,
        found: BTreeMap<RecordKey, Difference>,
    ) -> Result<(), SyncError> {
        let keys: Vec<RecordKey> = found.into_keys().collect();
        let still: BTreeMap<RecordKey, Difference> =
            self.comparer.keys(&keys).await?.different.into_iter().collect();
        for (key, difference) in still {
            let counts = report.streams.entry(key.stream.clone()).or_default();
            *match difference.drift {
                Drift::Missing => &mut counts.missing,
                Drift::Extra => &mut counts.extra,
                Drift::Different => &mut counts.different,
            } += 1;
            if report.differences.len() < REPORTED {
                report.differences.push(difference);
            }
            report.drift.push(key);
        }
        Ok(())
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// How many of these records are now as the provider has them.
///
/// # Errors
/// The provider's, and the store's.
pub async fn repaired(
    store: &dyn Store,
    providers: &Providers,
    connection: &Connection,
    keys: &[RecordKey],
    priority: Priority,
) -> Result<i64, SyncError> {
    let comparer = Comparer::open(store, providers, connection, priority).await?;
    let left = comparer.keys(keys).await?.different.len();
    Ok(i64::try_from(keys.len().saturating_sub(left)).unwrap_or(i64::MAX))
}

/// What is kept of an audit.
pub fn kept(
    clock: &dyn Clock,
    connection: &Connection,
    trigger: &str,
    started_at: connector_sdk::Timestamp,
    report: &Report,
    repaired: i64,
) -> Audit {
    Audit {
        id: AuditId::generate(clock),
        connection_id: connection.id.clone(),
        trigger: trigger.to_owned(),
        started_at,
        finished_at: clock.now(),
        compared: report.compared(),
        drift: i64::try_from(report.drift.len()).unwrap_or(i64::MAX),
        repaired,
        report: json!(report),
    }
}

/// The handler of [`AUDIT_JOB`]: a sample, its result kept, and what differs read again where that is wished.
pub struct AuditHandler {
    store: Arc<dyn Store>,
    providers: Arc<Providers>,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct Args {
    sample: usize,
    repair: bool,
}

impl AuditHandler {
    /// Over the store and the providers.
    pub fn new(store: Arc<dyn Store>, providers: Arc<Providers>, clock: Arc<dyn Clock>) -> Self {
        Self { store, providers, clock }
    }

    async fn audit(&self, cx: &JobContext, args: &Args) -> Result<(), SyncError> {
        let Some(id) = &cx.job.connection_id else {
            return Err(SyncError::Gone("the job names no connection".to_owned()));
        };
        let connection = self.store.find_connection(&cx.job.org_id, id.as_str()).await?;
        let connection =
            connection.ok_or_else(|| SyncError::Gone("the connection was removed".to_owned()))?;
        if connection.status != ConnectionStatus::Active {
            return Ok(());
        }
        let started_at = self.clock.now();
        // A draw of its own each day, and the same when the job is tried again.
        let mut hasher = DefaultHasher::new();
        cx.job.fence.job_id.as_str().hash(&mut hasher);
        let seed = hasher.finish();
        let scope = Scope::Sample { records: args.sample, seed };
        let (store, providers) = (&*self.store, &*self.providers);
        let report =
            audit(store, providers, &connection, &*self.clock, scope, Priority::Backfill, |_, _| {}).await?;
        let mut mended = 0;
        if args.repair && !report.drift.is_empty() {
            let priority = Priority::Backfill;
            reread(store, providers, &*self.clock, &connection, &report.drift, priority, None).await?;
            mended = repaired(store, providers, &connection, &report.drift, priority).await?;
        }
        let audit = kept(&*self.clock, &connection, "schedule", started_at, &report, mended);
        if audit.drift > 0 {
            tracing::warn!(connection = %connection.id, compared = audit.compared, drift = audit.drift, repaired = mended,
                "the mirror differs from the provider");
        }
        metrics::counter!(metric::AUDIT_DRIFT, "connector" => connection.connector.clone())
            .increment(audit.drift.unsigned_abs());
        self.store.put_audit(&connection.org_id, &audit, KEEP).await?;
        Ok(())
    }
}

#[async_trait]
impl JobHandler for AuditHandler {
    fn kind(&self) -> &'static str {
        AUDIT_JOB
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(900)
    }

    async fn run(&self, cx: JobContext) -> JobOutcome {
        let args: Args = match serde_json::from_value(cx.job.args.clone()) {
            Ok(args) => args,
            Err(e) => return JobOutcome::Discard(format!("arguments: {e}")),
        };
        match self.audit(&cx, &args).await {
            Ok(()) => JobOutcome::Done,
            Err(error) => error.outcome(self.clock.now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        let mut state = 1_234_567;
        let first: Vec<u64> = (0..3).map(|_| next_random(&mut state)).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}

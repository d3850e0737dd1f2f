//! From dirty companies to derived fields: loads inputs, derives, commits.
//!
//! Derivation itself is pure (`derive`); this is the job around it. A company whose document comes out equal
//! writes nothing but the cleared mark.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::{Clock, Fact, RecordKey, Role, Timestamp};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::derive::{
    self, Derivation, DeriveError, FactRecord, Inputs, Member, Noted, Settings, Source, Stored,
};
use crate::domain::companies::Company;
use crate::domain::connections::Connection;
use crate::domain::jobs::JobOutcome;
use crate::domain::{ConnectionId, OrgId, Rank};
use crate::jobs::{JobContext, JobError, JobHandler, verdict};
use crate::store::derivations::{CompanyInputs, DerivationCommit, DerivationWrite, Dirty, FactsRow};
use crate::store::lay::lay_derivation;
use crate::store::{Store, StoreError};
use crate::sync::providers::Providers;
use crate::sync::resync::Reading;

/// The kind of this job. The store's units push it when a company becomes dirty.
pub use crate::store::derivations::DERIVE_KIND;

/// Companies in one unit.
const BATCH: i64 = 256;
/// How long one slice works before it lets others in.
const SLICE: Duration = Duration::from_secs(20);
/// A slice, one batch and its commit.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Works companies out, with the settings of the process.
#[derive(Clone)]
pub struct Recompute {
    store: Arc<dyn Store>,
    providers: Arc<Providers>,
    settings: Arc<Settings>,
}

/// Companies worked out and not yet committed.
struct Batch {
    commits: Vec<DerivationCommit>,
    /// The last one's mark.
    last: Option<Dirty>,
}

impl Recompute {
    /// Over the store; roles of connections come from the connectors' specs.
    pub fn new(store: Arc<dyn Store>, providers: Arc<Providers>, settings: Arc<Settings>) -> Self {
        Self { store, providers, settings }
    }

    /// The organisation's connections, as derivation sees them.
    pub async fn sources(&self, org: &OrgId) -> Result<Vec<Source>, StoreError> {
        let connections = self.store.load_connections(org).await?;
        Ok(connections.iter().map(|c| self.source(c)).collect())
    }

    fn source(&self, connection: &Connection) -> Source {
        // A connection whose connector is not in this build keeps its records; derivation still reads them
        // as what most of them are.
        let role = self.providers.connector(&connection.connector).map_or(Role::Billing, |c| c.spec().role);
        Source {
            connection: connection.id.0.clone(),
            connector: connection.connector.clone(),
            role,
            mode: connection.mode,
        }
    }

    /// Derives one company. Pure but for its arguments.
    fn work_out(
        &self,
        inputs: &CompanyInputs,
        previous: Option<&Stored>,
        sources: &[Source],
        now: Timestamp,
    ) -> Result<Derivation, DeriveError> {
        let records: Vec<FactRecord> = inputs
            .facts
            .iter()
            .map(|row| FactRecord {
                connection: row.connection_id.0.clone(),
                key: row.key.clone(),
                own: row.own,
                facts: row.facts.clone(),
            })
            .collect();
        let members = inputs.members.iter().map(|m| Member {
            id: &m.id,
            deleted: false,
            merged: false,
            test: m.is_test,
        });
        derive::derive(&Inputs {
            now,
            settings: &self.settings,
            sources,
            records: &records,
            team_size: Some(derive::team_size(members)),
            manual: &manual_values(&inputs.company),
            previous: previous.map(|stored| &stored.values),
        })
    }

    /// What a company's derivation writes. Where nothing differs from the last one, or the company cannot be
    /// derived, that is only the cleared mark.
    fn commit_of(&self, inputs: CompanyInputs, sources: &[Source], now: Timestamp) -> DerivationCommit {
        let company_id = inputs.company.id.clone();
        let seq = inputs.dirty.as_ref().map(|d| d.seq);
        let previous = inputs.previous.as_deref().map(Stored::from_document);
        let worked = self.work_out(&inputs, previous.as_ref(), sources, now).map_err(|e| e.to_string());
        let worked = worked.and_then(|derivation| {
            serde_json::to_string(&derivation).map(|text| (derivation, text)).map_err(|e| e.to_string())
        });
        let (derivation, document) = match worked {
            Ok(both) => both,
            Err(error) => {
                // Its mark is cleared, or this company would be tried again for ever; the next change of
                // anything that it is made of marks it again. What it said before stays.
                tracing::error!(company_id = %inputs.company.id, %error, "a company could not be derived");
                return DerivationCommit { company_id, seq, write: None };
            }
        };
        // A hash that was taken back: a person released a value, and what was derived is laid again although it is
        // what it was.
        let lay_again = inputs.previous_hash.as_deref() == Some("");
        if inputs.previous.as_ref() == Some(&document) && !lay_again {
            return DerivationCommit { company_id, seq, write: None };
        }
        let fields = derive::outputs(&derivation);
        let (mut traits, mut context) = (fields.traits, fields.context);
        // A connection that is gone takes its account ids with it: what the last derivation named and this
        // one does not is removed.
        if let Some(stored) = &previous {
            for (kind, by_connector) in [("customer", &stored.accounts), ("company", &stored.organizations)] {
                for connector in by_connector.keys() {
                    traits.entry(format!("{connector}_{kind}_id")).or_insert(Value::Null);
                }
            }
            for key in stored.noted.traits.keys() {
                traits.entry(key.clone()).or_insert(Value::Null);
            }
            for key in stored.noted.context.keys() {
                context.entry(Noted::context_key(key)).or_insert(None);
            }
        }
        let write = DerivationWrite {
            read: Some((inputs.company, inputs.state)),
            inputs_hash: derivation.inputs_hash,
            next_turn: derivation.next_turn,
            document,
            fields: fields.columns,
            owned_fields: fields.owned,
            traits,
            context,
            test: fields.test,
        };
        DerivationCommit { company_id, seq, write: Some(write) }
    }

    /// What a batch of dirty companies comes to.
    async fn batch(&self, cx: &JobContext, after: Option<&Dirty>) -> Result<Batch, StoreError> {
        let org = &cx.job.org_id;
        let inputs = self.store.load_dirty_inputs(org, after, BATCH).await?;
        let mut commits = Vec::with_capacity(inputs.len());
        if inputs.is_empty() {
            return Ok(Batch { commits, last: None });
        }
        let sources = self.sources(org).await?;
        let now = cx.now();
        let last = inputs.last().and_then(|company| company.dirty.clone());
        for company in inputs {
            let started = Instant::now();
            commits.push(self.commit_of(company, &sources, now));
            metrics::histogram!(crate::telemetry::metric::DERIVE_SECONDS)
                .record(started.elapsed().as_secs_f64());
        }
        Ok(Batch { commits, last })
    }

    /// Derives an organisation's dirty companies for one slice of time. While a batch is committed the next one
    /// is worked out. True when none was left.
    async fn slice(&self, cx: &JobContext) -> Result<bool, StoreError> {
        let until = Instant::now() + SLICE;
        let mut batch = self.batch(cx, None).await?;
        while !batch.commits.is_empty() {
            let (store, org, now) = (self.store.clone(), cx.job.org_id.clone(), cx.now());
            let (fence, commits) = (cx.job.fence.clone(), batch.commits);
            // A task of its own, for the next batch's arithmetic would keep it waiting here.
            let committing = AbortOnDropHandle::new(tokio::spawn(async move {
                store.commit_derivations(&org, commits, Some(&fence), now).await
            }));
            let go_on = Instant::now() < until && !cx.stop.is_cancelled();
            let next = if go_on { Some(self.batch(cx, batch.last.as_ref()).await) } else { None };
            committing.await.map_err(|e| StoreError::Panicked(e.to_string()))??;
            batch = match next {
                None => return Ok(false),
                // Behind the last mark there is nothing; before it some may have been marked again.
                Some(Ok(next)) if next.commits.is_empty() => self.batch(cx, None).await?,
                Some(next) => next?,
            };
        }
        Ok(true)
    }

    /// What a company will be when these records are in the mirror: as it is stored, and as it will be. `None` for a
    /// company that is not there.
    pub async fn foresee(
        &self,
        org: &OrgId,
        company: &Company,
        coming: &Coming,
        now: Timestamp,
    ) -> Result<Option<Company>, StoreError> {
        let Some(mut inputs) = self.store.load_company_inputs(org, &company.id).await? else {
            return Ok(None);
        };
        let stored = inputs.company.clone();
        coming.lay_over(&mut inputs.facts);
        let sources = self.sources(org).await?;
        match self.commit_of(inputs, &sources, now).write {
            Some(write) => Ok(Some(lay_derivation(stored, &write, now)?.company)),
            None => Ok(Some(stored)),
        }
    }

    /// Derives one company from what is stored, without writing.
    pub async fn look(
        &self,
        org: &OrgId,
        company: &Company,
        now: Timestamp,
    ) -> Result<Option<Derivation>, LookError> {
        let Some(inputs) = self.store.load_company_inputs(org, &company.id).await? else { return Ok(None) };
        let sources = self.sources(org).await?;
        let previous = inputs.previous.as_deref().map(Stored::from_document);
        Ok(Some(self.work_out(&inputs, previous.as_ref(), &sources, now)?))
    }
}

/// Records as they were just read, and not stored.
#[derive(Debug, Clone, Default)]
pub struct Coming {
    /// Records, with their facts.
    pub records: Vec<FactsRow>,
    /// Records that are gone.
    pub gone: Vec<(ConnectionId, RecordKey)>,
    /// Streams whose records are parties: a party that is gone stays, marked as deleted.
    pub party_streams: Vec<String>,
}

impl Coming {
    /// What was read of a company.
    pub fn of(providers: &Providers, readings: &[Reading], now: Timestamp) -> Self {
        let mut coming = Self::default();
        for reading in readings {
            let id = &reading.connection.id;
            for record in &reading.compared.records {
                coming.records.push(FactsRow {
                    connection_id: id.clone(),
                    key: record.key.clone(),
                    party: record.party.clone(),
                    own: true,
                    facts: record.facts.clone(),
                    observed_at: now,
                });
            }
            coming.gone.extend(reading.compared.gone.iter().map(|key| (id.clone(), key.clone())));
            if let Ok(connector) = providers.connector(&reading.connection.connector) {
                let streams = connector.spec().streams;
                coming.party_streams.extend(streams.iter().filter(|s| s.party).map(|s| s.name.to_owned()));
            }
        }
        coming
    }

    /// Lays these over the facts that a derivation reads, as storing them would.
    fn lay_over(&self, facts: &mut Vec<FactsRow>) {
        let same = |row: &FactsRow, connection: &ConnectionId, key: &RecordKey| {
            row.connection_id == *connection && row.key == *key
        };
        for (connection, key) in &self.gone {
            let is_party = self.party_streams.contains(&key.stream);
            // What has no party is the catalogue: what refers to it goes on by its last terms.
            facts.retain(|row| is_party || row.party.is_none() || !same(row, connection, key));
            if is_party {
                for row in facts.iter_mut().filter(|row| same(row, connection, key)) {
                    row.facts = facts_of_gone(&row.facts);
                }
            }
        }
        for new in &self.records {
            facts.retain(|row| !same(row, &new.connection_id, &new.key));
            if new.facts != "[]" {
                facts.push(new.clone());
            }
        }
        facts.sort_by_cached_key(|row| (row.connection_id.0.clone(), row.key.to_string()));
    }
}

/// The facts of a party that is gone.
fn facts_of_gone(facts: &str) -> String {
    let Ok(known) = serde_json::from_str::<Vec<Fact>>(facts) else { return facts.to_owned() };
    serde_json::to_string(&derive::last_known(known)).unwrap_or_else(|_| facts.to_owned())
}

/// Why a company could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored facts, or a value entered by hand.
    #[error(transparent)]
    Derive(#[from] DeriveError),
}

/// Values that a person entered, by the name of the derived value.
fn manual_values(company: &Company) -> Map<String, Value> {
    if company.provenance.values().all(|source| source.rank != Rank::Manual) {
        return Map::new();
    }
    let columns = match serde_json::to_value(&company.fields) {
        Ok(Value::Object(columns)) => columns,
        _ => Map::new(),
    };
    company
        .provenance
        .iter()
        .filter(|(_, source)| source.rank == Rank::Manual)
        .filter_map(|(name, _)| {
            let value = columns.get(name).or_else(|| company.custom_fields.get(name))?;
            Some((name.clone(), value.clone()))
        })
        .collect()
}

#[async_trait]
impl JobHandler for Recompute {
    fn kind(&self) -> &'static str {
        DERIVE_KIND
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    async fn run(&self, cx: JobContext) -> JobOutcome {
        match self.slice(&cx).await {
            Ok(true) => JobOutcome::Done,
            Ok(false) => JobOutcome::Snooze(Duration::ZERO),
            Err(error) => verdict(&JobError::Store(error), cx.now()),
        }
    }
}

/// Marks every company when the settings of derivation are not those of the last start.
pub async fn mark_if_settings_changed(
    store: &dyn Store,
    clock: &dyn Clock,
    settings: &Settings,
) -> Result<bool, StoreError> {
    use sha2::{Digest as _, Sha256};

    const MEMBER: &str = "derive_settings";
    let text = serde_json::to_vec(settings).unwrap_or_default();
    let hash = Value::String(format!("{}:{}", derive::DERIVE_VERSION, hex::encode(Sha256::digest(text))));
    let mut changed = false;
    for org in store.list_orgs().await? {
        let stored = store.find_org_settings(&org).await?.unwrap_or(Value::Null);
        if stored.get(MEMBER) == Some(&hash) {
            continue;
        }
        let first = stored.get(MEMBER).is_none();
        if !first {
            changed = true;
            let mut after: Option<String> = None;
            loop {
                let reason = "settings of derivation changed";
                after = store.mark_all_dirty(&org, reason, after.as_deref(), 1_000, clock.now()).await?;
                if after.is_none() {
                    break;
                }
            }
        }
        // Its other members are others' to write, perhaps just now.
        let member = serde_json::Map::from_iter([(MEMBER.to_owned(), hash.clone())]);
        store.patch_org(&org, None, &member, clock.now()).await?;
    }
    Ok(changed)
}

//! From dirty companies to derived fields: loads inputs, derives, commits.
//!
//! Derivation itself is pure (`derive`); this is the job around it. A company whose document comes out equal
//! writes nothing but the cleared mark.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::{Clock, Role, Timestamp};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::derive::{self, Derivation, DeriveError, FactRecord, Inputs, Member, Previous, Settings, Source};
use crate::domain::companies::Company;
use crate::domain::connections::Connection;
use crate::domain::jobs::JobOutcome;
use crate::domain::{OrgId, Rank};
use crate::jobs::{JobContext, JobError, JobHandler, verdict};
use crate::store::derivations::{CompanyInputs, DerivationCommit, DerivationWrite};
use crate::store::{Store, StoreError};
use crate::sync::providers::Providers;

/// The kind of this job. The store's units push it when a company becomes dirty.
pub use crate::store::derivations::DERIVE_KIND;

/// Companies in one unit.
const BATCH: i64 = 200;
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

/// A company's derivation, beside what it was made of.
#[derive(Debug, Clone)]
pub struct Worked {
    /// What came out.
    pub derivation: Derivation,
    /// The stored document.
    pub document: Value,
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
    pub fn work_out(
        &self,
        inputs: &CompanyInputs,
        sources: &[Source],
        now: Timestamp,
    ) -> Result<Worked, DeriveError> {
        let records: Vec<FactRecord> = inputs
            .facts
            .iter()
            .map(|row| FactRecord {
                connection: row.connection_id.0.clone(),
                key: row.key.clone(),
                facts: row.facts.clone(),
            })
            .collect();
        let previous = inputs.previous.as_ref().map(Previous::from_document);
        let members = inputs.members.iter().map(|m| Member {
            id: &m.id,
            deleted: false,
            merged: false,
            test: m.is_test,
        });
        let derivation = derive::derive(&Inputs {
            now,
            settings: &self.settings,
            sources,
            records: &records,
            team_size: Some(derive::team_size(members)),
            manual: &manual_values(&inputs.company),
            previous: previous.as_ref(),
        })?;
        let document = serde_json::to_value(&derivation).unwrap_or(Value::Null);
        Ok(Worked { derivation, document })
    }

    fn commit_of(&self, inputs: &CompanyInputs, worked: Worked) -> DerivationCommit {
        let seq = inputs.dirty.as_ref().map(|d| d.seq);
        let company_id = inputs.company.id.clone();
        if inputs.previous.as_ref() == Some(&worked.document) {
            return DerivationCommit { company_id, seq, write: None };
        }
        let fields = derive::outputs(&worked.derivation);
        let mut traits = fields.traits;
        // A connection that is gone takes its account ids with it: what the last derivation named and this
        // one does not is removed.
        let accounts = inputs.previous.as_ref().and_then(|p| p.get("accounts")).and_then(Value::as_object);
        for connector in accounts.into_iter().flat_map(Map::keys) {
            traits.entry(format!("{connector}_customer_id")).or_insert(Value::Null);
        }
        let write = DerivationWrite {
            inputs_hash: worked.derivation.inputs_hash.clone(),
            next_turn: worked.derivation.next_turn,
            document: worked.document,
            fields: fields.columns,
            owned_fields: fields.owned,
            traits,
            context: fields.context,
            test: fields.test,
        };
        DerivationCommit { company_id, seq, write: Some(write) }
    }

    /// One batch of an organisation's dirty companies. Answers how many there were.
    async fn batch(&self, cx: &JobContext) -> Result<usize, StoreError> {
        let org = &cx.job.org_id;
        let inputs = self.store.load_dirty_inputs(org, BATCH).await?;
        if inputs.is_empty() {
            return Ok(0);
        }
        let sources = self.sources(org).await?;
        let now = cx.now();
        let mut commits = Vec::with_capacity(inputs.len());
        for company in &inputs {
            let started = Instant::now();
            match self.work_out(company, &sources, now) {
                Ok(worked) => commits.push(self.commit_of(company, worked)),
                Err(error) => {
                    // Its mark is cleared, or this company would be tried again for ever; the next change of
                    // anything that it is made of marks it again. What it said before stays.
                    tracing::error!(company_id = %company.company.id, %error, "a company could not be derived");
                    commits.push(DerivationCommit {
                        company_id: company.company.id.clone(),
                        seq: company.dirty.as_ref().map(|d| d.seq),
                        write: None,
                    });
                }
            }
            metrics::histogram!(crate::telemetry::metric::DERIVE_SECONDS)
                .record(started.elapsed().as_secs_f64());
        }
        self.store.commit_derivations(org, commits, Some(cx.fence()), now).await?;
        Ok(inputs.len())
    }

    /// Derives one company from what is stored, without writing.
    pub async fn look(
        &self,
        org: &OrgId,
        company: &Company,
        now: Timestamp,
    ) -> Result<Option<Worked>, LookError> {
        let Some(inputs) = self.store.load_company_inputs(org, &company.id).await? else { return Ok(None) };
        let sources = self.sources(org).await?;
        Ok(Some(self.work_out(&inputs, &sources, now)?))
    }
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
        let until = Instant::now() + SLICE;
        while Instant::now() < until && !cx.stop.is_cancelled() {
            match self.batch(&cx).await {
                Ok(0) => return JobOutcome::Done,
                Ok(_) => {}
                Err(error) => return verdict(&JobError::Store(error), cx.now()),
            }
        }
        JobOutcome::Snooze(Duration::ZERO)
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
        let mut members = stored.as_object().cloned().unwrap_or_default();
        members.insert(MEMBER.to_owned(), hash.clone());
        store.put_org(&org, "", &Value::Object(members), clock.now()).await?;
    }
    Ok(changed)
}

//! What a derivation reads.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use connector_sdk::facts::Fact;
use connector_sdk::{Mode, RecordKey, Role, Timestamp};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::DERIVE_VERSION;
use super::settings::Settings;

/// A connection that records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Our id of the connection.
    pub connection: String,
    /// The connector's id; only data, no rule looks at it.
    pub connector: String,
    /// What the provider is to the company.
    pub role: Role,
    /// Whether the connection's account is live or a test. Rows of the other mode stay out.
    pub mode: Mode,
}

/// The facts of one record, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactRecord {
    /// Our id of the connection.
    pub connection: String,
    /// Stream and id.
    pub key: RecordKey,
    /// Whether the record's party is the company; else another record refers to it.
    pub own: bool,
    /// A JSON array of [`Fact`].
    pub facts: String,
}

/// A stored document, as far as the next derivation needs it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Stored {
    /// What it said.
    pub values: Previous,
    /// Ids at billing tools, by connector.
    pub accounts: BTreeMap<String, IgnoredAny>,
    /// Ids at CRMs, by connector.
    pub organizations: BTreeMap<String, IgnoredAny>,
    /// What the connections' settings showed.
    pub noted: StoredNotes,
}

/// The keys of what a stored document showed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StoredNotes {
    /// Custom fields.
    pub traits: BTreeMap<String, IgnoredAny>,
    /// Context entries.
    pub context: BTreeMap<String, IgnoredAny>,
}

/// What the last derivation said, as far as a rule needs it.
///
/// Every member may be absent: a document of an older version, or values that a person gives in a case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Previous {
    /// The plan.
    pub plan: Option<String>,
    /// The last plan that was not empty.
    pub last_plan: Option<String>,
    /// The renewal date.
    pub renewal_date: Option<NaiveDate>,
    /// The renewal status.
    pub renewal_status: Option<String>,
    /// The date on which the renewal date moved on.
    pub renewed_on: Option<NaiveDate>,
}

impl Stored {
    /// From a stored derivation's document, of any version. One that cannot be read says nothing.
    pub fn from_document(document: &str) -> Self {
        serde_json::from_str(document).unwrap_or_default()
    }
}

/// Everything that a derivation reads. The order of `sources` and `records` is of no consequence.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The instant that the figures are for.
    pub now: Timestamp,
    /// What the organisation decided.
    pub settings: &'a Settings,
    /// The connections.
    pub sources: &'a [Source],
    /// Facts of every party that is linked to the company, and what they refer to.
    pub records: &'a [FactRecord],
    /// Distinct end users of the company ([`super::team_size`]); `None` where nobody counted.
    pub team_size: Option<u64>,
    /// Values that a person entered, by the name of the derived value (`renewal_date`).
    pub manual: &'a Map<String, Value>,
    /// What the last derivation said.
    pub previous: Option<&'a Previous>,
}

impl Inputs<'_> {
    /// SHA-256 over everything but `now` and `previous`, in hexadecimal; equal for every order of the records.
    ///
    /// `previous` is what came of these inputs before, so it is left out: else every derivation would change
    /// the hash of the next. Time is left out because [`super::Derivation::next_turn`] says when it matters.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(&DERIVE_VERSION.to_be_bytes());
        part(&serde_json::to_vec(self.settings).unwrap_or_default());
        let mut sources: Vec<&Source> = self.sources.iter().collect();
        sources.sort_by(|a, b| a.connection.cmp(&b.connection));
        for s in sources {
            part(s.connection.as_bytes());
            part(s.connector.as_bytes());
            part(format!("{:?}/{:?}", s.role, s.mode).as_bytes());
        }
        let mut records: Vec<&FactRecord> = self.records.iter().collect();
        records.sort_by(|a, b| (&a.connection, &a.key).cmp(&(&b.connection, &b.key)));
        for r in records {
            part(r.connection.as_bytes());
            part(r.key.stream.as_bytes());
            part(r.key.id.as_bytes());
            part(&[u8::from(r.own)]);
            part(r.facts.as_bytes());
        }
        part(&self.team_size.map_or_else(Vec::new, |n| n.to_be_bytes().to_vec()));
        let manual: BTreeMap<&String, &Value> = self.manual.iter().collect();
        part(&serde_json::to_vec(&manual).unwrap_or_default());
        hex::encode(hash.finalize())
    }
}

/// Facts that are stored but cannot be read back: they were written by another version.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeriveError {
    /// The stored facts of a record.
    #[error("the stored facts of {connection}/{key} cannot be read ({message}): translate the record again")]
    Facts {
        /// Our id of the connection.
        connection: String,
        /// Stream and id.
        key: RecordKey,
        /// What the reader said.
        message: String,
    },
    /// A value that a person entered.
    #[error("the value entered for {field}: {message}")]
    Manual {
        /// The field.
        field: String,
        /// What was expected.
        message: String,
    },
}

/// A record's facts, read.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) source: &'a Source,
    pub(super) key: &'a RecordKey,
    pub(super) own: bool,
    pub(super) facts: Vec<Fact>,
}

/// Reads the records of known connections, in an order that does not depend on how they came.
pub(super) fn read<'a>(inputs: &Inputs<'a>) -> Result<Vec<Read<'a>>, DeriveError> {
    let mut records: Vec<(&FactRecord, &Source)> = inputs
        .records
        .iter()
        .filter_map(|r| Some((r, inputs.sources.iter().find(|s| s.connection == r.connection)?)))
        .collect();
    records.sort_by(|(a, _), (b, _)| (&a.connection, &a.key).cmp(&(&b.connection, &b.key)));
    records
        .into_iter()
        .map(|(record, source)| {
            let facts = serde_json::from_str(&record.facts).map_err(|e| DeriveError::Facts {
                connection: record.connection.clone(),
                key: record.key.clone(),
                message: e.to_string(),
            })?;
            Ok(Read { source, key: &record.key, own: record.own, facts })
        })
        .collect()
}

/// The facts of a record that is gone, as far as they still mean something to what refers to it.
///
/// A running subscription goes on by the terms of a price, product or coupon that nobody can choose any more, so those
/// stay as they were. An account that is gone has ended with all that it owned, and an organization or a person says
/// nothing of a company any more, which their facts then say. A document that was thrown away is no agreement.
pub fn last_known(facts: Vec<Fact>) -> Vec<Fact> {
    let known = facts.into_iter().filter(|fact| !matches!(fact, Fact::Contract(_)));
    known
        .map(|mut fact| {
            match &mut fact {
                Fact::BillingAccount(account) => account.deleted = true,
                Fact::Organization(organization) => organization.deleted = true,
                Fact::Person(person) => person.deleted = true,
                _ => {}
            }
            fact
        })
        .collect()
}

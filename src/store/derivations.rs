//! Dirty companies, derivations and their history.

use std::collections::BTreeMap;

use async_trait::async_trait;
use connector_sdk::{RecordKey, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Result;
use crate::domain::companies::{Company, CompanyFields};
use crate::domain::connections::Connection;
use crate::domain::jobs::Fence;
use crate::domain::{CompanyId, ConnectionId, ContextEntry, OrgId};

/// The kind of the job that derives an organisation's dirty companies. Units push it themselves, with the
/// dedupe key `derive:<org>`.
pub const DERIVE_KIND: &str = "derive.companies";

/// A company whose derivation may be out of date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirty {
    /// The company.
    pub company_id: CompanyId,
    /// Grows with every mark; a derivation clears the mark only when it has not grown meanwhile.
    pub seq: i64,
    /// Why, distinct, sorted.
    pub reasons: Vec<String>,
    /// When it was first marked.
    pub marked_at: Timestamp,
}

/// A record's facts, as derivation reads them.
#[derive(Debug, Clone, PartialEq)]
pub struct FactsRow {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Stream and id.
    pub key: RecordKey,
    /// Whose record it is; `None` for catalogue records.
    pub party: Option<RecordKey>,
    /// Whether its party is the company; else another record refers to it.
    pub own: bool,
    /// Facts as JSON text.
    pub facts: String,
    /// When the record last changed in the mirror.
    pub observed_at: Timestamp,
}

/// An end user, as `team_size` counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// Our id.
    pub id: String,
    /// Test users are not counted.
    pub is_test: bool,
}

/// Everything that a company's derivation reads, as of one instant.
#[derive(Debug, Clone)]
pub struct CompanyInputs {
    /// The company as stored.
    pub company: Company,
    /// Its row.
    pub state: CompanyState,
    /// The mark that asked for it; `None` when it was asked for by hand.
    pub dirty: Option<Dirty>,
    /// Live records of every party that is linked to the company, and the closure of their references. A
    /// referred record that is gone comes as it was last; a party that is gone comes with its account marked
    /// as deleted.
    pub facts: Vec<FactsRow>,
    /// Linked users.
    pub members: Vec<MemberRow>,
    /// The previous derivation's document, as it was written.
    pub previous: Option<String>,
    /// Hash of the previous derivation's inputs.
    pub previous_hash: Option<String>,
}

/// A company's row as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompanyState {
    /// Counted up by every write.
    pub version: i64,
    /// Made from a party, and nobody else's yet.
    pub placeholder: bool,
}

/// A value that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field.
    pub field: String,
    /// Before.
    pub old: Value,
    /// After.
    pub new: Value,
    /// When it was derived.
    pub at: Timestamp,
    /// The reasons of the mark, or `manual`.
    pub cause: Vec<String>,
}

/// What a derivation writes.
#[derive(Debug, Clone)]
pub struct DerivationCommit {
    /// The company.
    pub company_id: CompanyId,
    /// The mark's `seq` that was read; `None` when nothing was marked.
    pub seq: Option<i64>,
    /// The new document; `None` when the inputs' hash has not changed (only the mark is cleared).
    pub write: Option<DerivationWrite>,
}

/// The changed part of a derivation.
#[derive(Debug, Clone)]
pub struct DerivationWrite {
    /// The company that it was worked out from; the unit reads the row again where it has changed since, or
    /// where this is `None`.
    pub read: Option<(Company, CompanyState)>,
    /// Values, provenance, losers: the whole answer, as JSON.
    pub document: String,
    /// Hash of the inputs.
    pub inputs_hash: String,
    /// Columns that derivation owns; `None` clears a column that derivation wrote before. Fields with a
    /// stored rank of `manual` (or a newer server value) stay: the unit judges ranks.
    pub fields: CompanyFields,
    /// Names of the columns that derivation speaks about (so that `None` means clear, not silence).
    pub owned_fields: Vec<String>,
    /// Traits by key, `null` removes one that derivation wrote before.
    pub traits: Map<String, Value>,
    /// Entries under the reserved prefix; `None` removes.
    pub context: BTreeMap<String, Option<ContextEntry>>,
    /// Whether the inputs come from a test-mode connection.
    pub test: bool,
    /// When a value next changes by the passing of time alone.
    pub next_turn: Option<Timestamp>,
}

/// Dirty marks, derivations, history.
#[async_trait]
pub trait DerivationStore {
    /// Marks companies dirty and pushes the organisation's derive job when none waits. Without companies only
    /// the job is pushed, where anything is dirty.
    async fn mark_dirty(
        &self,
        org: &OrgId,
        companies: &[CompanyId],
        reason: &str,
        at: Timestamp,
    ) -> Result<()>;

    /// Marks every company of the organisation, `limit` a call from behind `after`; answers where to go on.
    async fn mark_all_dirty(
        &self,
        org: &OrgId,
        reason: &str,
        after: Option<&str>,
        limit: i64,
        at: Timestamp,
    ) -> Result<Option<String>>;

    /// Inputs of up to `limit` dirty companies, longest marked first; `after` goes on behind a mark that an
    /// earlier call gave.
    async fn load_dirty_inputs(
        &self,
        org: &OrgId,
        after: Option<&Dirty>,
        limit: i64,
    ) -> Result<Vec<CompanyInputs>>;

    /// Inputs of one company.
    async fn load_company_inputs(&self, org: &OrgId, company: &CompanyId) -> Result<Option<CompanyInputs>>;

    /// One unit: documents, columns, traits, context, changes, marks. Answers the companies whose values
    /// changed; one whose values are equal writes nothing but the cleared mark.
    async fn commit_derivations(
        &self,
        org: &OrgId,
        commits: Vec<DerivationCommit>,
        fence: Option<&Fence>,
        at: Timestamp,
    ) -> Result<Vec<CompanyId>>;

    /// The stored derivation's document.
    async fn find_derivation(&self, org: &OrgId, company: &CompanyId) -> Result<Option<Value>>;

    /// Changes of a company, newest first.
    async fn list_field_changes(
        &self,
        org: &OrgId,
        company: &CompanyId,
        field: Option<&str>,
        limit: i64,
    ) -> Result<Vec<FieldChange>>;

    /// Organisations with dirty companies marked before `before` and no job that looks at them, for reconcile.
    async fn list_orgs_with_dirty(&self, before: Timestamp) -> Result<Vec<OrgId>>;

    /// Marks companies whose `next_turn` has come (across organisations); answers how many, at most `limit`.
    async fn mark_turned(&self, now: Timestamp, limit: i64) -> Result<i64>;

    /// Connections by id, for roles, modes and names.
    async fn load_connections(&self, org: &OrgId) -> Result<Vec<Connection>>;
}

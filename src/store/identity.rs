//! Companies, end users, and the links between provider parties and companies.

use async_trait::async_trait;
use connector_sdk::{RecordKey, Timestamp};
use serde::{Deserialize, Serialize};

use super::Result;
use crate::domain::companies::{Company, TraitPatch};
use crate::domain::users::EndUser;
use crate::domain::{CompanyId, ConnectionId, OrgId, Rank, UserId};

/// How a caller names a company or a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Our id (`cmp_…`, `usr_…`).
    Id(String),
    /// The caller's id.
    External(String),
}

impl Lookup {
    /// `cmp_`/`usr_` ids are ours, everything else is the caller's.
    pub fn parse(text: &str) -> Self {
        if text.starts_with("cmp_") || text.starts_with("usr_") {
            Self::Id(text.to_owned())
        } else {
            Self::External(text.to_owned())
        }
    }
}

/// Where a write comes from.
#[derive(Debug, Clone)]
pub struct WriteSource {
    /// Who wins.
    pub rank: Rank,
    /// `sdk`, `manual`, a connector's id, `derived`.
    pub source: String,
    /// Now.
    pub at: Timestamp,
}

/// A page of a list: rows and where to go on.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Pass as `after` for the next page; `None` at the end.
    pub next: Option<String>,
}

/// The state of a party's link to a company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// One company.
    Linked,
    /// No company matched.
    Unmatched,
    /// More than one matched; a person must choose.
    Ambiguous,
}

/// Which company a provider's party is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompanyLink {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The party's stream and id.
    pub party: RecordKey,
    /// The party's own name or e-mail address, for people.
    pub party_label: Option<String>,
    /// The company, when linked.
    pub company_id: Option<CompanyId>,
    /// State.
    pub state: LinkState,
    /// The rule that matched (`metadata`, `field`, `domain`, `email`, `created`, `manual`).
    pub rule: Option<String>,
    /// Why it is unmatched or ambiguous; names the candidates.
    pub reason: Option<String>,
    /// When it was last decided.
    pub updated_at: Timestamp,
}

/// One way by which a party may be found: a key that companies are indexed by.
/// Kinds: `external_id`, `domain`, `email`, `name`, `field:<custom field>`; values are normalised
/// (`sync::links::normalise`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkCandidate {
    /// The rule's name, stored when it matches.
    pub rule: &'static str,
    /// The kind of company key.
    pub key_kind: String,
    /// The normalised value.
    pub value: String,
}

/// A party seen by a read, with the ways to find its company in order.
#[derive(Debug, Clone, PartialEq)]
pub struct PartyObserved {
    /// Stream and id.
    pub party: RecordKey,
    /// Name or e-mail address, for people.
    pub label: Option<String>,
    /// Tried in order; the first that gives exactly one company wins, the first that gives more than one
    /// makes the link ambiguous.
    pub candidates: Vec<LinkCandidate>,
    /// A company to make when nothing matched; `None` leaves the party unmatched.
    pub create: Option<NewCompany>,
    /// Whether it is a person, whose company alone is looked for: such are in no list of parties.
    pub person: bool,
    /// Parties of the same connection that were merged into this one.
    pub merged: Vec<RecordKey>,
}

/// A company to be made from a party.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewCompany {
    /// Display name.
    pub name: Option<String>,
    /// Domain, when known and not a free-mail domain.
    pub domain: Option<String>,
    /// The connector's id.
    pub source: String,
}

/// What `chat/context` and `render` read: one user and one company with everything that is printed.
#[derive(Debug, Clone, Default)]
pub struct StoredView {
    /// The user, where asked for and found.
    pub user: Option<EndUser>,
    /// The company: the one asked for, else the user's.
    pub company: Option<Company>,
}

/// Companies, end users, links.
#[async_trait]
pub trait IdentityStore {
    /// One company.
    async fn find_company(&self, org: &OrgId, lookup: &Lookup) -> Result<Option<Company>>;

    /// Companies by id (order of creation), at most `limit`, from behind `after`.
    /// `search` matches the beginning of a word of the name, the domain or the external id.
    async fn list_companies(
        &self,
        org: &OrgId,
        search: Option<&str>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Listed<Company>>;

    /// Makes or updates the company with that external id (or our id): traits merged key by key under the
    /// ranks (`source.rank` loses against a higher stored rank), context entries replaced whole. Keeps
    /// `company_keys` (what parties are matched by) in step, and marks the company dirty when a key or a
    /// value that derivation reads has changed.
    async fn put_company(
        &self,
        org: &OrgId,
        lookup: &Lookup,
        patch: &TraitPatch,
        source: &WriteSource,
    ) -> Result<Company>;

    /// Releases manual values, so that synced and derived ones show again.
    async fn release_company_fields(
        &self,
        org: &OrgId,
        id: &CompanyId,
        fields: &[String],
        at: Timestamp,
    ) -> Result<()>;

    /// One user.
    async fn find_user(&self, org: &OrgId, lookup: &Lookup) -> Result<Option<EndUser>>;

    /// Users of a company in order of creation.
    async fn list_users(
        &self,
        org: &OrgId,
        company: Option<&CompanyId>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Listed<EndUser>>;

    /// As [`Self::list_users`], those alone of whose name, e-mail address or external id a word begins as `search`
    /// says. Letters beyond ASCII are found as they are written. Reads the organisation's (or the company's) users
    /// in order until the page is full.
    async fn search_users(
        &self,
        org: &OrgId,
        search: &str,
        company: Option<&CompanyId>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Listed<EndUser>>;

    /// As [`Self::put_company`]; `company` links the user (and marks both companies dirty on a move).
    async fn put_user(
        &self,
        org: &OrgId,
        lookup: &Lookup,
        patch: &TraitPatch,
        company: Option<&CompanyId>,
        source: &WriteSource,
    ) -> Result<EndUser>;

    /// The user and the company of a chat, in one read transaction.
    async fn load_view(
        &self,
        org: &OrgId,
        user: Option<&Lookup>,
        company: Option<&Lookup>,
    ) -> Result<StoredView>;

    /// Links in a state, newest decision first; `company` restricts to one company's.
    async fn list_links(
        &self,
        org: &OrgId,
        state: Option<LinkState>,
        company: Option<&CompanyId>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Listed<CompanyLink>>;

    /// Links by hand (or, with `None`, unlinks by hand: nothing matches it again until released). Never
    /// overruled by a rule. Marks the companies concerned dirty. `Ok(None)`: no such party.
    async fn put_manual_link(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        party: &RecordKey,
        company: Option<&CompanyId>,
        at: Timestamp,
    ) -> Result<Option<CompanyLink>>;

    /// Number of companies, users, and links by state, for the status screen.
    async fn count_identities(&self, org: &OrgId) -> Result<IdentityCounts>;

    /// Deletes a user row by our id (used by tests of cascades and by later privacy work).
    async fn delete_user(&self, org: &OrgId, id: &UserId, at: Timestamp) -> Result<bool>;
}

/// Totals of an organisation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct IdentityCounts {
    /// Companies.
    pub companies: i64,
    /// End users.
    pub users: i64,
    /// Parties linked to a company.
    pub linked: i64,
    /// Parties without one.
    pub unmatched: i64,
    /// Parties with too many.
    pub ambiguous: i64,
}

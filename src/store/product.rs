//! What a product writes about its users and companies: many records in one unit, each whole or not at all.

use async_trait::async_trait;
use connector_sdk::{RecordKey, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::Result;
use super::identity::Lookup;
use crate::domain::companies::{Company, TraitPatch};
use crate::domain::users::EndUser;
use crate::domain::{ConnectionId, OrgId, Rank};

/// A user's custom fields and context, in bytes of JSON, at most: what many calls may add up to.
pub const MOST_USER_BYTES: usize = 100_000;
/// As [`MOST_USER_BYTES`], of a company.
pub const MOST_COMPANY_BYTES: usize = 250_000;

/// One write: a user, a company, or both and the link between them. It happens whole or not at all.
#[derive(Debug, Clone)]
pub struct ProductWrite {
    /// The user.
    pub user: Option<UserPart>,
    /// The company.
    pub company: Option<RecordPart>,
    /// Links the user to the company, with this rank. A link of a higher one stays.
    pub link: Option<Rank>,
    /// Who writes: `sdk`, `import`, `manual`, a connector's id.
    pub source: String,
    /// Now.
    pub at: Timestamp,
}

/// What is said of a record.
#[derive(Debug, Clone)]
pub struct RecordPart {
    /// Which one.
    pub lookup: Lookup,
    /// Merged one after the other.
    pub layers: Vec<Layer>,
    /// Context entries to remove, before the layers.
    pub clear: Option<Clear>,
    /// Whether one that is not known is made. An id of ours ([`Lookup::Id`]) is never made.
    pub create: bool,
}

impl RecordPart {
    /// The record as it is, made where it is not known.
    pub fn named(lookup: Lookup) -> Self {
        Self { lookup, layers: Vec::new(), clear: None, create: true }
    }
}

/// What is said of a user.
#[derive(Debug, Clone)]
pub struct UserPart {
    /// Traits and context.
    pub record: RecordPart,
    /// Whether the user is there now.
    pub sighting: Sighting,
    /// Where nobody has the external id: the lead (a user without external id) with this address, in its normal
    /// form, becomes this user.
    pub adopt: Option<String>,
    /// What nobody owns of this session becomes the user's; and whose word that is.
    pub session: Option<(String, Rank)>,
}

/// Whether a user is there while something is said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// No.
    Elsewhere,
    /// Yes: moves `last_seen`.
    Seen,
    /// Yes, and it is an identify: counted for its day as well.
    Identified,
}

/// Values of one rank.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Who wins.
    pub rank: Rank,
    /// The values.
    pub patch: TraitPatch,
}

/// Context entries to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clear {
    /// All that the writer may remove; entries that derivation writes stay.
    All(Rank),
    /// Those of these keys.
    Keys(Rank, Vec<String>),
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not known.
    Created,
    /// A value, a rank or a link changed.
    Updated,
    /// Nothing changed but, at most, when the user was seen.
    Unchanged,
}

/// What became of a write.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Done.
    Written(Box<Written>),
    /// A record is not known and was not to be made.
    Unknown(&'static str),
    /// Nothing was written.
    Refused(Refused),
}

/// Records as they are after a write.
#[derive(Debug, Clone)]
pub struct Written {
    /// The user.
    pub user: Option<(EndUser, Change)>,
    /// The company that was written.
    pub company: Option<(Company, Change)>,
    /// The external id of the user's company.
    pub user_company: Option<String>,
    /// Keys of the context entries that were removed.
    pub cleared: Vec<String>,
}

/// Why a write was refused: the caller's mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A value, an id.
    Invalid(String),
    /// The record would hold more than it may.
    TooLarge {
        /// `user` or `company`.
        record: &'static str,
        /// Bytes of JSON.
        bytes: usize,
        /// How many it may hold.
        most: usize,
    },
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Invalid(text) => f.write_str(text),
            Self::TooLarge { record, bytes, most } => write!(
                f,
                "the {record} would hold {bytes} bytes of custom fields and context, it may hold {most}; \
                 remove keys by sending null, or clear context entries"
            ),
        }
    }
}

/// How much was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Erased {
    /// Records of providers.
    pub records: u64,
    /// Parties of providers, which later reads pass over.
    pub parties: u64,
    /// Stored webhook requests.
    pub deliveries: u64,
    /// Users that were of the company, and are of none now.
    pub users_unlinked: u64,
}

/// Users and companies as a product writes them.
#[async_trait]
pub trait ProductStore {
    /// Writes many, in few statements and one transaction. Each write happens whole or not at all, and leaves its
    /// neighbours alone; those of one record happen in order. Answers in their order.
    async fn put_product(&self, org: &OrgId, writes: Vec<ProductWrite>) -> Result<Vec<Outcome>>;

    /// A user by e-mail address, in any case: one whom others know by it, else one who claims it; of several the
    /// one that was made first.
    async fn find_user_by_email(&self, org: &OrgId, email: &str) -> Result<Option<EndUser>>;

    /// An organisation's name; `Ok(None)`: there is no such organisation.
    async fn find_org_name(&self, org: &OrgId) -> Result<Option<String>>;

    /// Those of these keys of records whose records went with a deleted user or company.
    async fn list_erased(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        keys: &[RecordKey],
    ) -> Result<Vec<RecordKey>>;

    /// Deletes a user and everything that hangs on it. `Ok(None)`: there is none.
    async fn erase_user(&self, org: &OrgId, lookup: &Lookup, at: Timestamp) -> Result<Option<Erased>>;

    /// Deletes a company and everything that hangs on it; its users stay, without a company. What a provider
    /// says about its parties is passed over from then on. `Ok(None)`: there is none.
    async fn erase_company(&self, org: &OrgId, lookup: &Lookup, at: Timestamp) -> Result<Option<Erased>>;
}

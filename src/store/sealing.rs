//! Which keys the stored secrets are sealed with, and sealing them anew.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};

use super::Result;
use super::settings::SealedSecret;
use crate::domain::{ConnectionId, OrgId};

/// The first migration whose schema says which key a secret is sealed with.
pub(super) const SAYS_KEYS: i64 = 14;

/// How many secrets are sealed with a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedWith {
    /// The key's id.
    pub key: String,
    /// How many, of connections and of organisations.
    pub secrets: i64,
}

/// Where a sealed secret lies. In this order secrets are sealed anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SealedPlace {
    /// Whose it is.
    pub org: OrgId,
    /// The connection; `None` for a secret of the organisation itself.
    pub connection: Option<ConnectionId>,
    /// Its name.
    pub name: String,
    /// Its slot.
    pub slot: i64,
}

/// A sealed secret with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// The connection; `None` for a secret of the organisation itself.
    pub connection: Option<ConnectionId>,
    /// The secret.
    pub secret: SealedSecret,
}

/// A secret that was sealed anew.
#[derive(Debug, Clone)]
pub struct Resealed {
    /// As it was read.
    pub row: SealedRow,
    /// The same secret, sealed with the current key.
    pub sealed: Vec<u8>,
}

/// Keys and what is sealed with them.
#[async_trait]
pub trait SealingStore {
    /// The keys that something is sealed with, over all organisations, by id.
    async fn count_sealed(&self) -> Result<Vec<SealedWith>>;

    /// Organisations, in their order, with a secret that is sealed with another key than `key`.
    async fn list_orgs_sealed_otherwise(&self, key: &str) -> Result<Vec<OrgId>>;

    /// At most `limit` secrets of an organisation that are sealed with another key than `key`, in the order of
    /// their places, behind `after`, which is a place of that organisation.
    async fn load_sealed_otherwise(
        &self,
        org: &OrgId,
        key: &str,
        after: Option<&SealedPlace>,
        limit: i64,
    ) -> Result<Vec<SealedRow>>;

    /// Puts secrets that were sealed anew in the place of what they were read as, in one commit. One that was
    /// written meanwhile stays as it is. Answers how many were replaced.
    async fn reseal(&self, org: &OrgId, resealed: Vec<Resealed>) -> Result<u64>;

    /// Deletes an organisation's secrets that are sealed with `key`. Their connections need attention, for the
    /// reason given, and are answered.
    async fn forget_sealed(
        &self,
        org: &OrgId,
        key: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<Vec<ConnectionId>>;
}

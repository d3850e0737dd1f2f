//! What trust rests on: organisations with their own secrets and rules, and API keys.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde_json::{Map, Value};

use super::Result;
use super::settings::SealedSecret;
use crate::domain::connections::ApiKey;
use crate::domain::orgs::Org;
use crate::domain::{KeyId, OrgId};

/// A sealed secret of an organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgSecret {
    /// Its name, slot, bytes and end.
    pub secret: SealedSecret,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What is asked of an organisation at every call that it decides about.
#[derive(Debug, Clone, PartialEq)]
pub struct OrgTrust {
    /// Its settings document.
    pub settings: Value,
    /// Its secrets, those included that have run out.
    pub secrets: Vec<OrgSecret>,
}

/// Trust.
#[async_trait]
pub trait TrustStore {
    /// Makes an organisation; false when there is one of that id, which then stays as it is.
    async fn add_org(&self, org: &Org) -> Result<bool>;

    /// Changes members of an organisation's settings, null to take one away, and its name where one is given. The
    /// members that are not named stay, whoever writes them at the same time. False where there is none.
    async fn patch_org(
        &self,
        org: &OrgId,
        name: Option<&str>,
        members: &Map<String, Value>,
        at: Timestamp,
    ) -> Result<bool>;

    /// Organisations with their settings, by id.
    async fn list_org_rows(&self) -> Result<Vec<Org>>;

    /// Deletes the rows of an organisation in every table but `orgs`, a commit a table: keys, connections and jobs
    /// first, so that nothing begins anew. Answers how many rows went, by table, those that there were none of left
    /// out. What the database itself takes along with another row is not counted.
    async fn clear_org(&self, org: &OrgId) -> Result<Vec<(&'static str, u64)>>;

    /// Deletes an organisation that nothing is left of, and what little there is, in one commit. False where there
    /// is none.
    async fn delete_org(&self, org: &OrgId) -> Result<bool>;

    /// Settings and secrets of an organisation, as of one instant; `None` where there is no such organisation.
    async fn load_org_trust(&self, org: &OrgId) -> Result<Option<OrgTrust>>;

    /// Adds a secret; the others of its name are accepted until `until` at the longest, and go when that is past.
    async fn add_org_secret(&self, org: &OrgId, secret: &OrgSecret, until: Timestamp) -> Result<()>;

    /// Stores a key by its hash (hex SHA-256).
    async fn put_key(&self, key: &ApiKey, hash: &str) -> Result<()>;

    /// The key with that hash, unless it was revoked. One that has run out is answered: only the caller has a clock.
    async fn find_key(&self, hash: &str) -> Result<Option<ApiKey>>;

    /// Keys of an organisation, those included that no longer work.
    async fn list_keys(&self, org: &OrgId) -> Result<Vec<ApiKey>>;

    /// Stores a key in the place of another, which works until `until` at the longest. False, and nothing is
    /// stored, where the other no longer works.
    async fn rotate_key(&self, old: &KeyId, new: &ApiKey, hash: &str, until: Timestamp) -> Result<bool>;

    /// Revokes; false when there is no such key that works.
    async fn revoke_key(&self, org: &OrgId, id: &KeyId, at: Timestamp) -> Result<bool>;

    /// Notes that a key was used.
    async fn touch_key(&self, org: &OrgId, id: &KeyId, at: Timestamp) -> Result<()>;
}

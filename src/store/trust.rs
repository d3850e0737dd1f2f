//! What trust rests on: organisations' own secrets and rules.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde_json::Value;

use super::Result;
use super::settings::SealedSecret;
use crate::domain::OrgId;

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
    /// Settings and secrets of an organisation, as of one instant; `None` where there is no such organisation.
    async fn load_org_trust(&self, org: &OrgId) -> Result<Option<OrgTrust>>;

    /// Adds a secret; the others of its name are accepted until `until` at the longest, and go when that is past.
    async fn add_org_secret(&self, org: &OrgId, secret: &OrgSecret, until: Timestamp) -> Result<()>;

    /// Deletes the secrets of that name; answers how many there were.
    async fn delete_org_secrets(&self, org: &OrgId, name: &str) -> Result<u64>;
}

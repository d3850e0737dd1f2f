//! [`SealingStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::Timestamp;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::{ConnectionId, OrgId};
use crate::store::sealing::{Resealed, SealedPlace, SealedRow, SealedWith, SealingStore};

#[async_trait]
impl SealingStore for Engine {
    async fn count_sealed(&self) -> Result<Vec<SealedWith>> {
        unit!(self.read(Scope::System), [], |c| units::sealing::count_sealed(c))
    }

    async fn list_orgs_sealed_otherwise(&self, key: &str) -> Result<Vec<OrgId>> {
        unit!(self.read(Scope::System), [key = key.to_owned()], |c| {
            units::sealing::list_orgs_sealed_otherwise(c, key)
        })
    }

    async fn load_sealed_otherwise(
        &self,
        org: &OrgId,
        key: &str,
        after: Option<&SealedPlace>,
        limit: i64,
    ) -> Result<Vec<SealedRow>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), key = key.to_owned(), after = after.cloned()],
            |c| units::sealing::load_sealed_otherwise(c, org, key, after.as_ref(), limit)
        )
    }

    async fn reseal(&self, org: &OrgId, resealed: Vec<Resealed>) -> Result<u64> {
        let lane = Lane::of_many(resealed.len());
        unit!(self.write(lane, Scope::Org(org.clone())), [org = org.clone(), resealed = resealed], |c| {
            units::sealing::reseal(c, org, resealed)
        })
    }

    async fn forget_sealed(
        &self,
        org: &OrgId,
        key: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<Vec<ConnectionId>> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), key = key.to_owned(), reason = reason.to_owned()],
            |c| units::sealing::forget_sealed(c, org, key, reason, at)
        )
    }
}

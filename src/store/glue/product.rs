//! [`ProductStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::{RecordKey, Timestamp};

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::users::EndUser;
use crate::domain::{ConnectionId, OrgId};
use crate::store::identity::Lookup;
use crate::store::product::{Erased, Outcome, ProductStore, ProductWrite};

/// Single calls that are gathered make no larger unit; a larger one is a backend's own batch.
const GATHERED: usize = 128;

#[async_trait]
impl ProductStore for Engine {
    async fn put_product(&self, org: &OrgId, writes: Vec<ProductWrite>) -> Result<Vec<Outcome>> {
        let lane = if writes.len() <= GATHERED { Lane::Ack } else { Lane::of_many(writes.len()) };
        unit!(self.write(lane, Scope::Org(org.clone())), [org = org.clone(), writes = writes], |c| {
            units::product::put(c, org, writes)
        })
    }

    async fn find_user_by_email(&self, org: &OrgId, email: &str) -> Result<Option<EndUser>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), email = email.to_owned()], |c| {
            units::authors::find_by_email(c, org, email)
        })
    }

    async fn find_org_name(&self, org: &OrgId) -> Result<Option<String>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::product::find_org_name(c, org)
        })
    }

    async fn list_erased(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        keys: &[RecordKey],
    ) -> Result<Vec<RecordKey>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), connection = connection.clone(), keys = keys.to_vec()],
            |c| units::erase::list_erased(c, org, connection, keys)
        )
    }

    async fn erase_user(&self, org: &OrgId, lookup: &Lookup, at: Timestamp) -> Result<Option<Erased>> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), lookup = lookup.clone()],
            |c| units::erase::erase_user(c, org, lookup, at)
        )
    }

    async fn erase_company(&self, org: &OrgId, lookup: &Lookup, at: Timestamp) -> Result<Option<Erased>> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), lookup = lookup.clone()],
            |c| units::erase::erase_company(c, org, lookup, at)
        )
    }
}
